"""The primitives a transformer block is made of, as one table.

The modules of `vitjax.nn.vit` do arithmetic only through an `Ops`. Swapping the table swaps what the backward pass
means: `GRADIENT` is ordinary mathematics, the tables in `vitjax.rules` make the cotangent a relevance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class OpWithRule:
    """An operation with a backward pass of its own.

    backward: (cotangent of the result, result, *arguments) -> cotangents of the leading arguments; the remaining ones,
    parameters, get none.
    """

    def __init__(self, forward: Callable[..., Any], backward: Callable[..., tuple[Any, ...]]) -> None:
        def run(precomputed, *arguments):
            return forward(*arguments) if precomputed is None else precomputed

        def keep(precomputed, *arguments):
            result = run(precomputed, *arguments)
            return result, (precomputed, result, arguments)

        def back(saved, cotangent):
            precomputed, result, arguments = saved
            found = backward(cotangent, result, *arguments)
            nothing, rest = jax.tree.map(jnp.zeros_like, (precomputed, arguments[len(found) :]))
            return nothing, *found, *rest

        self._operation = jax.custom_vjp(run)
        self._operation.defvjp(keep, back)

    def __call__(self, *arguments: Any) -> Any:
        return self._operation(None, *arguments)

    def given(self, result: Any, *arguments: Any) -> Any:
        """As the operation itself, whose result is known."""
        return self._operation(result, *arguments)


def given(operation: Callable[..., Array], result: Array, *arguments: Any) -> Array:
    """`operation(*arguments)`, which is known to be `result`: what is left to do is its backward pass."""
    if isinstance(operation, OpWithRule):
        return operation.given(result, *arguments)
    return _instead(operation(*arguments), result)  # the compiler leaves out what no derivative needs


@jax.custom_vjp
def _instead(computed: Array, precomputed: Array) -> Array:
    return precomputed


_instead.defvjp(
    lambda computed, precomputed: (precomputed, None), lambda _, cotangent: (cotangent, jnp.zeros_like(cotangent))
)


class Ops(NamedTuple):
    """One entry per primitive. Every value on the path from pixels to logits goes through exactly one of them."""

    linear: Callable[[Array, Array, Array | None], Array]
    """(x [..., i], kernel [i, o], bias [o] or None) -> [..., o]"""
    pixels: Callable[[Array, Array, Array | None], Array]
    """as linear, of pixels: the patch embedding"""
    matmul: Callable[[Array, Array], Array]
    """(a [h, n, i], b [h, i, m]) -> [h, n, m]; both factors depend on the input"""
    scores: Callable[[Array, Array, float], Array]
    """(q [h, n, d], k [h, m, d], 1/sqrt(d)) -> q k^T / sqrt(d) [h, n, m]"""
    softmax: Callable[[Array], Array]
    """over the last axis"""
    activation: Callable[[Array, str], Array]
    """(x, "gelu" | "quick_gelu" | "silu") -> elementwise"""
    layernorm: Callable[[Array, Array, Array, float], Array]
    """(x [..., c], scale [c], bias [c], eps) over the last axis"""
    add: Callable[[Array, Array], Array]
    multiply: Callable[[Array, Array], Array]
    """elementwise, both factors depend on the input (the gate of SwiGLU)"""
    scale: Callable[[Array, Any], Array]
    """(x, constant or parameter that broadcasts): LayerScale, the mean of two heads"""
    fork: Callable[[Array], tuple[Array, Array]]
    """a value that is used twice: the entry of a residual branch"""
    split: Callable[[Array], tuple[Array, Array, Array]]
    """(qkv [n, 3, h, d]) -> three [h, n, d]"""
    pool: Callable[[Array, Array], Array]
    """(tokens [n, c], weights [n]) -> [c]: class-token selection or the mean over patches"""


def _at_least_float32(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _linear(x: Array, kernel: Array, bias: Array | None) -> Array:
    y = x @ kernel
    return y if bias is None else y + bias


def _softmax(x: Array) -> Array:
    return jax.nn.softmax(_at_least_float32(x), axis=-1).astype(x.dtype)


def _activation(x: Array, kind: str) -> Array:
    if kind == "gelu":  # the exact one, which checkpoints use; jax.nn.gelu takes erfc for it, twice the time on a CPU
        wide = _at_least_float32(x)  # 1 + erf cancels
        return (0.5 * wide * (1 + jax.lax.erf(wide * 0.5**0.5))).astype(x.dtype)
    if kind == "quick_gelu":
        return x * jax.nn.sigmoid(1.702 * x)
    return jax.nn.silu(x)


def _layernorm(x: Array, scale: Array, bias: Array, eps: float) -> Array:
    wide = _at_least_float32(x)
    centred = wide - wide.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + eps)).astype(x.dtype) * scale + bias


def _split(qkv: Array) -> tuple[Array, Array, Array]:
    # One operation whose gradient puts the three side by side; of three slices it would add three padded arrays.
    q, k, v = (part[:, 0].transpose(1, 0, 2) for part in jax.lax.split(qkv, (1, 1, 1), axis=1))
    return q, k, v


GRADIENT = Ops(
    linear=_linear,
    pixels=_linear,
    matmul=jnp.matmul,
    scores=lambda q, k, factor: jnp.matmul(q * factor, k.mT),  # n d products with the factor, not n²
    softmax=_softmax,
    activation=_activation,
    layernorm=_layernorm,
    add=jnp.add,
    multiply=jnp.multiply,
    scale=lambda x, factor: x * factor,
    fork=lambda x: (x, x),
    split=_split,
    # A sum, not a product: a matrix unit at TF32 or bf16 precision would round the selected token.
    pool=lambda tokens, weights: (weights[:, None] * tokens).sum(axis=0),
)
"""Ordinary mathematics: differentiating through this table gives gradients."""
