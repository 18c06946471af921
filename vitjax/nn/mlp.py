"""The MLP of a block or of a pooling head."""

from __future__ import annotations

from flax import linen as nn

from vitjax.nn.layers import Linear, norm_layer
from vitjax.nn.ops import Ops
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Tokens

_GATES = {"swiglu": "silu", "geglu_tanh": "gelu_tanh"}


class Mlp(nn.Module):
    """Two linear layers with an activation, or a gate, between them.

    hidden: width between the layers, where it differs from the blocks' own; such an MLP has biases, no norm and no
    gate.
    """

    config: ViTConfig
    ops: Ops
    hidden: int | None = None

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        cfg, own = self.config, self.hidden is None
        kind, hidden, biases = cfg.mlp, self.hidden or cfg.mlp_dim, cfg.biases or not own
        if cfg.gated and own:
            x = Linear(2 * hidden, self.ops, biases, name="fc1")(x)
            x = self.ops.multiply(self.ops.activation(x[..., :hidden], _GATES[kind]), x[..., hidden:])
        else:
            activation = "gelu" if cfg.gated else kind
            x = self.ops.activation(Linear(hidden, self.ops, biases, name="fc1")(x), activation)
        if cfg.mlp_norm and own:
            x = norm_layer(cfg, self.ops, "norm")(x)
        return Linear(cfg.width, self.ops, biases, name="fc2")(x)
