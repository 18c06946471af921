"""The model as the pure functions that the shared pass differentiates one by one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from vitjax.nn.attention import fuses_attention
from vitjax.nn.block import Block
from vitjax.nn.ops import GRADIENT, Ops
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Attended, Image, Logits, Params, Pooling, SomeTokens, Tokens, Values

TokenSlice = slice | None  # None: all
Precomputed = Any  # {"attn": {"qkv": {"result": [n, 3c]}}, "mlp": ...}, or None


class Stages(NamedTuple):
    """Pure functions of the parameters, under one table of arithmetic.

    A block is four stages, which meet at the outputs of its norms and at the stream after attention. Offsets are zeros
    that a stage adds to intermediate values: the gradient by an offset is the gradient by that value. `precomputed` is
    None, or outputs of linear layers as `block` returns them; they are then not rematerialised.

    embed: (params, offsets, image) -> tokens entering block 0.
    block: (block's params, tokens, token_slice) -> stream after attention and output, both at the tokens of the slice,
        and outputs of linear layers, nested as the parameters are.
    before_attention: (block's params, tokens) -> the residual branch past attention, norm1's output.
    add_attention: (block's params, offsets, *these two, token_slice, precomputed) -> stream after attention at the
        tokens of the slice, intermediates at every token.
    before_mlp: (block's params, stream after attention) -> the residual branch past the MLP, norm2's output.
    add_mlp: (block's params, offsets, *these two, precomputed) -> output.
    transform: `before_mlp` and `add_mlp` in one, without offsets.
    from_attention: (block's params, *arguments of `Block.from_attention`) -> stream after attention.
    classify: (params, tokens[, weights]) -> logits.
    pool: (params, offsets, tokens) -> logits, the attention [h, 1, n] of a pooling head.
    embed_zeros: the offset of `embed`. zeros: token_slice -> offsets of `add_attention` and of `add_mlp`. pool_zeros:
        () -> offsets of `pool`.
    """

    embed: Callable[[Params, Any, Image], Tokens]
    block: Callable[[Params, Tokens, TokenSlice], tuple[Tokens, Tokens, Precomputed]]
    before_attention: Callable[[Params, Tokens], tuple[Tokens, Tokens]]
    add_attention: Callable[[Params, Any, Tokens, Tokens, TokenSlice, Precomputed], tuple[SomeTokens, Any]]
    before_mlp: Callable[[Params, Tokens], tuple[Tokens, Tokens]]
    add_mlp: Callable[[Params, Any, Tokens, Tokens, Precomputed], Tokens]
    transform: Callable[[Params, Tokens], Tokens]
    from_attention: Callable[[Params, SomeTokens, Attended, Values], SomeTokens]
    classify: Callable[..., Logits]
    pool: Callable[[Params, Any, Tokens], tuple[Logits, Pooling]]
    embed_zeros: Any
    zeros: Callable[[TokenSlice], tuple[Any, Any]]
    pool_zeros: Callable[[], Any]


def stages(config: ViTConfig, ops: Ops, dtype: Any) -> Stages:
    """The stages of the model `ViT(config, ops)` with parameters of this dtype."""
    vit: Any = ViT(config, ops)
    block: Any = Block(config, ops)

    def embed(params: Params, perturbations: Any, image: Image) -> Tokens:
        return vit.apply(_variables(params, perturbations), image.astype(dtype), method="embed")

    def plain(method: str) -> Callable[..., Any]:
        return lambda params, *inputs: block.apply({"params": params}, *inputs, method=method)

    def both_halves(params: Params, tokens: Tokens, token_slice: TokenSlice) -> tuple[SomeTokens, SomeTokens, Any]:
        fused = ops == GRADIENT and token_slice is None and fuses_attention(config, tokens.dtype)
        module = cast(Any, Block(config, ops, fused))
        inputs = {"params": params}, tokens, token_slice
        (middle, output), state = module.apply(*inputs, mutable=["results"], method="halves")
        return middle, output, state["results"]

    def add_attention(
        params: Params,
        perturbations: Any,
        skip: Tokens,
        normed: Tokens,
        token_slice: TokenSlice,
        precomputed: Precomputed,
    ) -> tuple[SomeTokens, Any]:
        middle, state = block.apply(
            _variables(params, perturbations, precomputed),
            *(skip, normed, token_slice),
            mutable=["intermediates"],
            method="add_attention",
        )
        return middle, state["intermediates"]["attn"]

    def add_mlp(params: Params, perturbations: Any, skip: Tokens, normed: Tokens, precomputed: Precomputed) -> Tokens:
        return block.apply(_variables(params, perturbations, precomputed), skip, normed, method="add_mlp")

    def zeros(token_slice: TokenSlice) -> tuple[Any, Any]:
        tokens = jnp.zeros((config.tokens, config.width), dtype)
        shapes = jax.eval_shape(lambda key: block.init(key, tokens, token_slice), jax.random.key(0))["perturbations"]
        offsets = jax.tree.map(lambda shape: jnp.zeros(shape.shape, dtype), shapes)
        return {"attn": offsets["attn"]}, {"mlp": offsets["mlp"]}

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
        pool=partial(_pool, vit),
        embed_zeros={"patch_embed": {"proj": {"result": patches}}},
        zeros=zeros,
        pool_zeros=partial(_pool_zeros, vit, dtype),
    )


def _variables(params: Params, perturbations: Any, precomputed: Precomputed = None) -> dict[str, Any]:
    # Flax accepts a complete collection or none.
    collections = {"params": params, "perturbations": perturbations, "known": precomputed}
    return {name: collection for name, collection in collections.items() if collection is not None}


def _pool(vit: Any, params: Params, perturbations: Any, tokens: Tokens) -> tuple[Logits, Pooling]:
    logits, state = vit.apply(_variables(params, perturbations), tokens, mutable=["intermediates"], method="classify")
    return logits, state["intermediates"]["attn_pool"]["attention"]


def _pool_zeros(vit: Any, dtype: Any) -> Any:
    tokens = jnp.zeros((vit.config.tokens, vit.config.width), dtype)
    init = partial(vit.init, method="classify")
    shapes = jax.eval_shape(init, jax.random.key(0), tokens)["perturbations"]
    return jax.tree.map(lambda shape: jnp.zeros(shape.shape, dtype), shapes)
