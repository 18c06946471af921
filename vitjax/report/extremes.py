"""The images on which the best method scores best and worst, for each statistic."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vitjax.metrics.contract import mean
from vitjax.report.layout import significant
from vitjax.report.records import Records
from vitjax.report.summary import BASELINES, Shown, Summary, usable

COUNT = 5


class Extreme(NamedTuple):
    """An image and its value as text."""

    image_id: str
    value: str


class Extremes(NamedTuple):
    """Best and worst images of one statistic and one method.

    Attributes:
        figure: name of the statistic.
        method: label of the method.
        best, worst: the images, the most extreme first.
        ties: a remark if more images share the extreme value than are listed, else "".
    """

    figure: str
    method: str
    best: tuple[Extreme, ...]
    worst: tuple[Extreme, ...]
    ties: str


def extremes(summary: Summary, records: Records, count: int = COUNT) -> list[Extremes]:
    """Up to `count` best and worst images of the best method, for each statistic that is a mean and has a direction.

    The best method is chosen by `leader`. Images of equal value appear in the order of the data set.
    """
    ids, codes = records.coded("image_id")
    results = []
    for shown in summary.figures.values():
        if shown.better is None or shown.figure.aggregate is not mean:
            continue
        method = leader(summary, shown)
        if method is None:
            continue
        rows = records.rows[method][usable(records, method, shown)]
        values = records.scalar(shown.columns[0])[rows]
        best_at, worst_at = best_and_worst(values if shown.better == "higher" else -values, count)
        best, worst = (
            tuple(Extreme(ids[codes[rows[i]]], significant(shown.factor * values[i])) for i in positions)
            for positions in (best_at, worst_at)
        )
        ties = [
            f"{side}: the first {len(positions)} of {same} images with this value"
            for side, positions in (("best", best_at), ("worst", worst_at))
            if len(positions) and (same := int((values == values[positions[0]]).sum())) > len(positions)
        ]
        results.append(Extremes(shown.name, method, best, worst, "; ".join(ties)))
    return results


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
