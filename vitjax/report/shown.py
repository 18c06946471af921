"""What a report shows of a run: its statistics and methods, with the names that they have in print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vitjax.errors import unknown_name
from vitjax.methods.titles import title_of

if TYPE_CHECKING:
    from vitjax.metrics.contract import Better, Metric, Statistic


class Shown(NamedTuple):
    """A statistic of a run.

    Attributes:
        name: its name in files for programs, the metric's label followed by the statistic's own name.
        title: its name in print, different for each statistic of the run.
        label: the metric's label.
        figure: the statistic.
        metric: the metric.
        columns: the record columns that it reads.
    """

    name: str
    title: str
    label: str
    figure: Statistic
    metric: Metric
    columns: tuple[str, ...]

    @property
    def better(self) -> Better | None:
        return self.figure.better

    @property
    def factor(self) -> float:
        """Factor that tables multiply the value by: 100 for percentages, else 1."""
        return 100.0 if self.figure.percent else 1.0

    @property
    def unit(self) -> str:
        return "%" if self.figure.percent else self.figure.unit


def shown_figures(config: Mapping[str, Any], metrics: Mapping[str, Metric] | None = None) -> dict[str, Shown]:
    """Statistics of the run by name. Titles have options only where a run has a metric more than once.

    Raises:
        UnknownNameError: a metric is not registered.
    """
    figures = {}
    requested = run_metrics(config, metrics)
    times = Counter(label.partition("(")[0] for label, _, _ in requested)
    for label, metric, options in requested:
        name, bracket, rest = label.partition("(")
        given = bracket + rest if times[name] > 1 else ""
        for name, figure in metric.figures(options).items():
            shown = f"{label} {name}" if name else label
            title = figure.title or ", ".join(filter(None, (metric.title, name.replace("_", " "))))
            columns = tuple(f"{label}.{column}" for column in figure.columns)
            figures[shown] = Shown(shown, f"{title} {given}".rstrip(), label, figure, metric, columns)
    titles = distinct({name: shown.title for name, shown in figures.items()})
    return {name: shown._replace(title=titles[name]) for name, shown in figures.items()}


def run_metrics(
    config: Mapping[str, Any], metrics: Mapping[str, Metric] | None = None
) -> list[tuple[str, Metric, dict[str, Any]]]:
    """(label, metric, options with defaults filled in) of each metric of a run.

    Raises:
        UnknownNameError: a metric is not registered.
    """
    if metrics is None:
        from vitjax.metrics import METRICS

        metrics = METRICS
    result = []
    for request in config["metrics"]:
        name = request.get("metric", request["label"])
        if name not in metrics:
            raise unknown_name("metric", name, metrics)
        options = metrics[name].check_options(name, request.get("options", {}))
        result.append((request["label"], metrics[name], options))
    return result


def families(figures: Iterable[Shown]) -> dict[str, list[Shown]]:
    """Statistics by the family of their metric, families in the order of the run."""
    by_family: dict[str, list[Shown]] = {}
    for shown in figures:
        by_family.setdefault(shown.metric.family, []).append(shown)
    return by_family


def method_titles(labels: Sequence[str]) -> dict[str, str]:
    """Titles of methods by label, all different."""
    return distinct({label: title_of(label) for label in labels})


def distinct(titles: Mapping[str, str]) -> dict[str, str]:
    """`titles` by name, with the name itself in place of a title that several names have."""
    times = Counter(titles.values())
    return {name: title if times[title] == 1 else name for name, title in titles.items()}
