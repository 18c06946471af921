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
        columns: statistics in the order of the table: names as in the column "figure" of summary.csv, with or without
            the options of the metric; labels of metrics (all of their statistics); or families. () shows all that are
            not equal to an earlier one.
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
        undefined: those that are left out because no method has a value.
    """

    figures: tuple[Shown, ...]
    equal: dict[str, tuple[str, ...]]
    undefined: tuple[Shown, ...] = ()

    def note(self, family: str) -> str:
        """Sentences about what is left out of the statistics of a family; "" if nothing is."""
        members = [shown for shown in self.figures if shown.metric.family == family]
        same = [f"{one.title} = {' = '.join(self.equal[one.name])}" for one in members if one.name in self.equal]
        undefined = [shown.title for shown in self.undefined if shown.metric.family == family]
        sentences = [f"Equal in this run and shown once: {'; '.join(same)}."] if same else []
        sentences += [f"Without a value in this run: {'; '.join(undefined)}."] if undefined else []
        return " ".join(sentences)


def check_style(style: TableStyle) -> None:
    """Raise ConfigError if `digits` is no number of decimals."""
    if style.digits is not None and not 0 <= style.digits <= MOST_DIGITS:
        raise ConfigError(f"digits={style.digits}: must be a number of decimals, 0 to {MOST_DIGITS}")


def selection(summary: Summary, columns: Sequence[str] = ()) -> Selection:
    """The statistics that tables show.

    Args:
        columns: as in `TableStyle`. What is named is shown; without names, a statistic is left out that equals an
            earlier one, or that has no value while another one of its family has.

    Raises:
        UnknownNameError: a column names nothing of this run.
    """
    if columns:
        names: dict[str, list[Shown]] = families(summary.figures.values())
        for shown in summary.figures.values():
            names.setdefault(shown.label, [other for other in summary.figures.values() if other.label == shown.label])
        names |= {name: [shown] for name, shown in summary.figures.items() if name not in names}
        for shown in summary.figures.values():  # without the options of the metric
            metric, _, rest = shown.name.partition("(")
            for name in {metric, f"{metric}{rest.rpartition(')')[2]}"} if rest else ():
                if name not in summary.figures:
                    names[name] = [*names.get(name, ()), shown]
        unknown = next((column for column in columns if column not in names), None)
        if unknown is not None:
            raise unknown_name("column of this run", unknown, names)
        return Selection(tuple(dict.fromkeys(shown for column in columns for shown in names[column])), {})
    kept: list[Shown] = []
    equal: dict[str, tuple[str, ...]] = {}
    defined = {shown.name for shown in summary.figures.values() if _has_value(summary, shown)}
    families_with_values = {summary.figures[name].metric.family for name in defined}
    undefined = []
    for shown in summary.figures.values():
        if shown.name not in defined and shown.metric.family in families_with_values:
            undefined.append(shown)
            continue
        same = next((other for other in kept if are_equal(summary, shown, other)), None)
        if same is None:
            kept.append(shown)
        else:
            equal[same.name] = (*equal.get(same.name, ()), shown.title)
    return Selection(tuple(kept), equal, tuple(undefined))


def are_equal(summary: Summary, one: Shown, other: Shown) -> bool:
    """Whether two statistics of a family are the same number, as IoU and Jaccard index: equal for every method, with
    their intervals and numbers of images. Shares that are all 0 or 1 prove nothing."""
    alike = one.metric.family, one.better, one.factor, one.unit
    if alike != (other.metric.family, other.better, other.factor, other.unit):
        return False
    pairs = [[summary.rows[method, shown.name].estimate for shown in (one, other)] for method in summary.methods]
    informative = any(math.isfinite(mine.value) and mine.value not in (0, 1) for mine, _ in pairs)
    return informative and all(_same(mine, theirs) for mine, theirs in pairs)


def _has_value(summary: Summary, shown: Shown) -> bool:
    return any(summary.rows[method, shown.name].estimate.n for method in summary.methods)


def _same(one: Estimate, other: Estimate) -> bool:
    return one.n == other.n and all(
        math.isclose(a, b, rel_tol=EQUAL) or (math.isnan(a) and math.isnan(b))
        for a, b in zip(one[:3], other[:3], strict=True)
    )
