"""Figures as blocks of cells, the same for every format: what is shown, how many decimals, what is best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vitjax.report.statistics import Estimate
from vitjax.report.summary import Shown, Summary, families

BEST, SECOND = 1, 2
ARROWS = {"higher": "↑", "lower": "↓", None: ""}
COSTS = {"images_per_second": "images/s", "peak_memory_mib": "peak MiB"}
NOTHING = "–"


class Heading(NamedTuple):
    """A column's name, its unit ("%" or ""), the direction that is good as an arrow, and what it is.

    cost: throughput or memory, which stand beside scores and are none.
    """

    name: str
    unit: str = ""
    arrow: str = ""
    title: str = ""
    cost: bool = False

    @property
    def text(self) -> str:
        return " ".join(part for part in (self.name, f"({self.unit})" if self.unit else "", self.arrow) if part)


class Cell(NamedTuple):
    """Texts as shown; low and high are "" without an interval. rank: BEST, SECOND or 0.

    number and limits are in the unit shown, for sorting and drawing. note: images used and excluded.
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


class Block(NamedTuple):
    """A table. kind: "scores" or "differences". rows: (method, cells)."""

    title: str
    kind: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def blocks(summary: Summary, *, differences: bool = True) -> list[Block]:
    """One block of scores for each family of metrics, throughput and memory in its last columns; then differences."""
    found = []
    for family, figures in families(summary.figures).items():
        columns = [_scores(summary, shown) for shown in figures] + [column for _, column in costs(summary)]
        headings = [_heading(shown) for shown in figures] + [heading for heading, _ in costs(summary)]
        found.append(_block(family.capitalize(), "scores", headings, columns, summary.methods))
    others = tuple(method for method in summary.methods if method != summary.baseline)
    if differences and summary.baseline is not None and others:
        for family, figures in families(summary.figures).items():
            title = f"{family.capitalize()}: difference to {summary.baseline}, paired"
            columns = [_differences(summary, shown, others) for shown in figures]
            found.append(_block(title, "differences", [_heading(shown) for shown in figures], columns, others))
    return found


def costs(summary: Summary) -> list[tuple[Heading, list[Cell]]]:
    """Throughput and memory of each method, as far as they were measured."""
    found = []
    for key, name in COSTS.items():
        values = [_number(summary.profile.get(method, {}).get(key)) for method in summary.methods]
        if not all(math.isnan(value) for value in values):
            cells = [Cell(significant(value), number=value) for value in values]
            found.append(
                (Heading(name, title=f"measured on {summary.device}" if summary.device else "", cost=True), cells)
            )
    return found


def significant(value: float, digits: int = 3) -> str:
    """Three digits that count, without an exponent: 1234, 12.3, 0.0123."""
    if not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return minus(f"{value:.{decimals}f}")


def minus(text: str) -> str:
    """A real minus sign, and no sign before a zero."""
    return text.replace("-", "−") if text.strip("+-0.") else text.lstrip("+-")


def decimals_of(estimates: Sequence[Estimate], factor: float) -> int:
    """As many decimals as show two digits of the usual interval's width, 1 to 4."""
    widths = [factor * (each.high - each.low) for each in estimates]
    widths = [width for width in widths if width > 0]
    if not widths:
        return 1 if factor == 100 else 3
    return min(4, max(1, 1 - math.floor(math.log10(np.median(widths)))))


def ranks(texts: Sequence[str], numbers: Sequence[float], better: str | None) -> list[int]:
    """BEST, SECOND or 0 for each; values that look the same share a place, so that no table claims what it hides."""
    if better is None:
        return [0] * len(texts)
    defined = sorted({n for n in numbers if math.isfinite(n)}, reverse=better == "higher")
    order = list(dict.fromkeys(texts[list(numbers).index(n)] for n in defined))
    if len(order) < 2:  # one method, or all alike: nothing stands out
        return [0] * len(texts)
    place = {text: rank for rank, text in zip((BEST, SECOND), order, strict=False)}
    return [place.get(text, 0) if math.isfinite(n) else 0 for text, n in zip(texts, numbers, strict=True)]


def exclusions(excluded: dict[str, int]) -> str:
    """ "3 degenerate, 1 undefined"."""
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in excluded.items())


def _heading(shown: Shown) -> Heading:
    unit = "%" if shown.figure.percent else ""
    return Heading(shown.name, unit, ARROWS[shown.better], f"{shown.metric.title}. {shown.metric.cite}")


def _scores(summary: Summary, shown: Shown) -> list[Cell]:
    rows = [summary.rows[method, shown.name] for method in summary.methods]
    cells = _cells([row.estimate for row in rows], shown.factor)
    places = ranks([cell.value for cell in cells], [cell.number for cell in cells], shown.better)
    notes = [f"n = {row.estimate.n}" + (f"; {exclusions(row.excluded)}" if row.excluded else "") for row in rows]
    return [cell._replace(rank=place, note=note) for cell, place, note in zip(cells, places, notes, strict=True)]


def _differences(summary: Summary, shown: Shown, methods: Sequence[str]) -> list[Cell]:
    found = [summary.rows[method, shown.name].difference for method in methods]
    estimates = [each or Estimate(math.nan, math.nan, math.nan, 0) for each in found]
    cells = _cells(estimates, shown.factor, signed=True)
    return [cell._replace(note=f"n = {each.n}") for cell, each in zip(cells, estimates, strict=True)]


def _cells(estimates: Sequence[Estimate], factor: float, *, signed: bool = False) -> list[Cell]:
    decimals, plus = decimals_of(estimates, factor), "+" if signed else ""

    def show(value: float) -> str:
        return minus(f"{value:{plus}.{decimals}f}")

    cells = []
    for each in estimates:
        value, low, high = (factor * number for number in each[:3])
        if not math.isfinite(value):
            cells.append(Cell(NOTHING))
        elif math.isnan(low):
            cells.append(Cell(show(value), number=value))
        else:
            cells.append(Cell(show(value), show(low), show(high), number=value, limits=(low, high)))
    return cells


def _block(
    title: str, kind: str, headings: Sequence[Heading], columns: Sequence[Sequence[Cell]], methods: Sequence[str]
) -> Block:
    rows = tuple((method, tuple(column[i] for column in columns)) for i, method in enumerate(methods))
    return Block(title, kind, tuple(headings), rows)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
