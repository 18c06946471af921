"""Sorting floats by their bit patterns: XLA's CPU backend sorts integers six times faster than floats."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from vitjax.shapes import Array, Float, Int


def ascending(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """The elements in ascending order, as `jnp.sort` returns them; -0 comes before 0.

    Args:
        x: float32 or float64, no NaN.

    Example:
        >>> vitjax.metrics.sorting.ascending(jnp.array([0.5, -1.0, 0.0])).tolist()
        [-1.0, 0.0, 0.5]
    """
    integer = jnp.int32 if x.dtype == jnp.float32 else jnp.int64
    ordered = jnp.sort(_order_preserving(lax.bitcast_convert_type(x, integer)))
    return lax.bitcast_convert_type(_order_preserving(ordered), x.dtype)


def descending_with(x: Float[Array, " n"], kinds: Int[Array, " n"]) -> tuple[Array, Int[Array, " n"]]:
    """`kinds` in the order of descending x.

    Args:
        x: values in [0, 1].
        kinds: an integer 0, 1, 2 or 3 for each value.

    Returns:
        (keys, kinds), both sorted. Two neighbouring keys are equal if and only if their values of x are equal; the
        keys themselves are not the values of x.

    Example:
        >>> keys, kinds = vitjax.metrics.sorting.descending_with(jnp.array([0.1, 0.9, 0.5]), jnp.array([2, 0, 1]))
        >>> kinds.tolist()
        [0, 1, 2]
    """
    if x.dtype != jnp.float32:
        keys, kinds = lax.sort((-x, kinds), num_keys=1)
        return keys, kinds
    # A non-negative float32 below 2 uses 30 of its 32 bits, so two are free for the kind. Adding 0 turns -0 into 0.
    bits = lax.bitcast_convert_type(x + 0.0, jnp.uint32)
    packed = jnp.sort(bits << 2 | kinds.astype(jnp.uint32))[::-1]
    return packed >> 2, (packed & 3).astype(jnp.int32)


def _order_preserving(bits: Array) -> Array:
    """Maps the bits of floats to integers that sort in the same order; its own inverse.

    The bits of a negative float increase as the float decreases, so they are flipped, except for the sign.
    """
    return bits ^ (bits >> (bits.dtype.itemsize * 8 - 1) & jnp.iinfo(bits.dtype).max)
