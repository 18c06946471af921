"""Run a part of a table through `vitjax.evaluate`, and set its figures beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.papers.table import Column, Part, Row, Table
from vitjax.cli.arguments import Progress
from vitjax.errors import ConfigError, ImageError, RunError, WeightsError
from vitjax.evaluating.job import metric_request
from vitjax.evaluating.run import Run, evaluate, source_of
from vitjax.explaining.requests import request
from vitjax.models.load import load
from vitjax.models.model import Model

CI = 0.95


@dataclass(frozen=True)
class Line:
    """One number of the paper and ours, in the unit shown. None: not known, or undefined on all pictures.

    unit: "%" or "". n, excluded: pictures that count, and those that do not, by reason.
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
        return {**asdict(self), "difference": self.difference}


def shown_name(column: Column) -> str:
    """What `Run.table()` calls the column's figure. Raises ConfigError where the metric has no such figure."""
    wanted = metric_request(column.metric)
    figures = wanted.metric.figures(dict(wanted.options))
    if column.figure not in figures:
        raise ConfigError(f"metric {wanted.label!r} has no figure {column.figure!r}, only {', '.join(figures)}")
    return f"{wanted.label} {column.figure}" if column.figure else wanted.label


def rows_of(part: Part, *, slow: bool) -> tuple[Row, ...]:
    """The part's rows, those of slow methods only where asked for."""
    return tuple(row for row in part.rows if slow or not request(row.method).method.slow)


def opened_model(part: Part, name: str | None, weights: str | None, num_classes: int | None) -> Model:
    """The part's model, or another one, in the paper's preprocessing. Raises WeightsError that says what to pass."""
    chosen = name or part.model
    # A weights file of the table's own is one for its own model.
    given = weights or (part.weights if chosen == part.model else None)
    try:
        return part.model_as(load(chosen, given, num_classes=num_classes))
    except WeightsError as cause:
        raise WeightsError(
            f"{cause}; part {part.name!r} needs weights of {chosen}: --weights FILE or a hub id"
        ) from None


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
    """Compute a part into its run directory, or go on with it.

    Raises ImageError, ConfigError that say what data the part needs; what `vitjax.evaluate` raises.
    """
    try:
        source = part.source_as(model, source_of(model, data, masks=masks))
        if not source.has_masks and any("mask" in metric_request(each.metric).metric.needs for each in part.columns):
            raise ConfigError(f"{source.name}: has no object masks")
    except (ImageError, ConfigError) as cause:
        raise type(cause)(f"{cause}; part {part.name!r} needs {part.needs}") from None
    return evaluate(
        model,
        source,
        [row.method for row in rows_of(part, slow=slow)],
        [column.metric for column in part.columns],
        out,
        limit=limit,
        profile=False,
        progress=Progress,
        **{**part.options, **options},
    )


def lines(part: Part, run: Run) -> list[Line]:
    """The part's figures, column by column. Rows that the run has not computed are left out."""
    summary = run.table(ci=CI)
    found = []
    for column in part.columns:
        name = shown_name(column)
        shown = summary.figures[name]
        for row in part.rows:
            label = request(row.method).label
            if (label, name) not in summary.rows:
                continue
            each = summary.rows[label, name]
            value, low, high = (_known(shown.factor * x) for x in each.estimate[:3])
            found.append(
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
                    n=each.estimate.n,
                    excluded=each.excluded,
                )
            )
    return found


def finished_runs(table: Table, out: Path) -> list[tuple[Part, Run]]:
    """Parts whose run in `out` is complete, in the order of the table."""
    found = []
    for part in table.parts:
        try:
            run = Run(out / part.name)
        except RunError:  # not begun
            continue
        if run.finished:
            found.append((part, run))
    return found


def markdown(table: Table, results: Sequence[tuple[Part, Run]]) -> str:
    """A table "method | paper | ours | difference" for each figure, below it what the numbers are of, and the notes."""
    text = [f"# {table.name}: {table.title}", ""]
    for part, run in results:
        config = run.config
        for figure, group in _by_figure(lines(part, run)).items():
            first = group[0]
            arrow = {"higher": " ↑", "lower": " ↓"}.get(first.better or "", "")
            text += [f"## {figure}{f' [{first.unit}]' if first.unit else ''}{arrow}", ""]
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
        text += ["\\- in the column of the paper: no such line there, or no figure that could be found.", ""]
    text += [f"Figures of the paper: {table.source}.", "", *(f"- {note}" for note in table.notes)]
    return "\n".join(text) + "\n"


def unlike(part: Part, run: Run) -> list[str]:
    """Sentences that say where a run is not the paper's, so that its differences mean little."""
    model, count = run.config["model"]["name"], run.config["count"]
    found = []
    if model != part.model:
        found.append(f"Not the paper's model, {part.model}: differences to its figures mean little.")
    if part.images not in (None, count):
        found.append(f"Not the paper's {part.images} images: differences to its figures mean little.")
    return found


def as_json(table: Table, results: Sequence[tuple[Part, Run]]) -> dict[str, Any]:
    """The same, as values."""
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


def _by_figure(found: Sequence[Line]) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = {}
    for line in found:
        groups.setdefault(line.figure, []).append(line)
    return groups


def _markdown_row(line: Line) -> str:
    interval = "" if line.low is None or line.high is None else f" [{line.low:.2f}, {line.high:.2f}]"
    ours = "-" if line.ours is None else f"{line.ours:.2f}{interval}"
    images = f"{line.n}{''.join(f', {count} {reason}' for reason, count in line.excluded.items())}"
    return f"| {line.method} | {_number(line.paper)} | {ours} | {_number(line.difference, '+')} | {images} |"


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.2f}"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
