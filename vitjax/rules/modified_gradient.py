"""Operations whose gradient, times their input, is relevance: parts of them are held constant."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from vitjax.nn.ops import GRADIENT
from vitjax.shapes import Array


def layernorm(x: Array, scale: Array, bias: Array, eps: float) -> Array:
    """1/std is a constant, the mean is not."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - wide.mean(-1, keepdims=True)
    inverse = lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + eps)
    return (centred * lax.stop_gradient(inverse)).astype(x.dtype) * scale + bias


def activation(x: Array, kind: str) -> Array:
    """x · (f(x)/x), the ratio a constant: relevance passes unchanged. All three kinds are x times a sigmoid-like."""
    ratio = jnp.where(x == 0, 0.5, GRADIENT.activation(x, kind) / jnp.where(x == 0, 1, x))
    return x * lax.stop_gradient(ratio)


def halved(x: Array) -> Array:
    """x, with half its gradient."""
    return x / 2 + lax.stop_gradient(x / 2)


def multiply(a: Array, b: Array) -> Array:
    """Both factors of a gate get half."""
    return halved(a) * halved(b)
