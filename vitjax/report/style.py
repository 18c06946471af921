"""What tables show: which statistics, how many decimals, whether intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from vitjax.errors import ConfigError, unknown_name
from vitjax.report.shown import Shown, families
from vitjax.report.statistics import Estimate
from vitjax.report.summary import Summary

MOST_DIGITS = 9
EQUAL = 1e-5
"""Largest relative difference of two statistics that are the same: metrics are computed in single precision."""


class TableStyle(NamedTuple):
    """What tables for people show; summary.csv has everything.

    Attributes:
        columns: statistics in the order of the table: names as in the column "figure" of summary.csv, labels of
            metrics (all of their statistics), or families. () shows all that are not equal to an earlier one.
        digits: decimals of every number; None chooses them by the widths of the intervals.
        intervals: whether intervals are shown.
    """

    columns: tuple[str, ...] = ()
    digits: int | None = None
    intervals: bool = True


class Selection(NamedTuple):
    """Statistics in the order of the tables.

    Attributes:
        figures: those that are shown.
        equal: titles of those that are left out because they equal a shown one, by the name of that one.
    """

    figures: tuple[Shown, ...]
    equal: dict[str, tuple[str, ...]]

    def note(self, names: Sequence[str]) -> str:
        """A sentence about what is left out beside the statistics `names`; "" if nothing is."""
        titles = {shown.name: shown.title for shown in self.figures}
        parts = [f"{titles[name]} = {' = '.join(self.equal[name])}" for name in names if name in self.equal]
        return f"Equal in this run and shown once: {'; '.join(parts)}." if parts else ""


def check_style(style: TableStyle) -> None:
    """Raise ConfigError if `digits` is no number of decimals."""
    if style.digits is not None and not 0 <= style.digits <= MOST_DIGITS:
        raise ConfigError(f"digits={style.digits}: must be a number of decimals, 0 to {MOST_DIGITS}")


def selection(summary: Summary, columns: Sequence[str] = ()) -> Selection:
    """The statistics that tables show.

    Args:
        columns: as in `TableStyle`. What is named is shown, whether or not it equals another.

    Raises:
        UnknownNameError: a column names nothing of this run.
    """
    if columns:
        names: dict[str, list[Shown]] = families(summary.figures.values())
        for shown in summary.figures.values():
            names.setdefault(shown.label, [other for other in summary.figures.values() if other.label == shown.label])
        names |= {name: [shown] for name, shown in summary.figures.items() if name not in names}
        unknown = next((column for column in columns if column not in names), None)
        if unknown is not None:
            raise unknown_name("column of this run", unknown, names)
        return Selection(tuple(dict.fromkeys(shown for column in columns for shown in names[column])), {})
    kept: list[Shown] = []
    equal: dict[str, tuple[str, ...]] = {}
    for shown in summary.figures.values():
        same = next((other for other in kept if are_equal(summary, shown, other)), None)
        if same is None:
            kept.append(shown)
        else:
            equal[same.name] = (*equal.get(same.name, ()), shown.title)
    return Selection(tuple(kept), equal)


def are_equal(summary: Summary, one: Shown, other: Shown) -> bool:
    """Whether two statistics of a family are the same number, as IoU and Jaccard index: equal for every method, with
    their intervals and numbers of images. Shares that are all 0 or 1 prove nothing."""
    alike = one.metric.family, one.better, one.factor, one.unit
    if alike != (other.metric.family, other.better, other.factor, other.unit):
        return False
    pairs = [[summary.rows[method, shown.name].estimate for shown in (one, other)] for method in summary.methods]
    informative = any(math.isfinite(mine.value) and mine.value not in (0, 1) for mine, _ in pairs)
    return informative and all(_same(mine, theirs) for mine, theirs in pairs)


def _same(one: Estimate, other: Estimate) -> bool:
    return one.n == other.n and all(
        math.isclose(a, b, rel_tol=EQUAL) or (math.isnan(a) and math.isnan(b))
        for a, b in zip(one[:3], other[:3], strict=True)
    )
