"""Statistics as blocks of cells, shared by all output formats: texts, numbers of decimals, ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vitjax.report.shown import Shown, families
from vitjax.report.statistics import Estimate
from vitjax.report.style import Selection, TableStyle, selection
from vitjax.report.summary import Summary

BEST, SECOND = 1, 2
ARROWS = {"higher": "↑", "lower": "↓", None: ""}
COSTS = {"images_per_second": "images/s", "peak_memory_mib": "peak MiB"}
NOTHING = "–"


class Heading(NamedTuple):
    """The heading of a column.

    Attributes:
        name: of the statistic, in files for programs.
        title: in print.
        unit: "%", another unit or "".
        arrow: the direction that is better, "↑", "↓" or "".
        description: the metric with its reference.
    """

    name: str
    title: str
    unit: str = ""
    arrow: str = ""
    description: str = ""

    @property
    def text(self) -> str:
        """Title, unit and arrow."""
        return " ".join(part for part in (self.title, f"({self.unit})" if self.unit else "", self.arrow) if part)


class Cell(NamedTuple):
    """One cell of a table.

    Attributes:
        value: the number as text.
        low, high: limits of the interval as text; "" without an interval.
        rank: BEST, SECOND or 0.
        number, limits: value and limits as numbers in the displayed unit, for sorting and drawing.
        note: numbers of images used and excluded.
    """

    value: str
    low: str = ""
    high: str = ""
    rank: int = 0
    number: float = math.nan
    limits: tuple[float, float] = (math.nan, math.nan)
    note: str = ""

    @property
    def text(self) -> str:
        return f"{self.value} [{self.low}, {self.high}]" if self.low else self.value


class TableRow(NamedTuple):
    """One row of a table: the method's label, its title in print, and the cells."""

    method: str
    title: str
    cells: tuple[Cell, ...]


class Block(NamedTuple):
    """A table.

    Attributes:
        title: of the table.
        kind: "scores", "differences" (to the baseline) or "costs" (throughput and memory).
        family: of the metrics; "" for costs.
        headings: of the columns, without the column of methods.
        rows: one for each method.
        note: a sentence below the table, "" for none.
    """

    title: str
    kind: str
    family: str
    headings: tuple[Heading, ...]
    rows: tuple[TableRow, ...]
    note: str = ""


def blocks(summary: Summary, style: TableStyle | None = None) -> list[Block]:
    """One block of scores for each family of metrics, then differences to the baseline, then throughput and memory.

    Raises:
        UnknownNameError: a column of the style is not one of the run.
    """
    style = style or TableStyle()
    return [*score_blocks(summary, style), *_difference_blocks(summary, style), *_cost_blocks(summary)]


def score_blocks(summary: Summary, style: TableStyle) -> list[Block]:
    """The blocks of scores; see `blocks`."""
    selected = selection(summary, style.columns)
    return [
        _block(
            summary, family.capitalize(), "scores", figures, selected, summary.methods, _scores(summary, figures, style)
        )
        for family, figures in families(selected.figures).items()
    ]


def _difference_blocks(summary: Summary, style: TableStyle) -> list[Block]:
    others = tuple(method for method in summary.methods if method != summary.baseline)
    if summary.baseline is None or not others:
        return []
    selected = selection(summary, style.columns)
    tables = []
    for family, figures in families(selected.figures).items():
        title = f"{family.capitalize()}: difference to {summary.titles[summary.baseline]}, paired"
        columns = [_differences(summary, shown, others, style) for shown in figures]
        tables.append(_block(summary, title, "differences", figures, selected, others, columns))
    return tables


def _cost_blocks(summary: Summary) -> list[Block]:
    """The block of throughput and memory of each method, without columns that nothing was measured for."""
    headings, columns = [], []
    for key, name in COSTS.items():
        values = [_number(summary.profile.get(method, {}).get(key)) for method in summary.methods]
        if not all(math.isnan(value) for value in values):
            columns.append([Cell(significant(value), number=value) for value in values])
            headings.append(Heading(key, name))
    if not headings:
        return []
    device = f", measured on {summary.device}" if summary.device else ""
    return [Block(f"Speed and memory{device}", "costs", "", tuple(headings), _rows(summary, summary.methods, columns))]


def significant(value: float, digits: int = 3) -> str:
    """A number with at least `digits` significant digits and without an exponent: 1234, 12.3, 0.0123."""
    if not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return minus(f"{value:.{decimals}f}")


def minus(text: str) -> str:
    """`text` with a typographic minus sign, and without a sign if the number is zero."""
    return text.replace("-", "−") if text.strip("+-0.") else text.lstrip("+-")


