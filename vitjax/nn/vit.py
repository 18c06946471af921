"""The Vision Transformer, for ONE image; batches are `jax.vmap`.

Parameters carry timm's names (`blocks.attn.qkv`, `norm1`, `mlp.fc1`, `head` ...), with a leading layer axis under
`blocks`. Intermediates are named where they are born (`sow`), and what explainers differentiate by is open to
perturbation (`perturb`): scores, attention, every linear result.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from vitjax.nn.layers import LayerNorm, LayerScale, Linear, Observed
from vitjax.nn.ops import GRADIENT, Ops
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Attended, Heads, Image, Logits, Params, Row, Tokens

COLLECTIONS: dict[Any, Any] = {"params": 0, "intermediates": 0, "perturbations": 0}
"""Every collection of a scanned block. One left out makes its gradients vanish without an error."""


def block_params(blocks: Params, number: jax.Array | int) -> Params:
    """One block's of those stacked over layers; number: traced or not. A slice of the stack would copy it."""
    return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, number, keepdims=False), blocks)


class Attention(Observed):
    """Multi-head self-attention. Sows `scores` and `attention` [h, n, m] and `values` [h, n, d]."""

    config: ViTConfig
    ops: Ops

    def setup(self):
        self.qkv = Linear(3 * self.config.width, self.ops, self.config.qkv_bias)
        self.proj = Linear(self.config.width, self.ops)

    def __call__(self, x: Tokens, token_slice: slice | None = None) -> Tokens:
        """Of all tokens, or of the `token_slice` alone; what is sown is of all of them."""
        n, c = x.shape
        d = c // self.config.heads
        q, k, v = self.ops.split(self.qkv(x).reshape(n, 3, self.config.heads, d))

        def compare(q):
            return self.ops.scores(q, k, d**-0.5)

        scores = self.perturb("scores", compare(q if token_slice is None else q[:, token_slice]))
        attention = self.perturb("attention", self.ops.softmax(scores))
        whole = scores if token_slice is None else compare(q)
        self.watch("scores", whole)
        self.watch("attention", attention if token_slice is None else self.ops.softmax(whole))
        self.watch("values", v)
        return self.mix(attention, v)

    def mix(self, attention: Attended, values: Heads) -> Tokens:
        """What rows of attention [h, r, m] make of the values [h, m, d]: [r, c]."""
        context = self.ops.matmul(attention, values).transpose(1, 0, 2)
        return self.proj(context.reshape(context.shape[0], -1))


class Mlp(nn.Module):
    config: ViTConfig
    ops: Ops

    @nn.compact
    def __call__(self, x: Tokens) -> Tokens:
        kind, hidden = self.config.mlp, self.config.mlp_dim
        if kind == "swiglu":
            x = Linear(2 * hidden, self.ops, name="fc1")(x)
            x = self.ops.multiply(self.ops.activation(x[..., :hidden], "silu"), x[..., hidden:])
        else:
            x = self.ops.activation(Linear(hidden, self.ops, name="fc1")(x), kind)
        return Linear(self.config.width, self.ops, name="fc2")(x)


class Block(Observed):
    """Pre-norm transformer block. Sows `input`, `normed` (by norm1), `middle` (after attention), `output`, [n, c]."""

    config: ViTConfig
    ops: Ops = GRADIENT

    def setup(self):
        cfg, ops = self.config, self.ops
        self.norm1, self.norm2 = LayerNorm(cfg.norm_eps, ops), LayerNorm(cfg.norm_eps, ops)
        self.attn, self.mlp = Attention(cfg, ops), Mlp(cfg, ops)
        if cfg.layer_scale:
            self.ls1, self.ls2 = LayerScale(ops), LayerScale(ops)

    def __call__(self, x: Tokens, token_slice: slice | None = None) -> Tokens:
        return self.transform(self.attend(x, token_slice))

    def halves(self, x: Tokens, token_slice: slice | None = None) -> tuple[Tokens, Tokens]:
        """The stream after attention, and the block's output."""
        middle = self.attend(x, token_slice)
        return middle, self.transform(middle)

    def attend(self, x: Tokens, token_slice: slice | None = None) -> Tokens:
        """The stream after attention, of all tokens or of the `token_slice` alone."""
        return self.add_attention(*self.before_attention(x), token_slice)

    def transform(self, x: Tokens) -> Tokens:
        """The block's output, of what `attend` gave; each row by itself."""
        return self.add_mlp(*self.before_mlp(x))

    def before_attention(self, x: Tokens) -> tuple[Tokens, Tokens]:
        """What passes attention by, and norm1's output."""
        self.watch("input", x)
        skip, branch = self.ops.fork(x)
        normed = self.norm1(branch)
        self.watch("normed", normed)
        return skip, normed

    def add_attention(self, skip: Tokens, normed: Tokens, token_slice: slice | None = None) -> Tokens:
        return self._add_attention(skip if token_slice is None else skip[token_slice], self.attn(normed, token_slice))

    def from_attention(self, skip: Tokens, attention: Attended, values: Heads) -> Tokens:
        """The stream after attention at some rows: skip [r, c] passes it by, attention [h, r, m], values [h, m, d]."""
        return self._add_attention(skip, self.attn.mix(attention, values))

    def _add_attention(self, skip, branch):
        x = self.ops.add(skip, self.ls1(branch) if self.config.layer_scale else branch)
        self.watch("middle", x)
        return x

    def before_mlp(self, x: Tokens) -> tuple[Tokens, Tokens]:
        """What passes the MLP by, and norm2's output."""
        skip, branch = self.ops.fork(x)
        return skip, self.norm2(branch)

    def add_mlp(self, skip: Tokens, normed: Tokens) -> Tokens:
        branch = self.mlp(normed)
        x = self.ops.add(skip, self.ls2(branch) if self.config.layer_scale else branch)
        self.watch("output", x)
        return x


