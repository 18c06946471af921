"""The layers of a block. Each computes with the table of primitives `ops` that it is constructed with."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from vitjax.nn.ops import Ops, with_known_result
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array


def sow(module: nn.Module, collection: str, name: str, value: Any) -> None:
    """Sows `value` into a collection as it is, without flax's tuple around it; nothing during initialisation."""
    if not module.is_initializing():
        module.sow(collection, name, value, init_fn=lambda: None, reduce_fn=lambda _, new: new)


def sow_intermediate(module: nn.Module, name: str, value: Any) -> None:
    """Sows `value` into the collection "intermediates"."""
    sow(module, "intermediates", name, value)


class Linear(nn.Module):
    """x W + b. Sows its `result` into the collection "results" and opens it to perturbation.

    If the collection "known" holds a `result`, it is returned instead of computed, and only the backward pass remains.
    """

    features: int
    ops: Ops
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        if self.has_variable("known", "result"):
            known: Any = self.get_variable("known", "result")
            result = with_known_result(self.ops.linear, known, x, kernel, bias)
        else:
            result = self.ops.linear(x, kernel, bias)
        sow(self, "results", "result", result)
        return self.perturb("result", result)


class LayerNorm(nn.Module):
    """LayerNorm over the last axis, with scale and bias."""

    eps: float
    ops: Ops

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return self.ops.layernorm(x, scale, bias, self.eps)


class RMSNorm(nn.Module):
    """Division by the root mean square over the last axis, with scale."""

    eps: float
    ops: Ops

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return self.ops.rmsnorm(x, self.param("scale", nn.initializers.ones, (x.shape[-1],)), self.eps)


def norm_layer(config: ViTConfig, ops: Ops, name: str | None = None) -> nn.Module:
    """The norm that a model uses everywhere."""
    kind = RMSNorm if config.norm == "rms" else LayerNorm
    return kind(config.norm_eps, ops, name=name)


def plain_norm(config: ViTConfig, ops: Ops, x: Array) -> Array:
    """The model's norm without scale and bias."""
    ones = jnp.ones(x.shape[-1], x.dtype)
    if config.norm == "rms":
        return ops.rmsnorm(x, ones, config.norm_eps)
    return ops.layernorm(x, ones, jnp.zeros_like(ones), config.norm_eps)


class LayerScale(nn.Module):
    """Product with one factor `gamma` per channel."""

    ops: Ops

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return self.ops.scale(x, self.param("gamma", nn.initializers.constant(1e-5), (x.shape[-1],)))
