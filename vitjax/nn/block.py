"""One transformer block, in the parts that the shared pass differentiates one by one."""

from __future__ import annotations

from typing import Any

import jax
from flax import linen as nn
from jax import lax

from vitjax.nn.attention import Attention
from vitjax.nn.layers import LayerScale, norm_layer, sow_intermediate
from vitjax.nn.mlp import Mlp
from vitjax.nn.ops import GRADIENT, Ops
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Attended, Params, SomeTokens, Tokens, Values

COLLECTIONS: dict[Any, Any] = {"params": 0, "intermediates": 0, "perturbations": 0}
"""Every collection of a scanned block, with its layer axis. If one is missing, its gradients are 0 without an error."""


def block_params(blocks: Params, number: Array | int) -> Params:
    """Parameters of one block, from those of all blocks stacked over layers.

    The index is dynamic for a Python integer, too, because a static slice of the stack would copy the parameters.

    Args:
        number: block number, traced or a Python integer.
    """
    return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, number, keepdims=False), blocks)


class Block(nn.Module):
    """Transformer block: x + branch(norm(x)) for attention, then for the MLP; with `post_norm` x + norm(branch(x)), and
    with `sandwich_norm` a norm on both sides of the branch.

    Sows `input`, `normed` (the input of attention), `middle` (the residual stream after attention) and `output`,
    [n, c] each.
    With a `token_slice`, `middle` and `output` are those tokens only, [r, c]. `fused`: see `Attention`.
    """

    config: ViTConfig
    ops: Ops = GRADIENT
    fused: bool = False

    def setup(self) -> None:
        cfg, ops = self.config, self.ops
        self.norm1, self.norm2 = norm_layer(cfg, ops), norm_layer(cfg, ops)
        if cfg.sandwich_norm:
            self.post_norm1, self.post_norm2 = norm_layer(cfg, ops), norm_layer(cfg, ops)
        self.attn, self.mlp = Attention(cfg, ops, self.fused), Mlp(cfg, ops)
        if cfg.layer_scale:
            self.ls1, self.ls2 = LayerScale(ops), LayerScale(ops)

    def __call__(self, x: Tokens, token_slice: slice | None = None) -> SomeTokens:
        return self.transform(self.attend(x, token_slice))

    def halves(self, x: Tokens, token_slice: slice | None = None) -> tuple[SomeTokens, SomeTokens]:
        """The residual stream after attention, and the block's output."""
        middle = self.attend(x, token_slice)
        return middle, self.transform(middle)

    def attend(self, x: Tokens, token_slice: slice | None = None) -> SomeTokens:
        """The residual stream after attention, at all tokens [n, c] or at `token_slice` only [r, c]."""
        return self.add_attention(*self.before_attention(x), token_slice)

    def transform(self, x: Tokens) -> Tokens:
        """The block's output from the result of `attend`; tokens are independent of each other."""
        return self.add_mlp(*self.before_mlp(x))

    def before_attention(self, x: Tokens) -> tuple[Tokens, Tokens]:
        """The skip connection of attention, and the input of attention: norm1's output, or with `post_norm` x."""
        sow_intermediate(self, "input", x)
        skip, branch = self.ops.fork(x)
        normed = branch if self.config.post_norm else self.norm1(branch)
        sow_intermediate(self, "normed", normed)
        return skip, normed

    def add_attention(self, skip: Tokens, normed: Tokens, token_slice: slice | None = None) -> SomeTokens:
        """The residual stream after attention, from the results of `before_attention`."""
        return self._add_attention(skip if token_slice is None else skip[token_slice], self.attn(normed, token_slice))

    def from_attention(self, skip: SomeTokens, attention: Attended, values: Values) -> SomeTokens:
        """The residual stream [r, c] after attention at some tokens.

        Args:
            skip: skip connection at these tokens, [r, c].
            attention: attention rows of these tokens, [h, r, m].
            values: values of all tokens, [h, m, d].
        """
        return self._add_attention(skip, self.attn.mix(attention, values))

    def _add_attention(self, skip: Tokens, branch: Tokens) -> Array:
        branch = self._after(branch, "norm1")
        x = self.ops.add(skip, self.ls1(branch) if self.config.layer_scale else branch)
        sow_intermediate(self, "middle", x)
        return x

    def before_mlp(self, x: Tokens) -> tuple[Tokens, Tokens]:
        """The skip connection of the MLP, and the input of the MLP: norm2's output, or with `post_norm` x."""
        skip, branch = self.ops.fork(x)
        return skip, branch if self.config.post_norm else self.norm2(branch)

    def add_mlp(self, skip: Tokens, normed: Tokens) -> Tokens:
        """The block's output, from the results of `before_mlp`."""
        branch = self.mlp(normed)
        branch = self._after(branch, "norm2")
        x = self.ops.add(skip, self.ls2(branch) if self.config.layer_scale else branch)
        sow_intermediate(self, "output", x)
        return x

    def _after(self, branch: SomeTokens, norm: str) -> SomeTokens:
        """The end of a branch: the norm that stands there, if any."""
        if self.config.post_norm:
            return getattr(self, norm)(branch)
        return getattr(self, f"post_{norm}")(branch) if self.config.sandwich_norm else branch
