"""Records -> a row for each method and figure: value, interval, images used and excluded, difference to a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vitjax.errors import unknown_name
from vitjax.report.invariant import Coverage, check
from vitjax.report.records import Records
from vitjax.report.statistics import RESAMPLES, SEED, Estimate, Sample, estimate

if TYPE_CHECKING:
    import pyarrow as pa

    from vitjax.metrics.contract import Better, Metric, Statistic

BASELINES = ("random", "centre")
UNDEFINED, INFINITE = "undefined", "infinite"


class Shown(NamedTuple):
    """A figure of a run.

    name: what tables call it, the metric's label and the figure's own name. columns: the record columns it reads.
    """

    name: str
    label: str
    figure: Statistic
    metric: Metric
    columns: tuple[str, ...]

    @property
    def better(self) -> Better | None:
        return self.figure.better

    @property
    def factor(self) -> float:
        """What a value is multiplied by to be shown."""
        return 100.0 if self.figure.percent else 1.0


class Row(NamedTuple):
    """One method's figure. excluded: images that do not count, by reason. difference: None without a baseline."""

    method: str
    figure: str
    estimate: Estimate
    excluded: dict[str, int]
    difference: Estimate | None


@dataclass(frozen=True, eq=False)
class Summary:
    """All figures of a run.

    methods: labels in the order of the run. figures: by shown name. rows: by (method, figure name).
    baseline: label of the method that differences refer to. ci: share of the intervals. coverage: rows by status, and
    the mark of a partial run. profile: what was measured of each method, {} where nothing was. device: of the profile.
    """

    methods: tuple[str, ...]
    figures: dict[str, Shown]
    rows: dict[tuple[str, str], Row]
    baseline: str | None
    ci: float
    resamples: int
    coverage: Coverage
    profile: dict[str, dict[str, Any]]
    device: str

    @property
    def mark(self) -> str:
        """ "" or "partial: 320 of 1000 images"; every table carries it."""
        return self.coverage.mark


def summarise(
    config: Mapping[str, Any],
    records: pa.Table | Records,
    profile: Mapping[str, Any] | None = None,
    *,
    metrics: Mapping[str, Metric] | None = None,
    baseline: str | None = None,
    ci: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    partial: bool = False,
) -> Summary:
    """Every figure of every method.

    Args:
        config: "methods" and "metrics", each a list of {"label", name, "options"}, and "count", the images listed.
        records: one row for each image and method.
        profile: {"methods": {label: {"images_per_second", "peak_memory_mib", ...}}, "device"}.
        metrics: by name; by default vitjax.metrics.METRICS.
        baseline: label of the method that the others are compared with on the images that both have; by default
            "random", else "centre", else none.
        ci: share of the bootstrap intervals. resamples, seed: of the bootstrap.
        partial: accept a run that is not finished, and mark it.

    Raises:
        RunError: the records are not what the settings promise, see `invariant.check`; a column is missing.
        UnknownNameError: no such baseline or metric. ConfigError: ci is not between 0 and 1.
    """
    methods = method_labels(config)
    records = records if isinstance(records, Records) else Records(records, methods)
    chosen = choose_baseline(config, baseline)
    coverage = check(records, methods, int(config["count"]), partial=partial)
    figures = shown_figures(config, metrics)
    keys, samples, excluded = [], [], []
    for shown in figures.values():
        used = {method: usable(records, method, shown) for method in methods}
        for method in methods:
            keys.append((method, shown.name))
            excluded.append(reasons(records, method, shown, used[method]))
            samples.append(Sample(shown.figure.aggregate, _values(records, shown, records.rows[method][used[method]])))
            samples.append(_paired(records, shown, method, chosen, used))
    estimates = estimate(samples, ci=ci, resamples=resamples, seed=seed)
    rows = {}
    for i, (method, name) in enumerate(keys):
        difference = estimates[2 * i + 1] if chosen not in (None, method) else None
        rows[method, name] = Row(method, name, estimates[2 * i], excluded[i], difference)
    profile = profile or {}
    measured = {label: dict(each) for label, each in profile.get("methods", {}).items() if label in methods}
    device = str(profile.get("device", ""))
    return Summary(methods, figures, rows, chosen, ci, resamples, coverage, measured, device)


def method_labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """In the order of the run."""
    return tuple(each["label"] for each in config["methods"])


