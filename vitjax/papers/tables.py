"""Computes a part of a table with `vitjax.evaluate` and compares it with the paper's values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitjax.data.source import NO_LABEL, Source
from vitjax.errors import ConfigError, RunError
from vitjax.evaluating.job import metric_request
from vitjax.evaluating.run import Run, evaluate, source_of
from vitjax.explaining.requests import request
from vitjax.models.model import Model
from vitjax.papers.table import Column, Part, Row, Table

CI = 0.95
"""Level of the confidence intervals."""


@dataclass(frozen=True)
class Line:
    """One value of the paper and vitjax's, in the unit that is shown.

    part, figure, method: names of the part, the column and the row. request: vitjax's label of the method.
    unit: "%" or "". better: "higher", "lower" or None.
    paper: None if it is not known. ours, low, high: estimate and confidence interval; None if undefined on all images.
    n: number of images that count. excluded: number of images that do not count, by reason.
    """

    part: str
    figure: str
    unit: str
    better: str | None
    method: str
    request: str
    paper: float | None
    ours: float | None
    low: float | None
    high: float | None
    n: int
    excluded: dict[str, int]

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        return None if self.paper is None or self.ours is None else self.ours - self.paper

    def as_json(self) -> dict[str, Any]:
        """All fields and the difference, as JSON values."""
        return {**asdict(self), "difference": self.difference}


def shown_name(column: Column) -> str:
    """The name of the column's value in `Run.table()`.

    Raises:
        ConfigError: the metric has no value of this name.
    """
    requested = metric_request(column.metric)
    names = requested.metric.figures(dict(requested.options))
    if column.figure not in names:
        raise ConfigError(f"metric {requested.label!r} has no value {column.figure!r}; valid are {', '.join(names)}")
    return f"{requested.label} {column.figure}" if column.figure else requested.label


def rows_of(part: Part, *, slow: bool) -> tuple[Row, ...]:
    """The part's rows; those of slow methods only if `slow`."""
    return tuple(row for row in part.rows if slow or not request(row.method).method.slow)


def lacks(part: Part, source: Source) -> str:
    """What the data of a part need and these data have not, as "folder:x: has no labels"; "" if nothing."""
    needs_masks = any("mask" in metric_request(column.metric).metric.needs for column in part.columns)
    if needs_masks and not source.has_masks:
        return f"{source.name}: has no object masks"
    if part.options.get("target") == "label" and NO_LABEL in source.labels:
        return f"{source.name}: has images without a label"
    return ""


def run_part(
    part: Part,
    out: Path,
    model: Model,
    data: str,
    *,
    masks: Path | None = None,
    limit: int | None = None,
    slow: bool = False,
    **options: Any,
) -> Run:
    """Compute a part into its run directory, or resume its run.

    Args:
        part: the part.
        out: the run directory.
        model: the model, in the paper's preprocessing.
        data: specification of the data set, for which `lacks` returns nothing.
        masks: directory of masks that replace the data set's own.
        limit: number of images.
        slow: also compute slow methods.
        options: further options of `vitjax.evaluate`, which take precedence over the part's.

    Raises: as `vitjax.evaluate`.
    """
    return evaluate(
        model,
        part.source_as(model, source_of(model, data, masks=masks)),
        [row.method for row in rows_of(part, slow=slow)],
        [column.metric for column in part.columns],
        out,
        limit=limit,
        profile=False,
        **{**part.options, **options},
    )


def lines(part: Part, run: Run) -> list[Line]:
    """The part's values, column by column. Rows that the run did not compute are left out."""
    summary = run.table(ci=CI)
    values = []
    for column in part.columns:
        name = shown_name(column)
        shown = summary.figures[name]
        for row in part.rows:
            label = request(row.method).label
            if (label, name) not in summary.rows:
                continue
            entry = summary.rows[label, name]
            value, low, high = (_finite_or_none(shown.factor * x) for x in entry.estimate[:3])
            values.append(
                Line(
                    part=part.name,
                    figure=column.name,
                    unit="%" if shown.figure.percent else "",
                    better=shown.better,
                    method=row.name,
                    request=label,
                    paper=row.paper.get(column.name),
                    ours=value,
                    low=low,
                    high=high,
                    n=entry.estimate.n,
                    excluded=entry.excluded,
                )
            )
    return values


def finished_runs(table: Table, out: Path) -> list[tuple[Part, Run]]:
    """The parts whose run in `out` is complete, in the order of the table."""
    results = []
    for part in table.parts:
        try:
            run = Run(out / part.name)
        except RunError:  # the run has not started
            continue
        if run.finished:
            results.append((part, run))
    return results


def markdown(table: Table, results: Sequence[tuple[Part, Run]]) -> str:
    """Markdown of the results: a table "method | paper | ours | difference | images" for each column, the model and the
    data of each part, and the notes."""
    text = [f"# {table.name}: {table.title}", ""]
    for part, run in results:
        config = run.config
        for column, group in _by_column(lines(part, run)).items():
            first = group[0]
            arrow = {"higher": " ↑", "lower": " ↓"}.get(first.better or "", "")
            text += [f"## {column}{f' [{first.unit}]' if first.unit else ''}{arrow}", ""]
            text += [
                f"| method | paper | ours ({CI:.0%} interval) | difference | images |",
                "|---|---:|---:|---:|---:|",
            ]
            text += [_markdown_row(line) for line in group]
            text.append("")
        model, data = config["model"], config["data"]
        text += [
            f"{part.name}: {model['name']} (weights {model['sha256'][:12]}), {config['count']} images of "
            f"{data['source']}.",
            *unlike(part, run),
            "",
        ]
    if any(line.paper is None for part, run in results for line in lines(part, run)):
        text += ["\\- in the column of the paper: the paper has no such line, or no value could be found.", ""]
    text += [f"Source of the paper's values: {table.source}.", "", *(f"- {note}" for note in table.notes)]
    return "\n".join(text) + "\n"


def unlike(part: Part, run: Run) -> list[str]:
    """Sentences that say why a run is not comparable with the paper: another model, another number of images."""
    model, count = run.config["model"]["name"], run.config["count"]
    sentences = []
    if model != part.model:
        sentences.append(f"Not the paper's model, {part.model}: the differences are not meaningful.")
    if part.images not in (None, count):
        sentences.append(f"Not the paper's {part.images} images: the differences are not meaningful.")
    return sentences


def as_json(table: Table, results: Sequence[tuple[Part, Run]]) -> dict[str, Any]:
    """The results as JSON values."""
    return {
        "table": table.name,
        "title": table.title,
        "source": table.source,
        "notes": list(table.notes),
        "ci": CI,
        "parts": {
            part.name: {
                "config": run.config,
                "unlike": unlike(part, run),
                "lines": [line.as_json() for line in lines(part, run)],
            }
            for part, run in results
        },
    }


def _by_column(values: Sequence[Line]) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = {}
    for line in values:
        groups.setdefault(line.figure, []).append(line)
    return groups


def _markdown_row(line: Line) -> str:
    interval = "" if line.low is None or line.high is None else f" [{line.low:.2f}, {line.high:.2f}]"
    ours = "-" if line.ours is None else f"{line.ours:.2f}{interval}"
    images = f"{line.n}{''.join(f', {count} {reason}' for reason, count in line.excluded.items())}"
    return f"| {line.method} | {_number(line.paper)} | {ours} | {_number(line.difference, '+')} | {images} |"


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.2f}"


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
