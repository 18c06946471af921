"""Operations with parts held constant in the backward pass, so that input x gradient is relevance."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from vitjax.nn.ops import GRADIENT, inverse_norm
from vitjax.shapes import Array, at_least_float32


def layernorm(x: Array, scale: Array, bias: Array, eps: float) -> Array:
    """LayerNorm over the last axis with 1/std held constant; the mean is differentiated."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - wide.mean(-1, keepdims=True)
    inverse = lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + eps)
    return (centred * lax.stop_gradient(inverse)).astype(x.dtype) * scale + bias


def normalise(x: Array) -> Array:
    """x / ‖x‖ over the last axis with 1/‖x‖ held constant."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return (wide * lax.stop_gradient(inverse_norm(wide))).astype(x.dtype)


def rmsnorm(x: Array, scale: Array, eps: float) -> Array:
    """RMSNorm over the last axis with 1/rms held constant: LayerNorm's rule without the mean."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    inverse = lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + eps)
    return (wide * lax.stop_gradient(inverse)).astype(x.dtype) * scale


def groupnorm(x: Array, scale: Array, bias: Array, groups: int, eps: float) -> Array:
    """GroupNorm with 1/std held constant; the mean is differentiated."""
    wide = at_least_float32(x).reshape(*x.shape[:2], groups, -1)
    centred = wide - wide.mean((0, 1, 3), keepdims=True)
    inverse = lax.rsqrt(jnp.square(centred).mean((0, 1, 3), keepdims=True) + eps)
    return (centred * lax.stop_gradient(inverse)).astype(x.dtype).reshape(x.shape) * scale + bias


def activation(x: Array, kind: str) -> Array:
    """f(x) = x · (f(x)/x) with the ratio held constant, so that relevance passes unchanged.

    At x = 0 the ratio is 0.5, its limit for all kinds but ReLU: each is x times a sigmoid-like function. ReLU's ratio
    is its gradient.
    """
    if kind == "relu":
        return GRADIENT.activation(x, kind)
    ratio = jnp.where(x == 0, 0.5, GRADIENT.activation(x, kind) / jnp.where(x == 0, 1, x))
    return x * lax.stop_gradient(ratio)


def halved(x: Array) -> Array:
    """x, with half of its gradient."""
    return x / 2 + lax.stop_gradient(x / 2)


def multiply(a: Array, b: Array) -> Array:
    """a ∘ b, where each factor receives half of the relevance (the gate of SwiGLU)."""
    return halved(a) * halved(b)
