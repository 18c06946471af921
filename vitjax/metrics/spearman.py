"""Spearman's rank correlation of two maps."""

from __future__ import annotations

import jax.numpy as jnp

from vitjax.maps import is_degenerate
from vitjax.metrics.checks import checks_options, floats, same_shape
from vitjax.metrics.sorting import ascending
from vitjax.shapes import Array, Float, Scalar


def average_ranks(x: Array) -> Float[Array, " n"]:
    """Ranks 1 ... n of the elements; equal elements get the mean of their ranks. Exact in float32 up to n = 2^23."""
    x = x.reshape(-1)
    ordered = ascending(x)
    below = jnp.searchsorted(ordered, x, side="left")
    not_above = jnp.searchsorted(ordered, x, side="right")
    return (below + not_above + 1).astype(x.dtype) / 2


@checks_options
def spearman(a: Array, b: Array) -> Scalar:
    """Pearson's correlation of the average ranks, as `scipy.stats.spearmanr` computes it.

    Args:
        a, b: two maps of equal shape, any range.

    Returns:
        Float in [-1, 1]; NaN if one of the maps is constant or not finite.

    Raises:
        ConfigError: the maps differ in shape, or hold no floats.

    Example:
        >>> first, second = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[0.1, 5.0], [0.2, 9.0]])
        >>> round(float(vitjax.metrics.spearman(first, second)), 3)  # ranks 1 2 3 4 and 1 3 2 4
        0.8
    """
    a, b = floats(a, "a"), floats(b, "b")
    same_shape(a, b, "a and b")
    n = a.size
    u, v = ((average_ranks(x) - (n + 1) / 2) / n for x in (a, b))
    correlation = jnp.sum(u * v) / jnp.sqrt(jnp.sum(u * u) * jnp.sum(v * v))
    return jnp.where(is_degenerate(a) | is_degenerate(b), jnp.nan, correlation)