class ViT(nn.Module):
    """The whole model: image -> `embed` -> blocks -> `classify` -> logits.

    The three stages are methods of their own, so that a fold can run the blocks itself.
    """

    config: ViTConfig
    ops: Ops = GRADIENT

    def setup(self):
        cfg = self.config
        small = nn.initializers.normal(0.02)
        self.patch_embed = PatchEmbed(cfg, self.ops)
        if cfg.class_token:
            self.cls_token = self.param("cls_token", small, (1, cfg.width))
        if cfg.distilled:
            self.dist_token = self.param("dist_token", small, (1, cfg.width))
        if cfg.registers:
            self.reg_token = self.param("reg_token", small, (cfg.registers, cfg.width))
        self.pos_embed = self.param("pos_embed", small, (cfg.position_tokens, cfg.width))
        if cfg.pre_norm:
            self.norm_pre = LayerNorm(cfg.norm_eps, self.ops)
        self.blocks = Block(cfg, self.ops)
        final = LayerNorm(cfg.norm_eps, self.ops, name="fc_norm" if cfg.fc_norm else "norm")
        self.final_norm = final
        if cfg.num_classes:
            self.head = Linear(cfg.num_classes, self.ops)
            if cfg.distilled:
                self.head_dist = Linear(cfg.num_classes, self.ops)

    def embed(self, image: Image) -> Tokens:
        """Tokens that enter block 0."""
        cfg = self.config
        patches = self.patch_embed(image)
        names = ("cls_token", "dist_token", "reg_token")
        present = (cfg.class_token, cfg.distilled, bool(cfg.registers))
        prefix = [getattr(self, name) for name, there in zip(names, present, strict=True) if there]
        if cfg.position_on_prefix:
            tokens = self.ops.add(jnp.concatenate([*prefix, patches]), self.pos_embed)
        else:
            tokens = jnp.concatenate([*prefix, self.ops.add(patches, self.pos_embed)])
        return self.norm_pre(tokens) if cfg.pre_norm else tokens

    def classify(self, tokens: Tokens, weights: Row | None = None) -> Logits:
        """Logits of the tokens that leave a block; the pooled features [c] where there is no head.

        `weights` [n] pool the tokens in place of the model's own readout (for both heads of a distilled model).
        """
        cfg = self.config
        norm_first = weights is None and not cfg.fc_norm
        tokens = self.final_norm(tokens) if norm_first else tokens

        def features(row):
            pooled = self.ops.pool(tokens, row)
            return pooled if norm_first else self.final_norm(pooled)

        if cfg.distilled:
            token_slice = jnp.asarray(np.eye(2, cfg.tokens), tokens.dtype) if weights is None else (weights, weights)
            both = [features(row) for row in token_slice]
            if cfg.num_classes:
                both = [self.head(both[0]), self.head_dist(both[1])]
            return self.ops.scale(self.ops.add(*both), 0.5)
        found = features(cfg.readout_weights().astype(tokens.dtype) if weights is None else weights)
        return self.head(found) if cfg.num_classes else found

    def __call__(self, image: Image) -> Logits:
        tokens = self.embed(image)
        if self.config.peeled and self._is_plain():
            return self.classify(self._peeled(tokens))
        through_layers = nn.scan(
            lambda block, x: (block(x), None),
            variable_axes=COLLECTIONS,
            split_rngs={"params": True},
            length=self.config.depth,
        )
        tokens, _ = through_layers(self.blocks, tokens)
        return self.classify(tokens)

    def _is_plain(self) -> bool:
        """Whether nobody looks at more than the logits and what they are differentiated by."""
        mutable = any(self.is_mutable_collection(each) for each in COLLECTIONS)
        return self.ops == GRADIENT and not mutable and set(self.blocks.variables) == {"params"}

    def _peeled(self, tokens: Tokens) -> Tokens:
        """What leaves the last block, zero where the head does not read."""
        block, blocks = Block(self.config, self.ops, parent=None), self.blocks.variables["params"]

        def through(x, number, token_slice=None):
            return block.apply({"params": block_params(blocks, number)}, x, token_slice)

        last, read = self.config.depth - 1, self.config.readout_slice
        tokens, _ = lax.scan(lambda x, number: (through(x, number), None), tokens, jnp.arange(last))
        return jnp.zeros_like(tokens).at[read].set(through(tokens, last, read))


class PatchEmbed(nn.Module):
    """Non-overlapping patches, row by row, through one linear map (a convolution with stride = kernel size)."""

    config: ViTConfig
    ops: Ops

    @nn.compact
    def __call__(self, image: Image) -> Tokens:
        (down, across), p = self.config.grid, self.config.patch_size
        patches = image.reshape(down, p, across, p, 3).transpose(0, 2, 1, 3, 4).reshape(down * across, p * p * 3)
        first = self.ops._replace(linear=self.ops.pixels)
        return Linear(self.config.width, first, self.config.patch_bias, name="proj")(patches)
