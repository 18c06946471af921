"""Complexity: over how many pixels the map is spread."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vitjax.maps import is_degenerate
from vitjax.metrics.checks import checks_options, one_map
from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.metrics.masks import Resolution, map_and_mask
from vitjax.metrics.sorting import ascending
from vitjax.shapes import Array, Float


class Complexity(NamedTuple):
    """Entropy in nats and Gini index of the relevance of n pixels.

    entropy: 0 (all relevance on one pixel) to log n (all pixels equal).
    gini: 0 (all pixels equal) to 1 - 1/n (all relevance on one pixel).
    """

    entropy: Array
    gini: Array


@checks_options
def complexity(heatmap: Float[Array, "height width"]) -> Complexity:
    """Entropy -Σ p_i log p_i of p = H / Σ H, and Gini index Σ (2i - n - 1) H_(i) / (n Σ H), H_(i) ascending.

    Args:
        heatmap: map H, [0, 1]. Both numbers depend on its size: compare only maps of one size.

    Returns:
        Two floats; NaN if the map is constant or not finite. Neither direction is better by itself.

    Source: Bhatt et al. 2020 (entropy), Chalasani et al. 2020 (Gini). Differs from reference: computed from the
    min-max scaled map, not from |relevance|.

    Cost: one sort of the pixels.

    Example:
        >>> two_of_four = vitjax.metrics.complexity(jnp.array([[1.0, 1.0], [0.0, 0.0]]))
        >>> round(float(two_of_four.entropy), 3), float(two_of_four.gini)  # log 2, 1 - 2/4
        (0.693, 0.5)
    """
    heatmap = one_map(heatmap)
    mass = jnp.sum(heatmap)
    share = heatmap / mass
    coefficients = 2 * jnp.arange(1, heatmap.size + 1, dtype=heatmap.dtype) - heatmap.size - 1
    entropy = -jnp.sum(jax.scipy.special.xlogy(share, share))
    gini = jnp.sum(coefficients / heatmap.size * ascending(share.reshape(-1)))
    return Complexity(*(jnp.where(is_degenerate(heatmap), jnp.nan, value) for value in (entropy, gini)))


def _record(case: Case, *, resolution: Resolution = "pixels") -> Columns:
    return complexity(map_and_mask(case, resolution, "nearest")[0])._asdict()


COMPLEXITY = Metric(
    title="Complexity (entropy, Gini)",
    cite="Bhatt et al. 2020, Evaluating and Aggregating Feature-based Model Explanations",
    family="complexity",
    cost="0",
    function=complexity,
    record=_record,
    figures=lambda options: {
        "entropy": Statistic(("entropy",), better=None, percent=False, unit="nats", title="Entropy"),
        "gini": Statistic(("gini",), better=None, percent=False, title="Gini index"),
    },
    use_when="maps that spread out are to be told from maps on few pixels; neither is better by itself",
)
