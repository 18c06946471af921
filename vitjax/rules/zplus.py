"""ZPLUS: the rules of Transformer-Explainability (Chefer, Gur & Wolf 2021, Transformer Interpretability Beyond
Attention Visualization), which `transformer_attribution` uses.

Linear layers: the z-rule over the positive products x·w only, with one denominator (α = 1, β = 0); biases receive no
relevance. Sums: in proportion to the summands' values, then rescaled so that summand a receives |Σa| / (|Σa| + |Σb|) of
the whole relevance and b the rest. Products of two activations: the z-rule for both factors, halved. LayerNorm, the
normalisation of a similarity head, softmax, the activation and scaling: relevance passes unchanged. Patch embedding, or
the first convolution of a convolutional stem: the z^B rule. Other layers of a stem: see `vitjax.rules.convolution`.

Conservation: the sum of relevance is the same before and after every operation, up to the stabiliser.
"""

from __future__ import annotations

import jax.numpy as jnp

from vitjax.nn.ops import GRADIENT, OpWithRule
from vitjax.rules import convolution
from vitjax.rules.z_rule import (
    box,
    divide,
    identity,
    join_copies,
    pool,
    split_linear,
    split_product,
    split_scores,
    split_sum,
)
from vitjax.shapes import Array


def _linear(relevance: Array, result: Array, x: Array, kernel: Array, bias: Array | None) -> tuple[Array]:
    """Relevance of the input: x⁺ ∘ SW⁺ᵀ + x⁻ ∘ SW⁻ᵀ with S = R / (x⁺W⁺ + x⁻W⁻).

    With max(xw, 0) = (xw + |x||w|) / 2 this takes three matrix products instead of four.
    """
    abs_x, abs_kernel = jnp.abs(x), jnp.abs(kernel)
    without_bias = result if bias is None else result - bias
    share = divide(relevance, (without_bias + abs_x @ abs_kernel) / 2)
    return ((x * (share @ kernel.T) + abs_x * (share @ abs_kernel.T)) / 2,)


def _add(relevance: Array, total: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Relevance of both summands: `split_sum`, rescaled so that their sums are in the ratio of their absolute values
    and add up to the sum of `relevance`."""
    whole = relevance.sum()
    parts = split_sum(relevance, total, a, b)
    sums = [part.sum() for part in parts]
    magnitude = jnp.abs(sums[0]) + jnp.abs(sums[1])
    first, second = (
        part * divide(divide(jnp.abs(s), magnitude) * whole, s) for part, s in zip(parts, sums, strict=True)
    )
    return first, second


def _gate(relevance: Array, result: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Relevance of both factors of the gate of SwiGLU: half each."""
    return relevance / 2, relevance / 2


def _activation(x: Array, kind: str) -> Array:
    return identity(lambda x: GRADIENT.activation(x, kind))(x)


def _layernorm(x: Array, scale: Array, bias: Array, eps: float) -> Array:
    return identity(lambda x, scale, bias: GRADIENT.layernorm(x, scale, bias, eps))(x, scale, bias)


def _rmsnorm(x: Array, scale: Array, eps: float) -> Array:
    return identity(lambda x, scale: GRADIENT.rmsnorm(x, scale, eps))(x, scale)


def _rotate(x: Array, cosine: Array, sine: Array, half: bool) -> Array:
    def forward(x: Array, cosine: Array, sine: Array) -> Array:
        return GRADIENT.rotate(x, cosine, sine, half)

    return OpWithRule(forward, split_linear(forward))(x, cosine, sine)


def _latent_scores(k: Array, q: Array, factor: float) -> Array:
    def forward(k: Array, q: Array) -> Array:
        return GRADIENT.latent_scores(k, q, factor)

    return OpWithRule(forward, split_linear(forward))(k, q)


_scale = identity(GRADIENT.scale)
_product = OpWithRule(lambda scaled, k, factor: GRADIENT.matmul(scaled, k.mT), split_scores)


def _scores(q: Array, k: Array, factor: float) -> Array:
    return _product(_scale(q, factor), k, factor)


ZPLUS = GRADIENT._replace(
    linear=OpWithRule(GRADIENT.linear, _linear),
    pixels=OpWithRule(GRADIENT.pixels, box),
    matmul=OpWithRule(GRADIENT.matmul, split_product),
    scores=_scores,
    softmax=identity(GRADIENT.softmax),
    activation=_activation,
    layernorm=_layernorm,
    rmsnorm=_rmsnorm,
    latent_scores=_latent_scores,
    shift=identity(GRADIENT.shift),
    rotate=_rotate,
    normalise=identity(GRADIENT.normalise),
    add=OpWithRule(GRADIENT.add, _add),
    multiply=OpWithRule(GRADIENT.multiply, _gate),
    scale=_scale,
    fork=OpWithRule(GRADIENT.fork, join_copies),
    pool=OpWithRule(GRADIENT.pool, pool),
    conv=convolution.with_rule(convolution.positive),
    pixel_conv=convolution.with_rule(convolution.box),
    groupnorm=convolution.groupnorm,
    avg_pool=convolution.avg_pool,
)
