"""Complexity: on how many places the map spreads."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vitjax.maps import is_degenerate
from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.metrics.masks import Resolution, compared
from vitjax.metrics.sorting import ascending
from vitjax.shapes import Array, Float


class Complexity(NamedTuple):
    """Entropy in nats, 0 (one place) to log n (all alike); Gini index, 0 (all alike) to 1 - 1/n (one place)."""

    entropy: Array
    gini: Array


def complexity(heatmap: Float[Array, "height width"]) -> Complexity:
    """Entropy -Σ p_i log p_i of p = H / Σ H, and Gini index Σ (2i - n - 1) H_(i) / (n Σ H), H_(i) ascending.

    Args:
        heat: map H, [0, 1]. Both depend on its size: compare maps of one size alone.

    Returns two floats; NaN where the map is constant or not finite. Neither direction is better by itself.

    Source: Bhatt et al. 2020 (entropy), Chalasani et al. 2020 (Gini). Differs from reference: of the min-max scaled
    map, not of |relevance|.

    Cost: one sort of the pixels.

    Example: `complexity(explanation.pixels()[0]).gini`
    """
    mass = jnp.sum(heatmap)
    share = heatmap / mass
    place = 2 * jnp.arange(1, heatmap.size + 1, dtype=heatmap.dtype) - heatmap.size - 1
    entropy = -jnp.sum(jax.scipy.special.xlogy(share, share))
    gini = jnp.sum(place / heatmap.size * ascending(share.reshape(-1)))
    return Complexity(*(jnp.where(is_degenerate(heatmap), jnp.nan, each) for each in (entropy, gini)))


def _record(case: Case, *, resolution: Resolution = "pixels") -> Columns:
    return complexity(compared(case, resolution, "nearest")[0])._asdict()


COMPLEXITY = Metric(
    title="Complexity (entropy, Gini)",
    cite="Bhatt et al. 2020, Evaluating and Aggregating Feature-based Model Explanations",
    family="complexity",
    cost="0",
    function=complexity,
    record=_record,
    figures=lambda options: {name: Statistic((name,), better=None, percent=False) for name in Complexity._fields},
)
