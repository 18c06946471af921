"""The Vision Transformer for ONE image; batch with `jax.vmap`.

Parameters have timm's names (`blocks.attn.qkv`, `norm1`, `mlp.fc1`, `head` ...), with a leading layer axis under
`blocks`. Modules store their intermediate values (`sow`). Values that explainers differentiate by are open to
perturbation (`perturb`): scores, attention and the result of every linear layer.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from vitjax.nn.kernels import active_kernels, cudnn_takes, fused_attention
from vitjax.nn.layers import LayerNorm, LayerScale, Linear, sow_intermediate
from vitjax.nn.ops import GRADIENT, Ops
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Attended, Image, Logits, Params, Row, SomeTokens, Tokens, Values

COLLECTIONS: dict[Any, Any] = {"params": 0, "intermediates": 0, "perturbations": 0}
"""Every collection of a scanned block, with its layer axis. If one is missing, its gradients are 0 without an error."""


def block_params(blocks: Params, number: Array | int) -> Params:
    """Parameters of one block, from those of all blocks stacked over layers.

    The index is dynamic for a Python integer, too, because a static slice of the stack would copy the parameters.

    Args:
        number: block number, traced or a Python integer.
    """
    return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, number, keepdims=False), blocks)


class Attention(nn.Module):
    """Multi-head self-attention. Sows `scores` and `attention` [h, n, m] and `values` [h, n, d].

    If `fused`, it sows nothing, and one kernel computes all heads.
    """

    config: ViTConfig
    ops: Ops
    fused: bool = False

    def setup(self) -> None:
        self.qkv = Linear(3 * self.config.width, self.ops, self.config.qkv_bias)
        self.proj = Linear(self.config.width, self.ops)

    def __call__(self, x: Tokens, token_slice: slice | None = None) -> SomeTokens:
        """Output at all tokens [n, c], or at the query tokens `token_slice` only [r, c].

        Scores and attention are sown for all query tokens in both cases.
        """
        n, c = x.shape
        d = c // self.config.heads
        heads = self.qkv(x).reshape(n, 3, self.config.heads, d)
        if self.fused:
            q, k, v = (part[:, 0] for part in lax.split(heads, (1, 1, 1), axis=1))
            return self.proj(fused_attention(q, k, v).reshape(n, c))
        q, k, v = self.ops.split(heads)

        def scaled_scores(q: Array) -> Array:
            return self.ops.scores(q, k, d**-0.5)

        scores = self.perturb("scores", scaled_scores(q if token_slice is None else q[:, token_slice]))
        attention = self.perturb("attention", self.ops.softmax(scores))
        all_scores = scores if token_slice is None else scaled_scores(q)
        sow_intermediate(self, "scores", all_scores)
        sow_intermediate(self, "attention", attention if token_slice is None else self.ops.softmax(all_scores))
        sow_intermediate(self, "values", v)
        return self.mix(attention, v)

    def mix(self, attention: Attended, values: Values) -> SomeTokens:
        """Output [r, c] at some query tokens: attention [h, r, m] times values [h, m, d], projected."""
        context = self.ops.matmul(attention, values).transpose(1, 0, 2)
        return self.proj(context.reshape(context.shape[0], -1))


class Mlp(nn.Module):
    """Two linear layers with an activation, or a SwiGLU gate, between them."""

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


class Block(nn.Module):
    """Pre-norm transformer block.

    Sows `input`, `normed` (norm1's output), `middle` (the residual stream after attention) and `output`, [n, c] each.
    With a `token_slice`, `middle` and `output` are those tokens only, [r, c]. `fused`: see `Attention`.
    """

    config: ViTConfig
    ops: Ops = GRADIENT
    fused: bool = False

    def setup(self) -> None:
        cfg, ops = self.config, self.ops
        self.norm1, self.norm2 = LayerNorm(cfg.norm_eps, ops), LayerNorm(cfg.norm_eps, ops)
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
        """The skip connection of attention, and norm1's output."""
        sow_intermediate(self, "input", x)
        skip, branch = self.ops.fork(x)
        normed = self.norm1(branch)
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
        x = self.ops.add(skip, self.ls1(branch) if self.config.layer_scale else branch)
        sow_intermediate(self, "middle", x)
        return x

    def before_mlp(self, x: Tokens) -> tuple[Tokens, Tokens]:
        """The skip connection of the MLP, and norm2's output."""
        skip, branch = self.ops.fork(x)
        return skip, self.norm2(branch)

    def add_mlp(self, skip: Tokens, normed: Tokens) -> Tokens:
        """The block's output, from the results of `before_mlp`."""
        branch = self.mlp(normed)
        x = self.ops.add(skip, self.ls2(branch) if self.config.layer_scale else branch)
        sow_intermediate(self, "output", x)
        return x


class ViT(nn.Module):
    """The whole model: image -> `embed` -> blocks -> `classify` -> logits.

    `embed` and `classify` can be called by themselves, so that the shared pass can run the blocks between them.

    Example:
        >>> forward = jax.jit(vitjax.ViT(model.config).apply)
        >>> forward({"params": model.params}, model.preprocess(image)[0]).shape
        (10,)
    """

    config: ViTConfig
    ops: Ops = GRADIENT

    def setup(self) -> None:
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
        if cfg.embedding:
            self.head = Linear(cfg.embedding, self.ops)
        if cfg.num_classes:
            if cfg.similarity:
                self.classes = Linear(cfg.num_classes, self.ops)
            else:
                self.head = Linear(cfg.num_classes, self.ops)
            if cfg.distilled:
                self.head_dist = Linear(cfg.num_classes, self.ops)

    def embed(self, image: Image) -> Tokens:
        """Tokens [n, c] that enter block 0."""
        cfg = self.config
        patches = self.patch_embed(image)
        names = ("cls_token", "dist_token", "reg_token")
        present = (cfg.class_token, cfg.distilled, bool(cfg.registers))
        prefix = [getattr(self, name) for name, is_present in zip(names, present, strict=True) if is_present]
        if cfg.position_on_prefix:
            tokens = self.ops.add(jnp.concatenate([*prefix, patches]), self.pos_embed)
        else:
            tokens = jnp.concatenate([*prefix, self.ops.add(patches, self.pos_embed)])
        return self.norm_pre(tokens) if cfg.pre_norm else tokens

    def classify(self, tokens: Tokens, weights: Row | None = None) -> Logits:
        """Logits [k] of the tokens [n, c] that leave a block; the pooled features [c], or the embedding that `head`
        computes of them, if the model has no classes.

        Args:
            tokens: residual stream after a block.
            weights: [n], pool the tokens with these weights instead of the model's own (for both heads of a distilled
                model); the final norm then follows pooling.
        """
        cfg = self.config
        norm_first = weights is None and not cfg.fc_norm
        tokens = self.final_norm(tokens) if norm_first else tokens

        def pooled_features(pool_weights: Row) -> Array:
            pooled = self.ops.pool(tokens, pool_weights)
            return pooled if norm_first else self.final_norm(pooled)

        if cfg.distilled:
            both_weights = jnp.asarray(np.eye(2, cfg.tokens), tokens.dtype) if weights is None else (weights, weights)
            both = [pooled_features(pool_weights) for pool_weights in both_weights]
            if cfg.num_classes:
                both = [self.head(both[0]), self.head_dist(both[1])]
            return self.ops.scale(self.ops.add(*both), 0.5)
        features = pooled_features(cfg.readout_weights().astype(tokens.dtype) if weights is None else weights)
        if cfg.embedding:
            features = self.head(features)
        if cfg.similarity:
            return self.classes(self.ops.normalise(features))
        return self.head(features) if cfg.num_classes else features

    def __call__(self, image: Image) -> Logits:
        tokens = self.embed(image)
        if self.config.peeled and self._only_logits_are_read():
            return self.classify(self._run_peeled_blocks(tokens))
        scan_blocks = nn.scan(
            lambda block, x: (block(x), None),
            variable_axes=COLLECTIONS,
            split_rngs={"params": True},
            length=self.config.depth,
        )
        tokens, _ = scan_blocks(self.blocks, tokens)
        return self.classify(tokens)

    def _only_logits_are_read(self) -> bool:
        """Whether this call returns the logits only: no relevance rules, no sown values, no perturbations."""
        mutable = any(self.is_mutable_collection(collection) for collection in COLLECTIONS)
        return self.ops == GRADIENT and not mutable and set(self.blocks.variables) == {"params"}

    def _run_peeled_blocks(self, tokens: Tokens) -> Tokens:
        """Output of the last block at the tokens that the head reads, 0 elsewhere; that block is outside the loop."""
        cfg, blocks = self.config, self.blocks.variables["params"]
        fused = active_kernels().cudnn_attention and cudnn_takes(tokens.dtype, cfg.width // cfg.heads)

        def run_block(x: Tokens, number: Array | int, token_slice: slice | None = None) -> Any:
            block = Block(cfg, self.ops, fused and token_slice is None, parent=None)
            return block.apply({"params": block_params(blocks, number)}, x, token_slice)

        last, readout_slice = cfg.depth - 1, cfg.readout_slice
        tokens, _ = lax.scan(lambda x, number: (run_block(x, number), None), tokens, jnp.arange(last))
        return jnp.zeros_like(tokens).at[readout_slice].set(run_block(tokens, last, readout_slice))


class PatchEmbed(nn.Module):
    """Non-overlapping patches in row-major order through one linear map (a convolution with stride = kernel size)."""

    config: ViTConfig
    ops: Ops

    @nn.compact
    def __call__(self, image: Image) -> Tokens:
        (height, width), p = self.config.grid, self.config.patch_size
        patches = image.reshape(height, p, width, p, 3).transpose(0, 2, 1, 3, 4).reshape(height * width, p * p * 3)
        pixel_ops = self.ops._replace(linear=self.ops.pixels)
        return Linear(self.config.width, pixel_ops, self.config.patch_bias, name="proj")(patches)
