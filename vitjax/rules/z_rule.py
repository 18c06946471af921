"""The z-rule and related rules, written as backward passes whose cotangents are relevance.

The z-rule distributes the relevance of a sum over its summands in proportion to their values. A rule is a function
(relevance of the result, result, *arguments of the operation) -> relevances of the leading arguments; `OpWithRule`
combines it with the ordinary forward computation to an entry of a table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vitjax.nn.ops import OpWithRule
from vitjax.shapes import Array

STABILISER = 1e-9
"""Added to denominators, as in the published code."""


def identity(forward: Callable[..., Array]) -> Callable[..., Array]:
    """Operation `forward` whose relevance passes unchanged to its first argument."""
    return OpWithRule(forward, lambda relevance, result, x, *rest: (relevance,))


def divide(a: Array, b: Array) -> Array:
    """a / (b + 1e-9), and 0 where b or b + 1e-9 is 0.

    The stabiliser is added for either sign of b, as in the published code.
    """
    shifted = b + jnp.asarray(STABILISER, b.dtype)
    return jnp.where((b == 0) | (shifted == 0), 0, a / jnp.where(shifted == 0, 1, shifted))


def split_sum(relevance: Array, total: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Rule of total = a + b: each summand receives relevance in proportion to its value."""
    share = divide(relevance, total)
    return a * share, b * share


def join_copies(relevances: tuple[Array, ...], copies: Any, x: Array) -> tuple[Array]:
    """Rule of a value x with several copies: x Σ_i R_i / x, the sum of the copies' relevances, and 0 where x is 0."""
    return (x * sum(divide(relevance, x) for relevance in relevances),)


def split_product(relevance: Array, product: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Rule of a matrix product a b [h, n, m] of two activations: the z-rule for each factor, halved."""
    share = divide(relevance, product) / 2
    return a * (share @ b.mT), b * (a.mT @ share)


def split_scores(relevance: Array, scores: Array, scaled: Array, k: Array, factor: float) -> tuple[Array, Array]:
    """Rule of scores = scaled kᵀ with scaled = factor · q: `split_product` of the unscaled product q kᵀ."""
    q_relevance, k_relevance = split_product(relevance, scores / factor, scaled / factor, k.mT)
    return q_relevance, k_relevance.mT


def split_linear(
    forward: Callable[..., Array],
) -> Callable[[Array, Array, Array], tuple[Array]]:
    """Rule of a map that is linear in its first argument with constant coefficients: R_x = x Jᵀ(R / Jx), the z-rule."""

    def rule(relevance: Array, result: Array, x: Array, *constants: Array) -> tuple[Array]:
        (share,) = jax.vjp(lambda x: forward(x, *constants), x)[1](divide(relevance, result))
        return (x * share,)

    return rule


def pool(relevance: Array, pooled: Array, tokens: Array, weights: Array) -> tuple[Array]:
    """Rule of pooled = Σ_n weights_n tokens_n: each token receives relevance in proportion to its summand."""
    return (tokens * weights[:, None] * divide(relevance, pooled),)


def box(relevance: Array, result: Array, pixels: Array, kernel: Array, bias: Array | None) -> tuple[Array]:
    """z^B rule of the first layer (Montavon et al. 2017), with the image's minimum and maximum as bounds of its pixels.

    The denominator leaves out the bias.
    """
    low, high = pixels.min(), pixels.max()
    positive, negative = jnp.maximum(kernel, 0), jnp.minimum(kernel, 0)
    total = pixels @ kernel - low * positive.sum(axis=0) - high * negative.sum(axis=0)
    share = relevance / (total + jnp.asarray(STABILISER, total.dtype))
    return (pixels * (share @ kernel.T) - low * (share @ positive.T) - high * (share @ negative.T),)
