"""The table of primitives that a transformer computes with.

The modules of `vitjax.nn.vit` do arithmetic only through an `Ops`. The table decides what the backward pass computes:
gradients with `GRADIENT`, relevance with the tables of `vitjax.rules`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax.linen import pooling as pool_layers
from jax.lax import optimization_barrier

from vitjax.nn.kernels import active_kernels
from vitjax.shapes import Array, at_least_float32

Padding = Literal["SAME", "VALID"] | tuple[tuple[int, int], tuple[int, int]]
"""Padding of a convolution or pooling: as in TensorFlow, none, or ((top, bottom), (left, right))."""


class OpWithRule:
    """An operation with a custom backward pass.

    Args:
        forward: (*arguments) -> result.
        backward: (cotangent of the result, result, *arguments) -> cotangents of the leading arguments. The remaining
            arguments, which are parameters, receive a cotangent of 0.
    """

    def __init__(self, forward: Callable[..., Any], backward: Callable[..., tuple[Any, ...]]) -> None:
        def run(known_result: Any, *arguments: Any) -> Any:
            return forward(*arguments) if known_result is None else known_result

        def run_and_save(known_result: Any, *arguments: Any) -> tuple[Any, Any]:
            result = run(known_result, *arguments)
            return result, (known_result, result, arguments)

        def run_backward(saved: Any, cotangent: Any) -> tuple[Any, ...]:
            known_result, result, arguments = saved
            cotangents = backward(cotangent, result, *arguments)
            result_zeros, other_zeros = jax.tree.map(jnp.zeros_like, (known_result, arguments[len(cotangents) :]))
            return result_zeros, *cotangents, *other_zeros

        self._operation = jax.custom_vjp(run)
        self._operation.defvjp(run_and_save, run_backward)

    def __call__(self, *arguments: Any) -> Any:
        return self._operation(None, *arguments)

    def with_known_result(self, result: Any, *arguments: Any) -> Any:
        """`result`, which must be that of the operation on `arguments`, with the operation's backward pass."""
        return self._operation(result, *arguments)


def with_known_result(operation: Callable[..., Array], result: Array, *arguments: Any) -> Array:
    """`result`, which must equal `operation(*arguments)`, with the backward pass of the operation.

    The compiled program computes the backward pass only.
    """
    if isinstance(operation, OpWithRule):
        return operation.with_known_result(result, *arguments)
    return _replace_value(operation(*arguments), result)  # the compiler removes what no derivative needs


@jax.custom_vjp
def _replace_value(computed: Array, known: Array) -> Array:
    """`known`, whose cotangent goes to `computed`."""
    return known


_replace_value.defvjp(
    lambda computed, known: (known, None), lambda _, cotangent: (cotangent, jnp.zeros_like(cotangent))
)