def decimals_of(estimates: Sequence[Estimate], factor: float) -> int:
    """Decimals that show two digits of the median interval's width, from 1 to 4.

    Args:
        estimates: of one column.
        factor: factor of the displayed unit; without intervals, 100 gives 1 decimal and any other factor 3.
    """
    widths = [factor * (estimate.high - estimate.low) for estimate in estimates]
    widths = [width for width in widths if width > 0]
    if not widths:
        return 1 if factor == 100 else 3
    return min(4, max(1, 1 - math.floor(math.log10(np.median(widths)))))


def ranks(texts: Sequence[str], numbers: Sequence[float], better: str | None) -> list[int]:
    """BEST, SECOND or 0 for each value.

    Values with equal text share a rank, so that a rank never depends on digits that the table does not show. All ranks
    are 0 if no direction is better or if fewer than two different texts are defined.
    """
    if better is None:
        return [0] * len(texts)
    defined = sorted({n for n in numbers if math.isfinite(n)}, reverse=better == "higher")
    order = list(dict.fromkeys(texts[list(numbers).index(n)] for n in defined))
    if len(order) < 2:
        return [0] * len(texts)
    rank_of = {text: rank for rank, text in zip((BEST, SECOND), order, strict=False)}
    return [rank_of.get(text, 0) if math.isfinite(n) else 0 for text, n in zip(texts, numbers, strict=True)]


def exclusions(excluded: dict[str, int]) -> str:
    """Numbers of excluded images by reason as text, for example "3 degenerate, 1 undefined"."""
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in excluded.items())


def _heading(shown: Shown) -> Heading:
    description = f"{shown.name}: {shown.metric.title}. {shown.metric.cite}"
    return Heading(shown.name, shown.title, shown.unit, ARROWS[shown.better], description)


def _scores(summary: Summary, figures: Sequence[Shown], style: TableStyle) -> list[list[Cell]]:
    columns = []
    for shown in figures:
        rows = [summary.rows[method, shown.name] for method in summary.methods]
        cells = _cells([row.estimate for row in rows], shown.factor, style)
        cell_ranks = ranks([cell.value for cell in cells], [cell.number for cell in cells], shown.better)
        notes = [f"n = {row.estimate.n}" + (f"; {exclusions(row.excluded)}" if row.excluded else "") for row in rows]
        columns.append(
            [cell._replace(rank=rank, note=note) for cell, rank, note in zip(cells, cell_ranks, notes, strict=True)]
        )
    return columns


def _differences(summary: Summary, shown: Shown, methods: Sequence[str], style: TableStyle) -> list[Cell]:
    differences = [summary.rows[method, shown.name].difference for method in methods]
    estimates = [difference or Estimate(math.nan, math.nan, math.nan, 0) for difference in differences]
    cells = _cells(estimates, shown.factor, style, signed=True)
    return [cell._replace(note=f"n = {estimate.n}") for cell, estimate in zip(cells, estimates, strict=True)]


def _cells(estimates: Sequence[Estimate], factor: float, style: TableStyle, *, signed: bool = False) -> list[Cell]:
    decimals = decimals_of(estimates, factor) if style.digits is None else style.digits
    plus = "+" if signed else ""

    def show(value: float) -> str:
        return minus(f"{value:{plus}.{decimals}f}")

    cells = []
    for estimate in estimates:
        value, low, high = (factor * number for number in estimate[:3])
        if not math.isfinite(value):
            cells.append(Cell(NOTHING))
        elif math.isnan(low):
            cells.append(Cell(show(value), number=value))
        else:
            cells.append(Cell(show(value), show(low), show(high), number=value, limits=(low, high)))
    return cells if style.intervals else [cell._replace(low="", high="") for cell in cells]


def _block(
    summary: Summary,
    title: str,
    kind: str,
    figures: Sequence[Shown],
    selected: Selection,
    methods: Sequence[str],
    columns: Sequence[Sequence[Cell]],
) -> Block:
    family = figures[0].metric.family
    headings = tuple(_heading(shown) for shown in figures)
    return Block(title, kind, family, headings, _rows(summary, methods, columns), selected.note(family))


def _rows(summary: Summary, methods: Sequence[str], columns: Sequence[Sequence[Cell]]) -> tuple[TableRow, ...]:
    titles = summary.titles
    cells = [tuple(column[i] for column in columns) for i in range(len(methods))]
    return tuple(TableRow(method, titles[method], own) for method, own in zip(methods, cells, strict=True))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
