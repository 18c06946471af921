"""Relevance rules of the layers of convolutional stems, for the tables ZPLUS and LRP_ORIGINAL.

A convolution is a linear layer, so its rules are those of linear layers; the positions that padding adds have no
relevance. Max pooling gives all relevance to the largest value of the window ("winner takes all"), which is its
gradient. Average pooling has the z-rule. GroupNorm passes relevance unchanged, as LayerNorm does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vitjax.nn.ops import GRADIENT, OpWithRule, Padding
from vitjax.rules.z_rule import STABILISER, divide, identity, split_linear
from vitjax.shapes import Array

Product = Callable[[Array, Array], Array]
"""(x, kernel) -> convolution without bias."""
ConvRule = Callable[[Product, Array, Array, Array], Array]
"""(the convolution, relevance of the result, x, kernel) -> relevance of x."""


def with_rule(rule: ConvRule) -> Callable[..., Array]:
    """An entry `conv` or `pixel_conv` of a table, whose backward pass is `rule`. Biases receive no relevance."""

    def entry(x: Array, kernel: Array, bias: Array | None, stride: int, padding: Padding) -> Array:
        def product(x: Array, kernel: Array) -> Array:
            return GRADIENT.conv(x, kernel, None, stride, padding)

        def forward(x: Array, kernel: Array, bias: Array | None) -> Array:
            return GRADIENT.conv(x, kernel, bias, stride, padding)

        def backward(relevance: Array, result: Array, x: Array, kernel: Array, bias: Any) -> tuple[Array]:
            return (rule(product, relevance, x, kernel),)

        return OpWithRule(forward, backward)(x, kernel, bias)

    return entry


def positive(product: Product, relevance: Array, x: Array, kernel: Array) -> Array:
    """The rule of ZPLUS: the z-rule over the positive products of an input and a weight, with one denominator."""
    abs_x, abs_kernel = jnp.abs(x), jnp.abs(kernel)
    signed, back = _transposed(product, x, kernel)
    unsigned, back_unsigned = _transposed(product, abs_x, abs_kernel)
    share = divide(relevance, (signed + unsigned) / 2)
    return (x * back(share) + abs_x * back_unsigned(share)) / 2


def both_signs(product: Product, relevance: Array, x: Array, kernel: Array) -> Array:
    """The rule of LRP_ORIGINAL: R once over products of positive inputs, once over those of negative inputs."""
    total: Array | float = 0.0
    for part, weight in ((jnp.maximum(x, 0), jnp.maximum(kernel, 0)), (jnp.minimum(x, 0), jnp.minimum(kernel, 0))):
        result, back = _transposed(product, part, weight)
        total = total + part * back(divide(relevance, result))
    return jnp.asarray(total)


def box(product: Product, relevance: Array, pixels: Array, kernel: Array) -> Array:
    """The z^B rule of a first layer: `z_rule.box` for a convolution. Padding has no bounds: it adds nothing."""
    low, high = jnp.full_like(pixels, pixels.min()), jnp.full_like(pixels, pixels.max())
    parts = [(pixels, kernel, 1), (low, jnp.maximum(kernel, 0), -1), (high, jnp.minimum(kernel, 0), -1)]
    results = [(x, sign, *_transposed(product, x, weight)) for x, weight, sign in parts]
    total = jnp.stack([sign * result for _, sign, result, _ in results]).sum(0)
    share = relevance / (total + jnp.asarray(STABILISER, total.dtype))
    return jnp.stack([sign * x * back(share) for x, sign, _, back in results]).sum(0)


def _transposed(product: Product, x: Array, kernel: Array) -> tuple[Array, Callable[[Array], Array]]:
    """The convolution of x, and its transpose."""
    result, vjp = jax.vjp(lambda x: product(x, kernel), x)
    return result, lambda share: vjp(share)[0]


def groupnorm(x: Array, scale: Array, bias: Array, groups: int, eps: float) -> Array:
    """GroupNorm whose relevance passes unchanged."""
    return identity(lambda x, scale, bias: GRADIENT.groupnorm(x, scale, bias, groups, eps))(x, scale, bias)


avg_pool = OpWithRule(GRADIENT.avg_pool, split_linear(GRADIENT.avg_pool))
