"""The layers that blocks are made of, each computing through the table of primitives it is given."""

from __future__ import annotations

from typing import Any

from flax import linen as nn

from vitjax.nn.ops import Ops, given


def sow(module: nn.Module, collection: str, name: str, value: Any) -> None:
    """Sow `value` bare, where flax would wrap it in a tuple, and not while parameters are made."""
    if not module.is_initializing():
        module.sow(collection, name, value, init_fn=lambda: None, reduce_fn=lambda _, new: new)


class Observed(nn.Module):
    """A module that can be looked into."""

    def watch(self, name, value):
        sow(self, "intermediates", name, value)


class Linear(nn.Module):
    features: int
    ops: Ops
    use_bias: bool = True

    """Sows `result` into "results"; takes it from "known" where it is there, and then only has a backward pass."""

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        if self.has_variable("known", "result"):
            result = given(self.ops.linear, self.get_variable("known", "result"), x, kernel, bias)
        else:
            result = self.ops.linear(x, kernel, bias)
        sow(self, "results", "result", result)
        return self.perturb("result", result)


class LayerNorm(nn.Module):
    eps: float
    ops: Ops

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return self.ops.layernorm(x, scale, bias, self.eps)


class LayerScale(nn.Module):
    ops: Ops

    @nn.compact
    def __call__(self, x):
        return self.ops.scale(x, self.param("gamma", nn.initializers.constant(1e-5), (x.shape[-1],)))
