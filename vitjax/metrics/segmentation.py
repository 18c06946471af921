"""Segmentation metrics: four pixel counts of the thresholded map and the mask, and five metrics computed from them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax.numpy as jnp

from vitjax.methods.options import Fraction
from vitjax.metrics.above_mean import above_mean
from vitjax.metrics.checks import checks_options, map_with_mask
from vitjax.metrics.contract import Case, Columns, Metric, Statistic, mean
from vitjax.metrics.masks import Resolution, ToGrid, is_undefined, map_and_mask, split_mask
from vitjax.metrics.pooled import pooled_mean_iou, pooled_share
from vitjax.shapes import Array, Bool, Float, Scalar

Threshold = Literal["mean"] | Fraction
Average = Literal["pixels", "rows"]
Heatmap = Float[Array, "height width"]
Mask = Array
"""[H, W]: bool, True on the object, or integers: 0 background, 128 ignored, 255 object."""


class Counts(NamedTuple):
    """Numbers of valid pixels by mask and by [H > t], as floats; NaN if undefined.

    Attributes:
        object_hit: object, H > t (true positives).
        object_missed: object, H <= t (false negatives).
        background_hit: background, H > t (false positives).
        background_left: background, H <= t (true negatives).
    """

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


def above_threshold(heatmap: Heatmap, threshold: Threshold) -> Bool[Array, "height width"]:
    """[H > t], strictly; "mean" is the exact mean of the whole map, ignored pixels included."""
    return above_mean(heatmap) if threshold == "mean" else heatmap > threshold


@checks_options
def counts(heatmap: Heatmap, mask: Mask, *, threshold: Threshold = "mean") -> Counts:
    """The four pixel counts of one image, exact.

    Args:
        heatmap: map H, [0, 1].
        mask: of the same size; see `Mask`.
        threshold: t, "mean" or a number.

    Returns:
        Four floats; NaN if the map is constant or not finite, or if the mask has no object or no background.

    Example:
        >>> heatmap, mask = jnp.array([[1.0, 0.8, 0.6], [0.2, 0.1, 0.0]]), np.array([[255, 255, 0], [0, 0, 0]])
        >>> [int(count) for count in vitjax.metrics.counts(heatmap, mask)]
        [2, 0, 1, 3]
    """
    heatmap, mask = map_with_mask(heatmap, mask)
    hit, regions = above_threshold(heatmap, threshold), split_mask(mask)
    parts = (regions.object & hit, regions.object & ~hit, regions.background & hit, regions.background & ~hit)
    undefined = is_undefined(heatmap, mask)
    return Counts(*(jnp.where(undefined, jnp.nan, part.sum().astype(heatmap.dtype)) for part in parts))


@checks_options
def pixel_accuracy(heatmap: Heatmap, mask: Mask, *, threshold: Threshold = "mean") -> Scalar:
    """Share of valid pixels where [H > t] = M.

    Args:
        heatmap: map H at the size of the mask, [0, 1].
        mask: M, [H, W] bool, or integers: 0 (background), 128 (ignored), 255 (object).
        threshold: t, a number such as 0.5, or "mean" for the mean of the map (Chefer et al. 2021). The comparison is
            strict.

    Returns:
        Float in [0, 1]; NaN if the map is constant or not finite, or if the mask has no object or no background.

    Source: segmentation protocol of Chefer et al. 2021. Differs from reference: an image without object or without
    background is excluded; the original includes it.

    Example:
        >>> heatmap, mask = jnp.array([[1.0, 0.8, 0.6], [0.2, 0.1, 0.0]]), np.array([[255, 255, 0], [0, 0, 0]])
        >>> round(float(vitjax.metrics.pixel_accuracy(heatmap, mask, threshold=0.5)), 3)  # 5/6
        0.833
    """
    pixels = counts(heatmap, mask, threshold=threshold)
    return pixels.correct / pixels.counted


@checks_options
def iou(heatmap: Heatmap, mask: Mask, *, threshold: Threshold = "mean") -> Scalar:
    """|{H > t} ∩ M| / |{H > t} ∪ M| of one image.

    Args: as for `pixel_accuracy`.

    Returns:
        Float in [0, 1]; NaN as for `pixel_accuracy`.

    Source: foreground IoU averaged over images. Differs from reference: nothing.

    Example:
        >>> heatmap, mask = jnp.array([[1.0, 0.8, 0.6], [0.2, 0.1, 0.0]]), np.array([[255, 255, 0], [0, 0, 0]])
        >>> round(float(vitjax.metrics.iou(heatmap, mask)), 3)  # 2/3
        0.667
    """
    pixels = counts(heatmap, mask, threshold=threshold)
    return pixels.object_hit / pixels.object_union


@checks_options
def mean_iou(heatmap: Heatmap, mask: Mask, *, threshold: Threshold = "mean") -> Scalar:
    """(IoU of the object + IoU of the background) / 2 of ONE image.

    Tables of a data set show `pooled_mean_iou` instead, of the counts summed over all images, as published.

    Args: as for `pixel_accuracy`.

    Returns:
        Float in [0, 1]; NaN as for `pixel_accuracy`.

    Source: Chefer et al. 2021, Transformer Interpretability Beyond Attention Visualization.

    Example:
        >>> heatmap, mask = jnp.array([[1.0, 0.8, 0.6], [0.2, 0.1, 0.0]]), np.array([[255, 255, 0], [0, 0, 0]])
        >>> round(float(vitjax.metrics.mean_iou(heatmap, mask)), 3)  # (2/3 + 3/4) / 2
        0.708
    """
    pixels = counts(heatmap, mask, threshold=threshold)
    return (pixels.object_hit / pixels.object_union + pixels.background_left / pixels.background_union) / 2


@checks_options
def f1(heatmap: Heatmap, mask: Mask, *, threshold: Threshold = "mean", average: Average = "pixels") -> Scalar:
    """F1 = 2 TP / (2 TP + FP + FN) of the object in [H > t].

    Args:
        heatmap, mask, threshold: as for `pixel_accuracy`.
        average: "pixels" computes one F1 over the whole image. "rows" averages the F1 of each image row, 0 for a row
            with neither object nor hit, as the published code of Transformer-Explainability does (it takes the image's
            height for the batch axis).

    Returns:
        Float in [0, 1]; NaN as for `pixel_accuracy`.

    Source: van Rijsbergen 1979. Differs from reference: rows without a valid pixel are excluded.

    Example:
        >>> heatmap, mask = jnp.array([[1.0, 0.8, 0.6], [0.2, 0.1, 0.0]]), np.array([[255, 255, 0], [0, 0, 0]])
        >>> round(float(vitjax.metrics.f1(heatmap, mask, threshold=0.5)), 3)  # 4/5
        0.8
    """
    pixels = counts(heatmap, mask, threshold=threshold)
    if average == "pixels":
        return 2 * pixels.object_hit / (2 * pixels.object_hit + pixels.object_missed + pixels.background_hit)
    heatmap, mask = map_with_mask(heatmap, mask)
    hit, regions = above_threshold(heatmap, threshold), split_mask(mask)
    numerator = 2 * (regions.object & hit).sum(axis=1)
    denominator = numerator + (regions.valid & (regions.object ^ hit)).sum(axis=1)
    total = (numerator.astype(heatmap.dtype) / jnp.maximum(denominator, 1)).sum()
    return jnp.where(is_undefined(heatmap, mask), jnp.nan, total / regions.valid.any(axis=1).sum())


@checks_options
def jaccard(heatmap: Heatmap, mask: Mask, *, threshold: Threshold = "mean") -> Scalar:
    """Jaccard index TP / (TP + FP + FN) of the object in [H > t], another name for `iou`.

    Args: as for `iou`.

    Returns:
        Float in [0, 1]; NaN as for `iou`.

    Source: Jaccard 1901; usually reported together with F1, at t = 0.5.

    Example:
        >>> heatmap, mask = jnp.array([[1.0, 0.8, 0.6], [0.2, 0.1, 0.0]]), np.array([[255, 255, 0], [0, 0, 0]])
        >>> round(float(vitjax.metrics.jaccard(heatmap, mask, threshold=0.5)), 3)  # 2/3
        0.667
    """
    return iou(heatmap, mask, threshold=threshold)


def _counts_of(case: Case, threshold: Threshold, resolution: Resolution, mask_to_grid: ToGrid) -> Counts:
    heatmap, mask = map_and_mask(case, resolution, mask_to_grid)
    key = ("counts", threshold, resolution, mask_to_grid)
    return case.once(key, lambda: counts(heatmap, mask, threshold=threshold))


def _record_accuracy(
    case: Case, *, threshold: Threshold = "mean", resolution: Resolution = "pixels", mask_to_grid: ToGrid = "nearest"
) -> Columns:
    pixels = _counts_of(case, threshold, resolution, mask_to_grid)
    return {"value": pixels.correct / pixels.counted, "correct": pixels.correct, "counted": pixels.counted}


def _record_iou(
    case: Case, *, threshold: Threshold = "mean", resolution: Resolution = "pixels", mask_to_grid: ToGrid = "nearest"
) -> Columns:
    pixels = _counts_of(case, threshold, resolution, mask_to_grid)
    return {"value": pixels.object_hit / pixels.object_union}


def _record_mean_iou(
    case: Case, *, threshold: Threshold = "mean", resolution: Resolution = "pixels", mask_to_grid: ToGrid = "nearest"
) -> Columns:
    pixels = _counts_of(case, threshold, resolution, mask_to_grid)
    return {
        "object_intersection": pixels.object_hit,
        "object_union": pixels.object_union,
        "background_intersection": pixels.background_left,
        "background_union": pixels.background_union,
    }


def _record_f1(
    case: Case,
    *,
    threshold: Threshold = "mean",
    average: Average = "pixels",
    resolution: Resolution = "pixels",
    mask_to_grid: ToGrid = "nearest",
) -> Columns:
    heatmap, mask = map_and_mask(case, resolution, mask_to_grid)
    return {"value": f1(heatmap, mask, threshold=threshold, average=average)}


_OBJECT = ("object_intersection", "object_union")
_BACKGROUND = ("background_intersection", "background_union")
_CHEFER = "Chefer, Gur & Wolf 2021, Transformer Interpretability Beyond Attention Visualization"
_localisation: Callable[..., Metric] = partial(Metric, family="localisation", cost="0", needs=frozenset({"mask"}))
_mean_value = {"": Statistic(("value",), mean)}

PIXEL_ACCURACY = _localisation(
    title="Pixel accuracy",
    cite=_CHEFER,
    function=pixel_accuracy,
    record=_record_accuracy,
    figures=lambda options: {
        **_mean_value,
        "pooled": Statistic(("correct", "counted"), pooled_share, title="Pixel accuracy, pooled"),
    },
    use_when="results of Chefer et al. 2021 are to be compared with; large backgrounds dominate it",
)
IOU = _localisation(
    title="IoU of the object",
    cite="Everingham et al. 2010, The Pascal Visual Object Classes Challenge",
    function=iou,
    record=_record_iou,
    figures=lambda options: {"": Statistic(("value",), title="Object IoU")},
    use_when="the overlap of the thresholded map and the object is wanted as one number for each image",
)
MEAN_IOU = _localisation(
    title="Mean IoU",
    cite=_CHEFER,
    function=mean_iou,
    record=_record_mean_iou,
    figures=lambda options: {
        "": Statistic((*_OBJECT, *_BACKGROUND), pooled_mean_iou),
        "object": Statistic(_OBJECT, pooled_share, title="Object IoU, pooled"),
        "background": Statistic(_BACKGROUND, pooled_share, title="Background IoU, pooled"),
    },
    use_when="results of Chefer et al. 2021 are to be compared with: object and background count alike",
)
F1 = _localisation(
    title="F1",
    cite="van Rijsbergen 1979, Information Retrieval",
    function=f1,
    record=_record_f1,
    figures=lambda options: _mean_value,
    use_when="precision and recall of the thresholded map are to be balanced for each image",
)
JACCARD = _localisation(
    title="Jaccard index",
    cite="Jaccard 1901, Étude comparative de la distribution florale",
    function=jaccard,
    record=_record_iou,
    figures=lambda options: _mean_value,
    use_when="results that call IoU the Jaccard index are to be compared with",
)