def choose_baseline(config: Mapping[str, Any], baseline: str | None) -> str | None:
    """The label asked for, or that of the first baseline method in the run. Raises UnknownNameError."""
    labels = method_labels(config)
    if baseline is not None:
        if baseline not in labels:
            raise unknown_name("method of this run", baseline, labels)
        return baseline
    for name in BASELINES:
        for each in config["methods"]:
            if each.get("method", each["label"]) == name:
                return each["label"]
    return None


def shown_figures(config: Mapping[str, Any], metrics: Mapping[str, Metric] | None = None) -> dict[str, Shown]:
    """The run's figures by shown name. Raises UnknownNameError for a metric that is not registered."""
    found = {}
    for label, metric, options in run_metrics(config, metrics):
        for name, figure in metric.figures(options).items():
            shown = f"{label} {name}" if name else label
            columns = tuple(f"{label}.{column}" for column in figure.columns)
            found[shown] = Shown(shown, label, figure, metric, columns)
    return found


def run_metrics(
    config: Mapping[str, Any], metrics: Mapping[str, Metric] | None = None
) -> list[tuple[str, Metric, dict[str, Any]]]:
    """(label, metric, options with defaults filled in) of a run."""
    if metrics is None:
        from vitjax.metrics import METRICS

        metrics = METRICS
    found = []
    for each in config["metrics"]:
        name = each.get("metric", each["label"])
        if name not in metrics:
            raise unknown_name("metric", name, metrics)
        options = metrics[name].check_options(name, each.get("options", {}))
        found.append((each["label"], metrics[name], options))
    return found


def usable(records: Records, method: str, shown: Shown) -> np.ndarray:
    """bool, one for each of the method's rows: evaluated, and finite in every column of the figure."""
    rows = records.rows[method]
    used = _is(records, "status", "ok", rows)
    for column in shown.columns:
        used &= np.isfinite(records.scalar(column)[rows])
    return used


def reasons(records: Records, method: str, shown: Shown, used: np.ndarray) -> dict[str, int]:
    """Rows that do not count, by reason; most frequent first.

    The status where it is not "ok"; the state of the mask where the metric needs one; else that a column is NaN, or
    infinite: such a value would swallow the mean.
    """
    rows = records.rows[method][~used]
    names, codes = records.coded("status")
    ok = _is(records, "status", "ok", rows)
    counts = {name: int(n) for name, n in zip(names, np.bincount(codes[rows][~ok], minlength=len(names)), strict=True)}
    rows = rows[ok]
    if "mask" in shown.metric.needs:
        names, codes = records.coded("mask_state")
        bare = ~_is(records, "mask_state", "object", rows)
        found = np.bincount(codes[rows][bare], minlength=len(names))
        for name, n in zip(names, found, strict=True):
            reason = "no mask" if name == "none" else name
            counts[reason] = counts.get(reason, 0) + int(n)
        rows = rows[~bare]
    absent = np.zeros(len(rows), bool)
    for column in shown.columns:
        absent |= np.isnan(records.scalar(column)[rows])
    counts[UNDEFINED], counts[INFINITE] = int(absent.sum()), int((~absent).sum())
    return dict(sorted(((k, v) for k, v in counts.items() if v), key=lambda item: (-item[1], item[0])))


def _is(records: Records, column: str, value: str, rows: np.ndarray) -> np.ndarray:
    names, codes = records.coded(column)
    return codes[rows] == (names.index(value) if value in names else -1)


def _values(records: Records, shown: Shown, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(records.scalar(column)[rows] for column in shown.columns)


def _paired(
    records: Records, shown: Shown, method: str, baseline: str | None, used: Mapping[str, np.ndarray]
) -> Sample:
    """The difference over the images that both methods have; empty where there is nothing to compare."""
    nothing = Sample(shown.figure.aggregate, tuple(np.empty(0) for _ in shown.columns))
    if baseline is None or baseline == method:
        return nothing
    own, other = records.rows[method][used[method]], records.rows[baseline][used[baseline]]
    _, left, right = np.intersect1d(records.index[own], records.index[other], assume_unique=True, return_indices=True)
    return Sample(shown.figure.aggregate, _values(records, shown, own[left]), _values(records, shown, other[right]))


def families(figures: Mapping[str, Shown]) -> dict[str, list[Shown]]:
    """Figures by the family of their metric, families in the order of the run."""
    found: dict[str, list[Shown]] = {}
    for shown in figures.values():
        found.setdefault(shown.metric.family, []).append(shown)
    return found
