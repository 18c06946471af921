"""The images on which the best method scores best and worst, for one statistic of each family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vitjax.metrics.contract import mean
from vitjax.report.layout import significant
from vitjax.report.records import Records
from vitjax.report.shown import Shown, families
from vitjax.report.summary import BASELINES, Summary, usable

COUNT = 5


class Extreme(NamedTuple):
    """An image, its value as text with its unit, and its rank: 1 is the best image of all."""

    image_id: str
    value: str
    rank: int


class Extremes(NamedTuple):
    """Best and worst images of one statistic and one method, without images of earlier ones.

    Attributes:
        figure: title of the statistic.
        method: label of the method.
        best, worst: the images, the most extreme first.
        images: number of images that have a value.
        omitted: how many images of the best and of the worst were left out because they are shown above.
    """

    figure: str
    method: str
    best: tuple[Extreme, ...]
    worst: tuple[Extreme, ...]
    images: int
    omitted: int


def extremes(
    summary: Summary, records: Records, figures: Sequence[Shown] | None = None, count: int = COUNT
) -> list[Extremes]:
    """Up to `count` best and worst images of the best method, for the first suitable statistic of each family.

    A statistic is suitable if it is a mean over images and has a better direction. The best method is chosen by
    `leader`. No image appears twice: one that is shown for an earlier family makes room for the next in rank. Images of
    equal value appear in the order of the data set.

    Args:
        figures: in the order of the tables; None takes all of the summary.
    """
    shown_ids: set[int] = set()
    results = []
    for members in families(summary.figures.values() if figures is None else figures).values():
        suitable = [shown for shown in members if shown.better is not None and shown.figure.aggregate is mean]
        chosen = next(((shown, label) for shown in suitable if (label := leader(summary, shown)) is not None), None)
        if chosen is None:
            continue
        entry, ids = _entry(summary, records, *chosen, count, shown_ids)
        shown_ids |= ids
        if entry.best or entry.worst:
            results.append(entry)
    return results


def _entry(
    summary: Summary, records: Records, shown: Shown, method: str, count: int, taken: set[int]
) -> tuple[Extremes, set[int]]:
    """The entry of one statistic, and the codes of its images. `taken`: codes of images that are shown already."""
    ids, codes = records.coded("image_id")
    rows = records.rows[method][usable(records, method, shown)]
    values = records.scalar(shown.columns[0])[rows]
    goodness = values if shown.better == "higher" else -values
    ranks = 1 + np.searchsorted(np.sort(-goodness), -goodness)
    free = np.flatnonzero(~np.isin(codes[rows], list(taken)))
    all_sides = [set(codes[rows[side]]) for side in best_and_worst(goodness, count)]
    sides = [free[side] for side in best_and_worst(goodness[free], count)] if len(free) else [free, free]
    best, worst = (
        tuple(
            Extreme(ids[codes[rows[i]]], " ".join(filter(None, (significant(shown.factor * values[i]), shown.unit))), r)
            for i, r in zip(side, ranks[side].tolist(), strict=True)
        )
        for side in sides
    )
    omitted = len(set.union(*all_sides) & taken)
    used = {int(code) for side in sides for code in codes[rows[side]]}
    return Extremes(shown.title, method, best, worst, len(rows), omitted), used


def best_and_worst(goodness: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the best and of the worst values, up to `count` each, ties in the given order.

    The two results are disjoint: the best exclude the smallest value, and the worst exclude the largest. If all values
    are equal, the first `count` are the best, and there are no worst.

    Args:
        goodness: [n], n >= 1, higher is better.
    """
    best = np.argsort(-goodness, kind="stable")
    worst = np.argsort(goodness, kind="stable")
    if goodness[best[0]] == goodness[worst[0]]:
        return best[:count], worst[:0]
    best, worst = best[goodness[best] > goodness.min()], worst[goodness[worst] < goodness.max()]
    best = best[: min(count, max(1, len(goodness) // 2))]
    return best, worst[~np.isin(worst, best)][:count]


def leader(summary: Summary, shown: Shown) -> str | None:
    """The method with the best value; a baseline only if no other method has a value; None if no method has one."""
    values = {method: summary.rows[method, shown.name].estimate.value for method in summary.methods}
    defined = {method: value for method, value in values.items() if np.isfinite(value)}
    others = {m: v for m, v in defined.items() if m != summary.baseline and m not in BASELINES}
    candidates = others or defined
    pick = max if shown.better == "higher" else min
    return pick(candidates, key=lambda method: candidates[method]) if candidates else None
