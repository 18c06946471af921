"""Which values exceed their mean, decided exactly.

A float32 mean is off by about one part in ten million, depending on the order of summation, and many pixels of a map
lie as close to it as that: figures of the threshold "mean" would depend on who computes them, and where. Here the sum
carries its own rounding error (Knuth's two-sum), and N·x > Σ is decided with products that are exact.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from vitjax.shapes import Array, Bool, Float

_BITS = 12
"""Factors are cut in halves of at most so many bits, so that their products fit float32's 24."""


def above_mean(values: Float[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """[x > mean], the mean of all values and the comparison exact to 2^-44 of the largest value or better.

    Args: values: float32 or float64, finite, fewer than 2^24 of them.

    Cost: about three passes over the values.
    """
    count = values.size
    total, error = _exact_sum(values.reshape(-1))
    low = count & ((1 << _BITS) - 1)
    head, tail = _halves(values)
    difference, rest = head * float(count - low), -error
    difference, rest = _added(difference, -total, rest)
    for part in (head * float(low), tail * float(count - low), tail * float(low)):
        difference, rest = _added(difference, part, rest)
    return difference + rest > 0


def _added(a: Array, b: Array, error: Array) -> tuple[Array, Array]:
    """a + b, rounded, and the error so far with that of this sum."""
    total = a + b
    of_b = total - a
    return total, error + ((a - (total - of_b)) + (b - of_b))


def _exact_sum(values: Float[Array, " n"]) -> tuple[Array, Array]:
    """(rounded sum, what it lacks), by halves."""
    size = 1 << max(0, (values.size - 1).bit_length())
    total = jnp.pad(values, (0, size - values.size))
    error = jnp.zeros_like(total)
    while total.size > 1:
        half = total.size // 2
        total, error = _added(total[:half], total[half:], error[:half] + error[half:])
    return total[0], error[0]


def _halves(values: Array) -> tuple[Array, Array]:
    """(leading bits, the rest), which add up to the value and have at most half of its bits each."""
    wide = values.dtype == jnp.float64
    whole = jnp.uint64 if wide else jnp.uint32
    cut = 27 if wide else _BITS
    bits = lax.bitcast_convert_type(values, whole) >> cut << cut
    head = lax.bitcast_convert_type(bits.astype(whole), values.dtype)
    return head, values - head
