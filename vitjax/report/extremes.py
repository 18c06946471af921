"""The images on which the best method did best and worst, figure by figure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vitjax.metrics.contract import mean
from vitjax.report.layout import significant
from vitjax.report.records import Records
from vitjax.report.summary import BASELINES, Shown, Summary, usable

COUNT = 5


class Extreme(NamedTuple):
    """An image and its value as shown."""

    image_id: str
    value: str


class Extremes(NamedTuple):
    """Of one figure and one method. ties: a remark where more images share a value than are shown, else ""."""

    figure: str
    method: str
    best: tuple[Extreme, ...]
    worst: tuple[Extreme, ...]
    ties: str


def extremes(summary: Summary, records: Records, count: int = COUNT) -> list[Extremes]:
    """For each figure that is a mean over images and has a direction: `count` images of its best method.

    The best method is the one of the best value, baselines apart. Images of equal value come in the order of the data.
    """
    ids, codes = records.coded("image_id")
    found = []
    for shown in summary.figures.values():
        if shown.better is None or shown.figure.aggregate is not mean:
            continue
        method = leader(summary, shown)
        if method is None:
            continue
        rows = records.rows[method][usable(records, method, shown)]
        values = records.scalar(shown.columns[0])[rows]
        best_at, worst_at = ends(values if shown.better == "higher" else -values, count)
        best, worst = (
            tuple(Extreme(ids[codes[rows[i]]], significant(shown.factor * values[i])) for i in end)
            for end in (best_at, worst_at)
        )
        ties = [
            f"{which}: the first {len(end)} of {same} images with this value"
            for which, end in (("best", best_at), ("worst", worst_at))
            if len(end) and (same := int((values == values[end[0]]).sum())) > len(end)
        ]
        found.append(Extremes(shown.name, method, best, worst, "; ".join(ties)))
    return found


def ends(goodness: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the best and of the worst, up to `count` each; ties in the order given.

    None stands on both sides, and none as good as the best among the worst or the other way round: where all are
    equal there are no worst.
    """
    best = np.argsort(-goodness, kind="stable")
    worst = np.argsort(goodness, kind="stable")
    if goodness[best[0]] == goodness[worst[0]]:
        return best[:count], worst[:0]
    best, worst = best[goodness[best] > goodness.min()], worst[goodness[worst] < goodness.max()]
    best = best[: min(count, max(1, len(goodness) // 2))]
    return best, worst[~np.isin(worst, best)][:count]


def leader(summary: Summary, shown: Shown) -> str | None:
    """The method of the best value, a baseline only where there is nothing else; None where nothing is defined."""
    values = {method: summary.rows[method, shown.name].estimate.value for method in summary.methods}
    defined = {method: value for method, value in values.items() if np.isfinite(value)}
    own = {m: v for m, v in defined.items() if m != summary.baseline and m not in BASELINES} or defined
    pick = max if shown.better == "higher" else min
    return pick(own, key=lambda method: own[method]) if own else None
