"""The z-rule and its relatives, as backward passes whose cotangent is relevance.

Relevance R of a sum is handed to its summands in proportion to what each contributed. `OpWithRule` makes an operation
of a table from its ordinary forward and such a rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from vitjax.nn.ops import OpWithRule
from vitjax.shapes import Array

STABILISER = 1e-9


def identity(forward: Callable[..., Array]) -> Callable[..., Array]:
    """Relevance passes unchanged to the first argument."""
    return OpWithRule(forward, lambda relevance, result, x, *rest: (relevance,))


def divide(a: Array, b: Array) -> Array:
    """a / (b + 1e-9), and 0 where b is 0: the stabiliser is added whatever the sign of b, as published."""
    shifted = b + jnp.asarray(STABILISER, b.dtype)
    return jnp.where((b == 0) | (shifted == 0), 0, a / jnp.where(shifted == 0, 1, shifted))


def split_sum(relevance: Array, total: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Of a + b: each summand in proportion to its value."""
    share = divide(relevance, total)
    return a * share, b * share


def join_copies(relevances: tuple[Array, ...], copies: Any, x: Array) -> tuple[Array]:
    """Of a value used several times: x Σ R_i / x, the sum of what its copies got, and 0 where x is 0."""
    return (x * sum(divide(each, x) for each in relevances),)


def split_product(relevance: Array, product: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Of a matrix product [h, n, m] whose factors both depend on the input: the z-rule to each, halved."""
    share = divide(relevance, product) / 2
    return a * (share @ b.mT), b * (a.mT @ share)


def split_scores(relevance: Array, scores: Array, scaled: Array, k: Array, factor: float) -> tuple[Array, Array]:
    """Of q k^T times a constant, where `scaled` is q times the constant: as of the product q k^T itself."""
    to_q, to_k = split_product(relevance, scores / factor, scaled / factor, k.mT)
    return to_q, to_k.mT


def pool(relevance: Array, pooled: Array, tokens: Array, weights: Array) -> tuple[Array]:
    """Of a weighted sum of tokens: each token in proportion to its summand."""
    return (tokens * weights[:, None] * divide(relevance, pooled),)


def box(relevance: Array, result: Array, pixels: Array, kernel: Array, bias: Array | None) -> tuple[Array]:
    """z^B-rule of the first layer (Montavon et al. 2017): inputs live between the image's least and largest value."""
    low, high = pixels.min(), pixels.max()
    positive, negative = jnp.maximum(kernel, 0), jnp.minimum(kernel, 0)
    total = pixels @ kernel - low * positive.sum(axis=0) - high * negative.sum(axis=0)
    share = relevance / (total + jnp.asarray(STABILISER, total.dtype))
    return (pixels * (share @ kernel.T) - low * (share @ positive.T) - high * (share @ negative.T),)
