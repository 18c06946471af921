"""The model cut where a sweep needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vitjax.nn.ops import Ops
from vitjax.nn.vit import Block, ViT
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Attended, Heads, Image, Logits, Params, Tokens

TokenSlice = slice | None  # None: all
Precomputed = Any  # {"attn": {"qkv": {"result": [n, 3c]}}, "mlp": ...}, or None


class Stages(NamedTuple):
    """Pure functions of the parameters, under one table of arithmetic.

    A block is cut in four, at its norms' outputs and the stream after attention. Where a stage takes offsets, the
    gradient by an offset is that by what it is added to. Its last argument, known, is None or some of the results of
    linear layers that `block` gave: they are not computed again.

    embed: (params, offsets, image) -> tokens entering block 0.
    block: (params of one block, tokens, rows) -> stream after attention, output, of these rows alone; and the results
        of linear layers, nested as the parameters are.
    before_attention: (params of one block, tokens) -> what passes attention by, norm1's output.
    add_attention: (..., offsets, these two, rows, known) -> stream after attention at these rows, intermediates of all.
    before_mlp: (..., stream after attention) -> what passes the MLP by, norm2's output.
    add_mlp: (..., offsets, these two, known) -> output.
    transform: the last two in one, without offsets.
    from_attention: (..., arguments of `Block.from_attention`) -> stream after attention.
    classify: (params, tokens[, weights]) -> logits.
    """

    embed: Callable[[Params, Any, Image], Tokens]
    block: Callable[[Params, Tokens, TokenSlice], tuple[Tokens, Tokens, Precomputed]]
    before_attention: Callable[[Params, Tokens], tuple[Tokens, Tokens]]
    add_attention: Callable[[Params, Any, Tokens, Tokens, TokenSlice, Precomputed], tuple[Tokens, Any]]
    before_mlp: Callable[[Params, Tokens], tuple[Tokens, Tokens]]
    add_mlp: Callable[[Params, Any, Tokens, Tokens, Precomputed], Tokens]
    transform: Callable[[Params, Tokens], Tokens]
    from_attention: Callable[[Params, Tokens, Attended, Heads], Tokens]
    classify: Callable[..., Logits]
    embed_zeros: Any  # a zero for the patch embedding's result
    zeros: Callable[[TokenSlice], tuple[Any, Any]]  # offsets of `add_attention` at these rows, and of `add_mlp`


def stages(config: ViTConfig, ops: Ops, dtype: Any) -> Stages:
    """Of the model `ViT(config, ops)`."""
    vit: Any = ViT(config, ops)
    block: Any = Block(config, ops)

    def variables(params, perturbations, precomputed=None):
        # Flax wants all of a collection or no collection at all.
        found = {"params": params, "perturbations": perturbations, "known": precomputed}
        return {name: each for name, each in found.items() if each is not None}

    def embed(params, perturbations, image):
        return vit.apply(variables(params, perturbations), image.astype(dtype), method="embed")

    def plain(method):
        return lambda params, *inputs: block.apply({"params": params}, *inputs, method=method)

    def both_halves(params, *inputs):
        found, state = block.apply({"params": params}, *inputs, mutable=["results"], method="halves")
        return *found, state["results"]

    def add_attention(params, perturbations, skip, normed, token_slice, precomputed):
        middle, state = block.apply(
            variables(params, perturbations, precomputed),
            *(skip, normed, token_slice),
            mutable=["intermediates"],
            method="add_attention",
        )
        return middle, state["intermediates"]["attn"]

    def add_mlp(params, perturbations, skip, normed, precomputed):
        return block.apply(variables(params, perturbations, precomputed), skip, normed, method="add_mlp")

    def zeros(token_slice):
        tokens = jnp.zeros((config.tokens, config.width), dtype)
        shapes = jax.eval_shape(lambda key: block.init(key, tokens, token_slice), jax.random.key(0))["perturbations"]
        found = jax.tree.map(lambda s: jnp.zeros(s.shape, dtype), shapes)
        return {"attn": found["attn"]}, {"mlp": found["mlp"]}

    patches = jnp.zeros((config.tokens - config.prefix, config.width), dtype)
    return Stages(
        embed=embed,
        block=both_halves,
        before_attention=plain("before_attention"),
        add_attention=add_attention,
        before_mlp=plain("before_mlp"),
        add_mlp=add_mlp,
        transform=plain("transform"),
        from_attention=plain("from_attention"),
        classify=lambda params, x, *weights: vit.apply({"params": params}, x, *weights, method="classify"),
        embed_zeros={"patch_embed": {"proj": {"result": patches}}},
        zeros=zeros,
    )
