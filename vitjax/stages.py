"""The model cut where a sweep needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vitjax.ops import Ops
from vitjax.shapes import Attended, Heads, Image, Logits, Params, Tokens
from vitjax.vit import Block, ViT, ViTConfig


class Stages(NamedTuple):
    """Pure functions of the parameters, under one table of arithmetic.

    embed: (params, offsets, image) -> tokens entering block 0. block: (params of one block, tokens) -> tokens.
    observe: (..., offsets, tokens) -> tokens, intermediates; the gradient by an offset is that by what it is added
    to. from_attention: `Block.from_attention`. classify: (params, tokens[, weights]) -> logits.
    """

    embed: Callable[[Params, Any, Image], Tokens]
    block: Callable[[Params, Tokens], Tokens]
    observe: Callable[[Params, Any, Tokens], tuple[Tokens, Any]]
    from_attention: Callable[[Params, Tokens, Attended, Heads], Tokens]
    classify: Callable[..., Logits]
    embed_zeros: Any  # a zero for the patch embedding's result
    zeros: Any  # a zero for everything a block lets be perturbed


def stages(config: ViTConfig, ops: Ops, dtype: Any) -> Stages:
    """Of the model `ViT(config, ops)`."""
    vit: Any = ViT(config, ops)
    block: Any = Block(config, ops)

    def variables(params, perturbations):
        # Flax wants all perturbations or no collection at all.
        return {"params": params} if perturbations is None else {"params": params, "perturbations": perturbations}

    def embed(params, perturbations, image):
        return vit.apply(variables(params, perturbations), image.astype(dtype), method="embed")

    def observe(params, perturbations, x):
        output, state = block.apply(variables(params, perturbations), x, mutable=["intermediates"])
        return output, state["intermediates"]

    tokens = jax.ShapeDtypeStruct((config.tokens, config.width), dtype)
    shapes = jax.eval_shape(block.init, jax.random.key(0), tokens)["perturbations"]
    patches = jnp.zeros((config.tokens - config.prefix, config.width), dtype)
    return Stages(
        embed=embed,
        block=lambda params, x: block.apply({"params": params}, x),
        observe=observe,
        from_attention=lambda params, *inputs: block.apply({"params": params}, *inputs, method="from_attention"),
        classify=lambda params, x, *weights: vit.apply({"params": params}, x, *weights, method="classify"),
        embed_zeros={"patch_embed": {"proj": {"result": patches}}},
        zeros=jax.tree.map(lambda s: jnp.zeros(s.shape, dtype), shapes),
    )