class Ops(NamedTuple):
    """One entry per primitive. Every value on the path from pixels to logits goes through exactly one of them."""

    linear: Callable[[Array, Array, Array | None], Array]
    """(x [..., i], kernel [i, o], bias [o] or None) -> x kernel + bias [..., o]."""
    pixels: Callable[[Array, Array, Array | None], Array]
    """The same as `linear`, for the patch embedding, whose input are pixels."""
    matmul: Callable[[Array, Array], Array]
    """(a [h, n, i], b [h, i, m]) -> a b [h, n, m]; both factors depend on the input."""
    scores: Callable[[Array, Array, float], Array]
    """(q [h, n, d], k [h, m, d], 1/sqrt(d)) -> q k^T / sqrt(d) [h, n, m]."""
    latent_scores: Callable[[Array, Array, float], Array]
    """(k [h, m, d], q [h, 1, d], 1/sqrt(d)) -> scores [h, 1, m] of a query that is a parameter: linear in k."""
    shift: Callable[[Array, Array], Array]
    """(x, constant) -> x + constant, where the constant is a parameter (relative position bias)."""
    rotate: Callable[[Array, Array, Array, bool], Array]
    """(x [h, n, d], cosine, sine [(h,) n, d/2], half) -> pairs of channels of x turned by an angle; linear in x. The
    pairs are (i, i + d/2) with `half`, else (2i, 2i + 1)."""
    softmax: Callable[[Array], Array]
    """Softmax over the last axis."""
    activation: Callable[[Array, str], Array]
    """(x, "gelu" | "gelu_tanh" | "quick_gelu" | "silu" | "relu") -> the activation of each element."""
    layernorm: Callable[[Array, Array, Array, float], Array]
    """(x [..., c], scale [c], bias [c], eps) -> LayerNorm over the last axis."""
    rmsnorm: Callable[[Array, Array, float], Array]
    """(x [..., c], scale [c], eps) -> RMSNorm over the last axis."""
    normalise: Callable[[Array], Array]
    """x [..., c] -> x / ‖x‖ over the last axis, 0 where x is 0 (the embedding of a similarity head)."""
    add: Callable[[Array, Array], Array]
    """Sum of two values, elementwise."""
    multiply: Callable[[Array, Array], Array]
    """Elementwise product of two values that both depend on the input (the gate of SwiGLU)."""
    scale: Callable[[Array, Any], Array]
    """(x, factor) -> x · factor, where the factor is a constant or a parameter (LayerScale, the mean of two heads)."""
    fork: Callable[[Array], tuple[Array, Array]]
    """x -> (x, x), for the skip connection and the branch of a residual connection."""
    split: Callable[[Array], tuple[Array, ...]]
    """qkv [n, 3, h, d] -> q, k, v, [h, n, d] each; or kv [n, 2, h, d] -> k, v."""
    pool: Callable[[Array, Array], Array]
    """(tokens [n, c], weights [n]) -> weighted sum [c]: selects the class token or averages the patches."""
    conv: Callable[[Array, Array, Array | None, int, Padding], Array]
    """(x [h, w, i], kernel [side, side, i, o], bias [o] or None, stride, padding) -> convolution [h', w', o]."""
    pixel_conv: Callable[[Array, Array, Array | None, int, Padding], Array]
    """The same as `conv`, for the first layer of a convolutional stem, whose input are pixels."""
    groupnorm: Callable[[Array, Array, Array, int, float], Array]
    """(x [h, w, c], scale [c], bias [c], groups, eps) -> GroupNorm over positions and the channels of a group."""
    max_pool: Callable[[Array, Padding], Array]
    """(x [h, w, c], padding) -> the maximum of each 3x3 window, with stride 2; padding is below every value."""
    avg_pool: Callable[[Array], Array]
    """x [h, w, c] -> the mean of each 2x2 window, with stride 2, over those of its positions that are in x."""


def _linear(x: Array, kernel: Array, bias: Array | None) -> Array:
    y = x @ kernel
    return y if bias is None else y + bias


def _softmax(x: Array) -> Array:
    if active_kernels().separate_softmax:
        return _separate_softmax(x)
    return jax.nn.softmax(at_least_float32(x), axis=-1).astype(x.dtype)


@jax.custom_jvp
def _separate_softmax(x: Array) -> Array:
    wide = at_least_float32(x)
    exponentials = jnp.exp(wide - optimization_barrier(wide.max(-1, keepdims=True)))
    total = optimization_barrier(exponentials.sum(-1, keepdims=True))
    return optimization_barrier((exponentials / total).astype(x.dtype))


@_separate_softmax.defjvp
def _separate_softmax_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    softmax = _separate_softmax(*primals)
    wide = at_least_float32(softmax)
    product = wide * at_least_float32(tangents[0])
    return softmax, (product - wide * product.sum(-1, keepdims=True)).astype(softmax.dtype)


def _activation(x: Array, kind: str) -> Array:
    if kind == "gelu":  # the exact GELU of checkpoints; jax.nn.gelu uses erfc, which takes twice the time on a CPU
        wide = at_least_float32(x)  # because 1 + erf cancels for negative x
        return (0.5 * wide * (1 + jax.lax.erf(wide * 0.5**0.5))).astype(x.dtype)
    if kind == "gelu_tanh":
        return jax.nn.gelu(x, approximate=True)
    if kind == "quick_gelu":
        return x * jax.nn.sigmoid(1.702 * x)
    return jax.nn.relu(x) if kind == "relu" else jax.nn.silu(x)


