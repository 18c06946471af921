"""The thresholded map against the mask: four counts, and five numbers made of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from vitjax.metrics.above_mean import above_mean
from vitjax.metrics.contract import Case, Columns, Metric, Statistic, mean
from vitjax.metrics.masks import Resolution, ToGrid, compared, marked, undefined
from vitjax.shapes import Array, Bool, Float, Scalar

Threshold = Literal["mean"] | float
Average = Literal["pixels", "rows"]
Heatmap = Float[Array, "height width"]
Mask = Array
"""bool [H, W], True on the object; or integers: 0 background, 128 counts nowhere, everything else object."""


class Counts(NamedTuple):
    """Counting pixels by [H > t] (hit: True) and by the mask; NaN where undefined."""

    object_hit: Array
    object_missed: Array
    background_hit: Array
    background_left: Array

    @property
    def counted(self) -> Array:
        return self.object_hit + self.object_missed + self.background_hit + self.background_left

    @property
    def correct(self) -> Array:
        return self.object_hit + self.background_left

    @property
    def object_union(self) -> Array:
        return self.object_hit + self.object_missed + self.background_hit

    @property
    def background_union(self) -> Array:
        return self.background_left + self.object_missed + self.background_hit


def chosen(heatmap: Heatmap, threshold: Threshold) -> Bool[Array, "height width"]:
    """[H > t], strictly; "mean" is the exact mean of the whole map, pixels that do not count included."""
    return above_mean(heatmap) if threshold == "mean" else heatmap > threshold


def counts(heatmap: Heatmap, mask: Mask, *, threshold: Threshold = "mean") -> Counts:
    """The four counts of one image, exact; all NaN where the map is constant or not finite, or the mask of one kind.

    Args:
        heat: map, [0, 1].
        mask: of the same size; see `Mask`.
        threshold: t, "mean" or a number.

    Example: `counts(explanation.pixels()[0], mask, threshold=0.5).object_hit`
    """
    hit, each = chosen(heatmap, threshold), marked(mask)
    parts = (each.object & hit, each.object & ~hit, each.background & hit, each.background & ~hit)
    bad = undefined(heatmap, mask)
    return Counts(*(jnp.where(bad, jnp.nan, part.sum().astype(heatmap.dtype)) for part in parts))


def pixel_accuracy(heatmap: Heatmap, mask: Mask, *, threshold: Threshold = "mean") -> Scalar:
    """Share of pixels where [H > t] = M.

    Args:
        heat: map H at the size of the mask, [0, 1].
        mask: [H, W] bool, or 0 / 128 (counts nowhere) / 255.
        threshold: t; "mean" is the map's mean (Chefer et al. 2021), a number such as 0.5 itself. Strict >.

    Returns a float in [0, 1]; NaN where the map is constant or not finite, or the mask all object or all background.

    Source: segmentation protocol of Chefer et al. 2021. Differs from reference: an image without object or
    background is left out; there it counts.

    Example: `pixel_accuracy(explanation.pixels()[0], mask, threshold=0.5)`
    """
    found = counts(heatmap, mask, threshold=threshold)
    return found.correct / found.counted


def iou(heatmap: Heatmap, mask: Mask, *, threshold: Threshold = "mean") -> Scalar:
    """|{H > t} ∩ M| / |{H > t} ∪ M| of one image.

    Args, NaN: as `pixel_accuracy`. Returns a float in [0, 1].

    Source: foreground IoU averaged over images. Differs from reference: nothing.

    Example: `iou(explanation.pixels()[0], mask)`
    """
    found = counts(heatmap, mask, threshold=threshold)
    return found.object_hit / found.object_union


def mean_iou(heatmap: Heatmap, mask: Mask, *, threshold: Threshold = "mean") -> Scalar:
    """(IoU of the object + IoU of the background) / 2 of ONE image.

    The figure of a data set is another number: `pooled_mean_iou` of the counts of all images, as published.

    Args, NaN: as `pixel_accuracy`. Returns a float in [0, 1].

    Source: Chefer et al. 2021, Transformer Interpretability Beyond Attention Visualization.

    Example: `mean_iou(explanation.pixels()[0], mask)`
    """
    found = counts(heatmap, mask, threshold=threshold)
    return (found.object_hit / found.object_union + found.background_left / found.background_union) / 2


def f1(heatmap: Heatmap, mask: Mask, *, threshold: Threshold = "mean", average: Average = "pixels") -> Scalar:
    """F1 = 2 TP / (2 TP + FP + FN) of the object in [H > t].

    Args:
        heat, mask, threshold: as `pixel_accuracy`.
        average: "pixels" of the whole image; "rows" the mean over the image's rows of each row's F1, 0 in a row with
            neither object nor hit, as the published code of Transformer-Explainability does (its batch axis is the
            image's height).

    Returns a float in [0, 1]; NaN as `pixel_accuracy`.

    Source: van Rijsbergen 1979. Differs from reference: rows without a counting pixel are left out.

    Example: `f1(explanation.pixels()[0], mask, threshold=0.5)`
    """
    found = counts(heatmap, mask, threshold=threshold)
    if average == "pixels":
        return 2 * found.object_hit / (2 * found.object_hit + found.object_missed + found.background_hit)
    hit, each = chosen(heatmap, threshold), marked(mask)
    both = 2 * (each.object & hit).sum(axis=1)
    either = both + (each.counts & (each.object ^ hit)).sum(axis=1)
    rows = both.astype(heatmap.dtype) / jnp.maximum(either, 1)
    return jnp.where(undefined(heatmap, mask), jnp.nan, rows.sum() / each.counts.any(axis=1).sum())


def jaccard(heatmap: Heatmap, mask: Mask, *, threshold: Threshold = "mean") -> Scalar:
    """Jaccard index TP / (TP + FP + FN) of the object in [H > t]: the same number as `iou` under its other name.

    Args, Returns, NaN: as `iou`.

    Source: Jaccard 1901; reported beside F1 with t = 0.5.

    Example: `jaccard(explanation.pixels()[0], mask, threshold=0.5)`
    """
    return iou(heatmap, mask, threshold=threshold)


def pooled_share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Σ part / Σ whole over the images, the last axis, in float64."""
    return np.asarray(part, np.float64).sum(axis=-1) / np.asarray(whole, np.float64).sum(axis=-1)


def pooled_mean_iou(
    object_hit: np.ndarray, object_union: np.ndarray, background_left: np.ndarray, background_union: np.ndarray
) -> np.ndarray:
    """(Σ∩ / Σ∪ of the object + Σ∩ / Σ∪ of the background) / 2 over the images, the last axis, in float64."""
    return (pooled_share(object_hit, object_union) + pooled_share(background_left, background_union)) / 2


def _counts_of(case: Case, threshold: Threshold, resolution: Resolution, mask_to_grid: ToGrid) -> Counts:
    heatmap, mask = compared(case, resolution, mask_to_grid)
    key = ("counts", threshold, resolution, mask_to_grid)
    return case.once(key, lambda: counts(heatmap, mask, threshold=threshold))


def _record_accuracy(
    case: Case, *, threshold: Threshold = "mean", resolution: Resolution = "pixels", mask_to_grid: ToGrid = "nearest"
) -> Columns:
    found = _counts_of(case, threshold, resolution, mask_to_grid)
    return {"value": found.correct / found.counted, "correct": found.correct, "counted": found.counted}


def _record_iou(
    case: Case, *, threshold: Threshold = "mean", resolution: Resolution = "pixels", mask_to_grid: ToGrid = "nearest"
) -> Columns:
    found = _counts_of(case, threshold, resolution, mask_to_grid)
    return {"value": found.object_hit / found.object_union}


def _record_mean_iou(
    case: Case, *, threshold: Threshold = "mean", resolution: Resolution = "pixels", mask_to_grid: ToGrid = "nearest"
) -> Columns:
    found = _counts_of(case, threshold, resolution, mask_to_grid)
    return {
        "object_intersection": found.object_hit,
        "object_union": found.object_union,
        "background_intersection": found.background_left,
        "background_union": found.background_union,
    }


def _record_f1(
    case: Case,
    *,
    threshold: Threshold = "mean",
    average: Average = "pixels",
    resolution: Resolution = "pixels",
    mask_to_grid: ToGrid = "nearest",
) -> Columns:
    heatmap, mask = compared(case, resolution, mask_to_grid)
    return {"value": f1(heatmap, mask, threshold=threshold, average=average)}


_OBJECT = ("object_intersection", "object_union")
_BACKGROUND = ("background_intersection", "background_union")
_CHEFER = "Chefer, Gur & Wolf 2021, Transformer Interpretability Beyond Attention Visualization"
_localisation: Callable[..., Metric] = partial(Metric, family="localisation", cost="0", needs=frozenset({"mask"}))
_one_number = {"": Statistic(("value",), mean)}

PIXEL_ACCURACY = _localisation(
    title="Pixel accuracy",
    cite=_CHEFER,
    function=pixel_accuracy,
    record=_record_accuracy,
    figures=lambda options: {**_one_number, "pooled": Statistic(("correct", "counted"), pooled_share)},
)
IOU = _localisation(
    title="IoU of the object",
    cite="Everingham et al. 2010, The Pascal Visual Object Classes Challenge",
    function=iou,
    record=_record_iou,
    figures=lambda options: _one_number,
)
MEAN_IOU = _localisation(
    title="Mean IoU",
    cite=_CHEFER,
    function=mean_iou,
    record=_record_mean_iou,
    figures=lambda options: {
        "": Statistic((*_OBJECT, *_BACKGROUND), pooled_mean_iou),
        "object": Statistic(_OBJECT, pooled_share),
        "background": Statistic(_BACKGROUND, pooled_share),
    },
)
F1 = _localisation(
    title="F1",
    cite="van Rijsbergen 1979, Information Retrieval",
    function=f1,
    record=_record_f1,
    figures=lambda options: _one_number,
)
JACCARD = _localisation(
    title="Jaccard index",
    cite="Jaccard 1901, Étude comparative de la distribution florale",
    function=jaccard,
    record=_record_iou,
    figures=lambda options: _one_number,
)
