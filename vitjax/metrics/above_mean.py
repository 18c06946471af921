"""Which values of a map exceed its mean, independently of how sums are rounded.

A float32 mean has a relative error of about 1e-7, which depends on the order of summation, and many pixels of a map lie
that close to the mean. Statistics with the threshold "mean" would then depend on the compiler and the device. Here the
sum carries its own rounding error (Knuth's two-sum), and N·x > Σ is decided with products that are exact.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from vitjax.shapes import Array, Bool, Float

_BITS = 12
"""Factors are split into parts of at most this many bits: a product of two parts fits float32's 24 bits exactly."""


def above_mean(values: Float[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """[x > mean], with the mean of all values and the comparison exact to 2^-44 of the largest value or better.

    Args:
        values: float32 or float64, finite, fewer than 2^24 of them.

    Returns:
        bool, in the shape of `values`.

    Cost: about three passes over the values.
    """
    count = values.size
    total, error = _exact_sum(values.reshape(-1))
    low = count & ((1 << _BITS) - 1)
    head, tail = _split(values)
    difference, rest = head * float(count - low), -error
    difference, rest = _two_sum(difference, -total, rest)
    for part in (head * float(low), tail * float(count - low), tail * float(low)):
        difference, rest = _two_sum(difference, part, rest)
    return difference + rest > 0


def _two_sum(a: Array, b: Array, error: Array) -> tuple[Array, Array]:
    """(a + b rounded, `error` plus the rounding error of this sum), Knuth's two-sum."""
    total = a + b
    of_b = total - a
    return total, error + ((a - (total - of_b)) + (b - of_b))


def _exact_sum(values: Float[Array, " n"]) -> tuple[Array, Array]:
    """(rounded sum, its rounding error), by adding the two halves of the array until one element is left."""
    size = 1 << max(0, (values.size - 1).bit_length())
    total = jnp.pad(values, (0, size - values.size))
    error = jnp.zeros_like(total)
    while total.size > 1:
        half = total.size // 2
        total, error = _two_sum(total[:half], total[half:], error[:half] + error[half:])
    return total[0], error[0]


def _split(values: Array) -> tuple[Array, Array]:
    """(leading bits, remaining bits) of each value: the two add up to the value, each has at most half of its bits."""
    is_float64 = values.dtype == jnp.float64
    integer = jnp.uint64 if is_float64 else jnp.uint32
    cut = 27 if is_float64 else _BITS
    bits = lax.bitcast_convert_type(values, integer) >> cut << cut
    head = lax.bitcast_convert_type(bits.astype(integer), values.dtype)
    return head, values - head
