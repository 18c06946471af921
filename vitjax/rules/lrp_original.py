"""LRP_ORIGINAL: the rules of the "original LRP" baseline in Transformer-Explainability.

The rules are those of ZPLUS with two differences. A linear layer or convolution distributes its relevance R twice, once
over the products with positive inputs and once over those with negative inputs, each with its own denominator. A sum
distributes relevance in proportion to its summands, without rescaling.

Conservation: none. Every linear layer with inputs of both signs doubles the relevance, so values grow by powers of two
with depth; compare maps by rank, not by value.
"""

from __future__ import annotations

import jax.numpy as jnp

from vitjax.nn.ops import GRADIENT, OpWithRule
from vitjax.rules import convolution
from vitjax.rules.z_rule import divide, split_sum
from vitjax.rules.zplus import ZPLUS
from vitjax.shapes import Array


def _linear(relevance: Array, result: Array, x: Array, kernel: Array, bias: Array | None) -> tuple[Array]:
    """Relevance of the input: x⁺ ∘ (R / x⁺W⁺)W⁺ᵀ + x⁻ ∘ (R / x⁻W⁻)W⁻ᵀ."""
    total: Array | float = 0.0
    for part, weight in ((jnp.maximum(x, 0), jnp.maximum(kernel, 0)), (jnp.minimum(x, 0), jnp.minimum(kernel, 0))):
        total = total + part * (divide(relevance, part @ weight) @ weight.T)
    return (jnp.asarray(total),)


LRP_ORIGINAL = ZPLUS._replace(
    linear=OpWithRule(GRADIENT.linear, _linear),
    add=OpWithRule(GRADIENT.add, split_sum),
    conv=convolution.with_rule(convolution.both_signs),
)
