"""Average precision of the map as a score of every pixel, exactly scikit-learn's."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jax import lax

from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.metrics.masks import Resolution, ToGrid, compared, marked, undefined
from vitjax.metrics.sorting import descending_with
from vitjax.shapes import Array, Bool, Float, Scalar

Kind = Literal["mean_of_two", "foreground"]


def average_precision(heatmap: Float[Array, "height width"], mask: Array, *, kind: Kind = "mean_of_two") -> Scalar:
    """AP = Σ_n (R_n - R_(n-1)) P_n over the distinct scores from the highest down.

    P_n and R_n are precision and recall of what scores at least the n-th distinct score, so equal scores stand
    together, as in scikit-learn's `average_precision_score`.

    Args:
        heat: map H at the size of the mask, [0, 1].
        mask: [H, W] bool, or 0 / 128 (carries no weight) / 255.
        kind: "foreground" scores the object by H; "mean_of_two" takes the pairs (1 - H, is background) and
            (H, is object) of all pixels as one list, which Transformer-Explainability calls mAP.

    Returns a float in [0, 1]; NaN where the map is constant, not finite or outside [0, 1], or the mask all object or
    all background.

    Source: Chefer et al. 2021; Salton & McGill 1983. Differs from reference: nothing. In float32 the sum is within
    2e-7 of scikit-learn's float64 one.

    Cost: one sort of the pixels, or of twice as many.

    Example: `average_precision(explanation.pixels()[0], mask, kind="foreground")`
    """
    each = marked(mask)
    scores, positive, counts = heatmap.reshape(-1), each.object.reshape(-1), each.counts.reshape(-1)
    if kind == "mean_of_two":
        scores = jnp.concatenate([1 - scores, scores])
        positive = jnp.concatenate([each.background.reshape(-1), positive])
        counts = jnp.concatenate([counts, counts])
    bad = undefined(heatmap, mask) | (heatmap.min() < 0) | (heatmap.max() > 1)
    return jnp.where(bad, jnp.nan, _area(scores, positive, counts))


def _area(scores: Float[Array, " n"], positive: Bool[Array, " n"], counts: Bool[Array, " n"]) -> Scalar:
    descending, kinds = descending_with(scores, positive.astype(jnp.int32) + 2 * ~counts)
    hits, seen = jnp.cumsum(kinds == 1), jnp.cumsum(kinds < 2)
    last_of_score = jnp.append(descending[1:] != descending[:-1], True)
    until_here = lax.cummax(jnp.where(last_of_score, hits, 0))
    new_hits = jnp.where(last_of_score, hits - jnp.append(0, until_here[:-1]), 0)
    precision = hits.astype(scores.dtype) / jnp.maximum(seen, 1)
    return jnp.sum(new_hits * precision) / hits[-1]


def _record(
    case: Case, *, kind: Kind = "mean_of_two", resolution: Resolution = "pixels", mask_to_grid: ToGrid = "nearest"
) -> Columns:
    return {"value": average_precision(*compared(case, resolution, mask_to_grid), kind=kind)}


AVERAGE_PRECISION = Metric(
    title="Average precision",
    cite="Chefer, Gur & Wolf 2021, Transformer Interpretability Beyond Attention Visualization",
    family="localisation",
    cost="0",
    function=average_precision,
    record=_record,
    figures=lambda options: {"": Statistic(("value",))},
    needs=frozenset({"mask"}),
)
