"""LRP_ORIGINAL: the rules of the "original LRP" that Transformer-Explainability compares with.

As ZPLUS, but a linear layer hands out R once over its positive-input and once over its negative-input products, each
by a denominator of its own, and sums are split in proportion without rescaling.
Promise: none. Every linear layer with inputs of both signs doubles the relevance, so values grow by powers of two
with depth; compare maps by rank, not by size.
"""

from __future__ import annotations

import jax.numpy as jnp

from vitjax.nn.ops import GRADIENT, OpWithRule
from vitjax.rules.z_rule import divide, split_sum
from vitjax.rules.zplus import ZPLUS
from vitjax.shapes import Array


def _linear(relevance: Array, result: Array, x: Array, kernel: Array, bias: Array | None) -> tuple[Array]:
    """x⁺(R / x⁺W⁺)W⁺ᵀ + x⁻(R / x⁻W⁻)W⁻ᵀ"""
    total: Array | float = 0.0
    for part, weight in ((jnp.maximum(x, 0), jnp.maximum(kernel, 0)), (jnp.minimum(x, 0), jnp.minimum(kernel, 0))):
        total = total + part * (divide(relevance, part @ weight) @ weight.T)
    return (jnp.asarray(total),)


LRP_ORIGINAL = ZPLUS._replace(
    linear=OpWithRule(GRADIENT.linear, _linear),
    add=OpWithRule(GRADIENT.add, split_sum),
)
