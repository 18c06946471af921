"""Average precision of a map whose values score every pixel, equal to scikit-learn's."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax import lax

from vitjax.metrics.checks import checks_options, map_with_mask
from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.metrics.masks import Resolution, ToGrid, is_undefined, map_and_mask, split_mask
from vitjax.metrics.sorting import descending_with
from vitjax.shapes import Array, Bool, Float, Scalar

Kind = Literal["mean_of_two", "foreground"]


@checks_options
def average_precision(heatmap: Float[Array, "height width"], mask: Array, *, kind: Kind = "mean_of_two") -> Scalar:
    """AP = Σ_n (R_n - R_(n-1)) P_n over the distinct scores in descending order.

    P_n and R_n are precision and recall of the pixels that score at least the n-th distinct score, so pixels of equal
    score are added together, as in scikit-learn's `average_precision_score`.

    Args:
        heatmap: map H at the size of the mask, [0, 1].
        mask: [H, W] bool, or integers: 0 (background), 128 (ignored), 255 (object).
        kind: "foreground" scores the object by H; "mean_of_two" concatenates the pairs (1 - H, is background) and
            (H, is object) of all pixels into one list, which Transformer-Explainability calls mAP.

    Returns:
        Float in [0, 1]; NaN if the map is constant or not finite, or if the mask has no object or no background.

    Source: Chefer et al. 2021; Salton & McGill 1983. Differs from reference: nothing; in float32 the sum is within
    2e-7 of scikit-learn's float64 sum.

    Cost: one sort of the pixels ("foreground") or of twice as many values ("mean_of_two").

    Example:
        >>> heatmap, mask = jnp.array([[1.0, 0.6], [0.4, 0.0]]), np.array([[255, 0], [255, 0]])
        >>> round(float(vitjax.metrics.average_precision(heatmap, mask, kind="foreground")), 3)  # (1 + 2/3) / 2
        0.833
    """
    heatmap, mask = map_with_mask(heatmap, mask)
    regions = split_mask(mask)
    scores, positive, valid = heatmap.reshape(-1), regions.object.reshape(-1), regions.valid.reshape(-1)
    if kind == "mean_of_two":
        scores = jnp.concatenate([1 - scores, scores])
        positive = jnp.concatenate([regions.background.reshape(-1), positive])
        valid = jnp.concatenate([valid, valid])
    return jnp.where(is_undefined(heatmap, mask), jnp.nan, _area(scores, positive, valid))


def _area(scores: Float[Array, " n"], positive: Bool[Array, " n"], valid: Bool[Array, " n"]) -> Scalar:
    """Area under the precision-recall steps; kinds: 0 negative, 1 positive, 2 and 3 ignored."""
    descending, kinds = descending_with(scores, positive.astype(jnp.int32) + 2 * ~valid)
    hits, seen = jnp.cumsum(kinds == 1), jnp.cumsum(kinds < 2)
    last_of_score = jnp.append(descending[1:] != descending[:-1], True)
    until_here = lax.cummax(jnp.where(last_of_score, hits, 0))
    new_hits = jnp.where(last_of_score, hits - jnp.append(0, until_here[:-1]), 0)
    precision = hits.astype(scores.dtype) / jnp.maximum(seen, 1)
    return jnp.sum(new_hits * precision) / hits[-1]


def _record(
    case: Case, *, kind: Kind = "mean_of_two", resolution: Resolution = "pixels", mask_to_grid: ToGrid = "nearest"
) -> Columns:
    return {"value": average_precision(*map_and_mask(case, resolution, mask_to_grid), kind=kind)}


AVERAGE_PRECISION = Metric(
    title="Average precision",
    cite="Chefer, Gur & Wolf 2021, Transformer Interpretability Beyond Attention Visualization",
    family="localisation",
    cost="0",
    function=average_precision,
    record=_record,
    figures=lambda options: {"": Statistic(("value",))},
    needs=frozenset({"mask"}),
    use_when="the order of pixels matters, without a threshold",
)