def _layernorm(x: Array, scale: Array, bias: Array, eps: float) -> Array:
    wide = at_least_float32(x)
    centred = wide - wide.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + eps)).astype(x.dtype) * scale + bias


def _rmsnorm(x: Array, scale: Array, eps: float) -> Array:
    wide = at_least_float32(x)
    return (wide * jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + eps)).astype(x.dtype) * scale


def _rotate(x: Array, cosine: Array, sine: Array, half: bool) -> Array:
    wide, axis = at_least_float32(x), -2 if half else -1
    pairs = wide.reshape(*x.shape[:-1], *((2, -1) if half else (-1, 2)))
    first, second = jnp.take(pairs, 0, axis), jnp.take(pairs, 1, axis)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return jnp.stack(turned, axis).reshape(x.shape).astype(x.dtype)


def inverse_norm(x: Array) -> Array:
    """1 / ‖x‖ over the last axis, [..., c] -> [..., 1], bounded where x is 0, so that its gradient is finite there."""
    return jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-24))


def _normalise(x: Array) -> Array:
    wide = at_least_float32(x)
    return (wide * inverse_norm(wide)).astype(x.dtype)


def _split(parts: Array) -> tuple[Array, ...]:
    # The gradient of `split` concatenates arrays; that of slices would sum padded arrays.
    pieces = jax.lax.split(parts, (1,) * parts.shape[1], axis=1)
    return tuple(piece[:, 0].transpose(1, 0, 2) for piece in pieces)


def _conv(x: Array, kernel: Array, bias: Array | None, stride: int, padding: Padding) -> Array:
    axes, dtype = ("NHWC", "HWIO", "NHWC"), jnp.promote_types(x.dtype, kernel.dtype)  # as a matrix product promotes
    images, kernel = x[None].astype(dtype), kernel.astype(dtype)
    y = jax.lax.conv_general_dilated(images, kernel, (stride, stride), padding, dimension_numbers=axes)[0]
    return y if bias is None else y + bias


def _groupnorm(x: Array, scale: Array, bias: Array, groups: int, eps: float) -> Array:
    wide = at_least_float32(x).reshape(*x.shape[:2], groups, -1)
    centred = wide - wide.mean((0, 1, 3), keepdims=True)
    variance = jnp.square(centred).mean((0, 1, 3), keepdims=True)
    return (centred * jax.lax.rsqrt(variance + eps)).astype(x.dtype).reshape(x.shape) * scale + bias


def _avg_pool(x: Array) -> Array:
    padding = tuple((0, side % 2) for side in x.shape[:2])
    return pool_layers.avg_pool(x, (2, 2), (2, 2), padding, count_include_pad=False)


GRADIENT = Ops(
    linear=_linear,
    pixels=_linear,
    matmul=jnp.matmul,
    scores=lambda q, k, factor: jnp.matmul(q * factor, k.mT),  # scaling q takes n·d products, scaling the scores n·m
    latent_scores=lambda k, q, factor: jnp.matmul(q * factor, k.mT),
    shift=jnp.add,
    rotate=_rotate,
    softmax=_softmax,
    activation=_activation,
    layernorm=_layernorm,
    rmsnorm=_rmsnorm,
    normalise=_normalise,
    add=jnp.add,
    multiply=jnp.multiply,
    scale=lambda x, factor: x * factor,
    fork=lambda x: (x, x),
    split=_split,
    # A sum instead of a matrix product, which would round the selected token at TF32 or bf16 precision.
    pool=lambda tokens, weights: (weights[:, None] * tokens).sum(axis=0),
    conv=_conv,
    pixel_conv=_conv,
    groupnorm=_groupnorm,
    max_pool=lambda x, padding: pool_layers.max_pool(x, (3, 3), (2, 2), padding),
    avg_pool=_avg_pool,
)
"""The table of ordinary arithmetic, whose backward pass computes gradients."""
