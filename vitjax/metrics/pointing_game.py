"""Pointing games: whether the peak of the map, and how much of its mass, lies on the object."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import jax.numpy as jnp

from vitjax.maps import upsample
from vitjax.methods.options import Fraction, Range
from vitjax.metrics.checks import checks_options, map_with_mask
from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.metrics.masks import is_undefined, split_mask
from vitjax.shapes import Array, Float, Scalar

Distance = Annotated[int, Range(0, 10_000)]
"""In pixels; its square fits an int32."""
Part = Literal["whole", "positive"]


@checks_options
def pointing_game(heatmap: Float[Array, "height width"], mask: Array, *, tolerance: Distance = 0) -> Scalar:
    """1 if the peak of the map lies on the object, else 0.

    Args:
        heatmap: map at pixel size, [0, 1]. The peak is the largest value at a pixel that is not ignored, the first in
            row-major order among ties.
        mask: [H, W] bool, or integers: 0 (background), 128 (ignored), 255 (object).
        tolerance: largest Euclidean distance in pixels between the peak and the object that still counts as a hit; 15
            in the original protocol.

    Returns:
        Float, 0 or 1; NaN if the map is constant or not finite, or if the mask has no object or no background.

    Source: Zhang et al. 2016. Differs from reference: the original scores one peak for each class in an image and
    averages the accuracies of classes over the data set; here every image counts once.

    Example:
        >>> heatmap, mask = jnp.array([[1.0, 0.6], [0.4, 0.0]]), np.array([[255, 0], [0, 0]])
        >>> float(vitjax.metrics.pointing_game(heatmap, mask))
        1.0
    """
    heatmap, mask = map_with_mask(heatmap, mask)
    regions = split_mask(mask)
    height, width = heatmap.shape
    peak = jnp.argmax(jnp.where(regions.valid, heatmap, -jnp.inf))
    row, column = peak // width, peak % width
    squared_distance = jnp.square(jnp.arange(height) - row)[:, None] + jnp.square(jnp.arange(width) - column)[None]
    hit = (regions.object & (squared_distance <= tolerance**2)).any()
    return jnp.where(is_undefined(heatmap, mask), jnp.nan, hit.astype(heatmap.dtype))


class Energy(NamedTuple):
    """Precision, recall and F1 of the map's mass; see `energy_scores`."""

    precision: Array
    recall: Array
    f1: Array


@checks_options
def energy_pointing_game(
    heatmap: Float[Array, "height width"], mask: Array, *, part: Part = "whole", binarise: Fraction | None = None
) -> Float[Array, ""]:
    """Share of the map's mass that lies on the object: Σ H·M / Σ H, over the pixels that are not ignored.

    Args:
        heatmap: map H at pixel size, [0, 1]; for part="positive" the raw map at pixel size, any range.
        mask: M, [H, W] bool, or integers: 0 (background), 128 (ignored), 255 (object).
        part: "whole" takes the min-max scaled map, as for every other metric. The scaling lifts the zero of a signed
            map, so that its figure tends to the object's share of the area. "positive" takes max(raw, 0) instead: the
            share of the positive relevance. Both agree on maps whose lowest value is 0.
        binarise: replace H by [H > binarise · max H], as the code of Transition Attention Maps does with 0.3.

    Returns:
        Float in [0, 1]; an uninformative map scores the object's share of the area on average. NaN if the map, or its
        positive part, is constant or not finite, or if the mask has no object or no background.

    Source: Wang et al. 2020, Score-CAM. Differs from reference: accepts any mask, not only bounding boxes.

    Example:
        >>> heatmap, mask = jnp.array([[1.0, 0.6], [0.4, 0.0]]), np.array([[255, 0], [0, 0]])
        >>> float(vitjax.metrics.energy_pointing_game(heatmap, mask))
        0.5
    """
    return energy_scores(heatmap, mask, part=part, binarise=binarise).precision


@checks_options
def energy_scores(
    heatmap: Float[Array, "height width"], mask: Array, *, part: Part = "whole", binarise: Fraction | None = None
) -> Energy:
    """Precision P = Σ H·M / Σ H, recall R = Σ H·M / Σ M and F1 = 2PR / (P + R + 1e-6).

    Args: as for `energy_pointing_game`.

    Returns:
        Three floats in [0, 1]; NaN as for `energy_pointing_game`.

    Source: the evaluation code of Transition Attention Maps (Yuan et al. 2021).

    Example:
        >>> heatmap, mask = jnp.array([[1.0, 0.6], [0.4, 0.0]]), np.array([[255, 0], [0, 0]])
        >>> scores = vitjax.metrics.energy_scores(heatmap, mask, binarise=0.5)
        >>> float(scores.precision), float(scores.recall), round(float(scores.f1), 3)
        (0.5, 1.0, 0.667)
    """
    heatmap, mask = map_with_mask(heatmap, mask, unit=part == "whole")
    if part == "positive":
        heatmap = jnp.maximum(heatmap, 0)
        heatmap = heatmap / jnp.where(heatmap.max() > 0, heatmap.max(), 1)
    regions = split_mask(mask)
    undefined = is_undefined(heatmap, mask)
    if binarise is not None:
        heatmap = (heatmap > binarise * jnp.where(regions.valid, heatmap, -jnp.inf).max()).astype(heatmap.dtype)
    inside, mass = jnp.sum(heatmap * regions.object), jnp.sum(heatmap * regions.valid)
    precision, recall = inside / mass, inside / regions.object.sum()
    f1 = 2 * precision * recall / (precision + recall + 1e-6)
    return Energy(*(jnp.where(undefined, jnp.nan, value) for value in (precision, recall, f1)))


def _record_peak(case: Case, *, tolerance: Distance = 0) -> Columns:
    return {"value": pointing_game(case.heatmap, case.mask, tolerance=tolerance)}


def _record_energy(case: Case, *, part: Part = "whole", binarise: Fraction | None = None) -> Columns:
    size = case.mask.shape[0], case.mask.shape[1]
    heatmap = case.heatmap if part == "whole" else upsample(case.raw, size, case.covered)
    scores = energy_scores(heatmap, case.mask, part=part, binarise=binarise)
    return {"value": scores.precision, "recall": scores.recall, "f1": scores.f1}


POINTING_GAME = Metric(
    title="Pointing game",
    cite="Zhang et al. 2016, Top-down Neural Attention by Excitation Backprop",
    family="localisation",
    cost="0",
    function=pointing_game,
    record=_record_peak,
    figures=lambda options: {"": Statistic(("value",))},
    needs=frozenset({"mask"}),
    use_when="only the maximum matters: whether the map points at the object at all",
)
ENERGY_POINTING_GAME = Metric(
    title="Energy-based pointing game",
    cite="Wang et al. 2020, Score-CAM",
    family="localisation",
    cost="0",
    function=energy_pointing_game,
    record=_record_energy,
    figures=lambda options: {
        "": Statistic(("value",), title="Energy pointing game"),
        "recall": Statistic(("recall",), title="Energy recall"),
        "f1": Statistic(("f1",), title="Energy F1"),
    },
    needs=frozenset({"mask"}),
    use_when="the share of relevance on the object is wanted, without a threshold",
)
