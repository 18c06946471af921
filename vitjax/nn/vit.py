"""The Vision Transformer for ONE image; batch with `jax.vmap`.

Parameters have timm's names (`blocks.attn.qkv`, `norm1`, `mlp.fc1`, `head` ...), with a leading layer axis under
`blocks`. Modules store their intermediate values (`sow`). Values that explainers differentiate by are open to
perturbation (`perturb`): scores, attention and the result of every linear layer.
"""

from __future__ import annotations

from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from vitjax.nn.attention import AttentionPool, fuses_attention
from vitjax.nn.block import COLLECTIONS, Block, block_params
from vitjax.nn.layers import Linear, norm_layer, plain_norm
from vitjax.nn.ops import GRADIENT, Ops
from vitjax.nn.stem import ConvStem, Projection
from vitjax.nn.stem_config import Stem
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Logits, Row, Tokens


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
        if cfg.position_table:
            self.pos_embed = self.param("pos_embed", small, (cfg.position_tokens, cfg.width))
        if cfg.pre_norm:
            self.norm_pre = norm_layer(cfg, self.ops)
        self.blocks = Block(cfg, self.ops)
        if cfg.final_norm:
            final = norm_layer(cfg, self.ops, "fc_norm" if cfg.fc_norm else "norm")
            self.final_norm = final
        if cfg.pools_by_attention:
            self.attn_pool = AttentionPool(cfg, self.ops)
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
        if not cfg.position_table:
            tokens = jnp.concatenate([*prefix, patches])
        elif cfg.position_on_prefix:
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
                model); the final norm then follows pooling. Not for a model that pools by attention.
        """
        cfg = self.config
        norm_first = cfg.final_norm and weights is None and not cfg.fc_norm
        tokens = self.final_norm(tokens) if norm_first else tokens

        def pooled_features(pool_weights: Row | None) -> Array:
            pooled = self._pool(tokens) if pool_weights is None else self.ops.pool(tokens, pool_weights)
            if cfg.pool == "token_avg" and pool_weights is not None:
                pooled = jnp.concatenate([pooled, pooled])
            return self.final_norm(pooled) if cfg.final_norm and not norm_first else pooled

        if cfg.distilled:
            both_weights = jnp.asarray(np.eye(2, cfg.tokens), tokens.dtype) if weights is None else (weights, weights)
            both = [pooled_features(pool_weights) for pool_weights in both_weights]
            if cfg.num_classes:
                both = [self.head(both[0]), self.head_dist(both[1])]
            return self.ops.scale(self.ops.add(*both), 0.5)
        features = pooled_features(weights)
        features = plain_norm(cfg, self.ops, features) if cfg.head_norm else features
        if cfg.embedding:
            features = self.head(features)
        if cfg.similarity:
            return self.classes(self.ops.normalise(features))
        return self.head(features) if cfg.num_classes else features

    def _pool(self, tokens: Tokens) -> Array:
        """Features that the model pools from the tokens: [c], or [2c] of a model that reads class token and patches."""
        cfg = self.config
        if cfg.pools_by_attention:
            return self.attn_pool(tokens[cfg.readout_slice])
        if cfg.pool == "token_avg":
            both = np.eye(1, cfg.tokens)[0], cfg.patch_weights()
            return jnp.concatenate([self.ops.pool(tokens, jnp.asarray(w, tokens.dtype)) for w in both])
        return self.ops.pool(tokens, cfg.readout_weights().astype(tokens.dtype))

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
        fused = fuses_attention(cfg, tokens.dtype)

        def run_block(x: Tokens, number: Array | int, token_slice: slice | None = None) -> Any:
            block = Block(cfg, self.ops, fused and token_slice is None, parent=None)
            return block.apply({"params": block_params(blocks, number)}, x, token_slice)

        last, readout_slice = cfg.depth - 1, cfg.readout_slice
        tokens, _ = lax.scan(lambda x, number: (run_block(x, number), None), tokens, jnp.arange(last))
        return jnp.zeros_like(tokens).at[readout_slice].set(run_block(tokens, last, readout_slice))


class PatchEmbed(nn.Module):
    """Non-overlapping patches in row-major order through one linear map (a convolution with stride = kernel size).

    The patches are of the image, or of the output of a convolutional stem.
    """

    config: ViTConfig
    ops: Ops

    @nn.compact
    def __call__(self, image: Image) -> Tokens:
        tokens = self._patches_of_pixels(image) if self.config.stem is None else self._patches_of_features(image)
        return norm_layer(self.config, self.ops, "norm")(tokens) if self.config.patch_norm else tokens

    def _patches_of_features(self, image: Image) -> Tokens:
        cfg = self.config
        stem = cast(Stem, cfg.stem)
        features = ConvStem(stem, self.ops, name="stem")(image)
        return Projection(cfg.width, cfg.patch_size // stem.stride, self.ops, cfg.patch_bias, name="proj")(features)

    def _patches_of_pixels(self, image: Image) -> Tokens:
        cfg, ((height, width), p) = self.config, (self.config.grid, self.config.patch_size)
        image = image[: height * p, : width * p]  # the whole image, unless the configuration drops a remainder
        patches = image.reshape(height, p, width, p, 3).transpose(0, 2, 1, 3, 4).reshape(height * width, p * p * 3)
        pixel_ops = self.ops._replace(linear=self.ops.pixels)
        return Linear(cfg.width, pixel_ops, cfg.patch_bias, name="proj")(patches)
