"""One block in the backward pass: its gradients and its relevance, for all folds of the pass at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, Gradient, LayerTrace
from vitjax.layerwise.head import subtract_negative
from vitjax.layerwise.stages import Precomputed, Stages, TokenSlice
from vitjax.layerwise.target import logit_of
from vitjax.nn.attention import without_padding
from vitjax.nn.block import block_params
from vitjax.nn.ops import GRADIENT, Ops
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Params, Row, SomeTokens, Target, Tokens, at_least_float32


class PassContext(NamedTuple):
    """What is the same for all blocks of a pass."""

    config: ViTConfig
    params: Params  # of the whole model
    models: Mapping[Ops, Stages]  # under GRADIENT, which comes first, and under each table of rules
    flows: Sequence[tuple[Any, Ops]]  # cotangents through every block, as (score or table, table)
    folds: Sequence[Fold]
    gradients: Sequence[Gradient]  # that the folds ask for
    target: Target
    readout: Row  # weights by which the head pools the tokens


class Residuals(NamedTuple):
    """What the forward pass saves of a block. In the last block `middle` may hold the tokens `readout_slice` only."""

    number: Array
    tokens: Tokens  # entering the block
    middle: Tokens  # the stream after attention
    precomputed: Precomputed  # outputs of linear layers, or None


class Carry(NamedTuple):
    """What the backward pass hands from one block to the one below it."""

    output: Tokens  # of the block below; zero where nothing reads the last block's
    cotangents: Sequence[Tokens]  # of that output, one for each flow
    residual: Tokens  # gradient of the logit along the residual stream and the MLPs, at `config.readout_slice`
    folds: Sequence[Any]  # each fold's own carry


class BlockVJP(NamedTuple):
    """The vjp of every stage of a block."""

    before_attention: Callable[..., Any]
    add_attention: Callable[..., Any]
    before_mlp: Callable[..., Any]
    add_mlp: Callable[..., Any]


class Activations(NamedTuple):
    """Activations of one block at every token."""

    tokens: Tokens
    normed: Tokens
    middle: Tokens
    output: Tokens
    attn: Mapping[str, Array]  # scores, attention, values


def step_back(
    context: PassContext, carry: Carry, residuals: Residuals, token_slice: TokenSlice = None
) -> tuple[Carry, list[Any]]:
    """Pull all cotangents back through one block and let every fold take its step.

    Args:
        token_slice: `config.readout_slice` in the last block, where no other token has a cotangent. What follows
            attention is then computed at these tokens only, unless a fold reads the others.

    Returns: the carry for the block below, and the summaries of folds that do not step in the backward pass.
    """
    params = block_params(context.params["blocks"], residuals.number)
    normed, attn, block_vjps = _linearised(context, params, residuals, token_slice)
    activations = Activations(residuals.tokens, normed, residuals.middle, carry.output, attn)
    if token_slice is not None:
        activations = at_every_token(context.models[GRADIENT], params, activations)
    bare = bare_trace(residuals.number, params, activations, context.readout)
    traces: dict[Gradient | None, LayerTrace] = {None: bare}
    relevance: dict[Any, dict[str, Any]] = {None: {}}
    below = []
    for (key, ops), cotangent in zip(context.flows, carry.cotangents, strict=True):
        vjp = block_vjps[ops]
        by_mlp, *mlp_inputs = vjp.add_mlp(cotangent)
        (middle_cotangent,) = vjp.before_mlp(tuple(mlp_inputs))
        by_attention, skip_cotangent, normed_cotangent = vjp.add_attention(middle_cotangent)
        (tokens_cotangent,) = vjp.before_attention((skip_cotangent, normed_cotangent))
        by_offsets = without_padding(context.config, by_attention["attn"])
        below.append(tokens_cotangent)
        if ops is GRADIENT:
            streams = tokens_cotangent, normed_cotangent, middle_cotangent, cotangent
            fields = _gradients(*streams, by_offsets, by_mlp["mlp"])
            traces[key] = bare._replace(**zero_elsewhere(context.config, fields, token_slice))
        else:
            fields = {
                "tokens_relevance": at_least_float32(tokens_cotangent),
                "attention_relevance": at_least_float32(by_offsets["attention"]),
            }
            relevance[key] = zero_elsewhere(context.config, fields, token_slice)
    relevance = subtract_negative(relevance)
    traces |= (partial_traces := _traces_of_slices(context, params, carry, activations, bare))
    residual = carry.residual
    if "residual" in partial_traces:
        residual = partial_traces["residual"].middle_grad.astype(residual.dtype)
    summaries = [fold.summarise(traces[fold.gradient]._replace(**relevance[fold.rules])) for fold in context.folds]
    folds, summaries = step_folds(context.folds, carry.folds, summaries, residuals.number)
    return Carry(residuals.tokens, below, residual, folds), summaries


def _linearised(
    context: PassContext, params: Params, residuals: Residuals, token_slice: TokenSlice
) -> tuple[Tokens, Mapping[str, Array], dict[Ops, BlockVJP]]:
    """norm1's output, the intermediates of attention, and the block's vjps under every table.

    All tables are linearised at the values that GRADIENT computes, so that XLA merges their equal products. The MLP is
    linearised at the saved stream after attention, which is therefore not rematerialised.
    """
    attention_offsets, mlp_offsets = context.models[GRADIENT].zeros(token_slice)
    attention_inputs = mlp_inputs = attn = None
    block_vjps: dict[Ops, BlockVJP] = {}
    for ops, stages in context.models.items():

        def add_attention(
            offsets: Any, skip: Tokens, normed: Tokens, stages: Stages = stages
        ) -> tuple[SomeTokens, Any]:
            return stages.add_attention(params, offsets, skip, normed, token_slice, residuals.precomputed)

        def add_mlp(offsets: Any, skip: Tokens, normed: Tokens, stages: Stages = stages) -> Tokens:
            return stages.add_mlp(params, offsets, skip, normed, residuals.precomputed)

        inputs, before_attention = jax.vjp(partial(stages.before_attention, params), residuals.tokens)
        attention_inputs = attention_inputs or inputs
        _, add_attention_vjp, intermediates = jax.vjp(add_attention, attention_offsets, *attention_inputs, has_aux=True)
        attn = attn or intermediates
        inputs, before_mlp = jax.vjp(partial(stages.before_mlp, params), residuals.middle)
        mlp_inputs = mlp_inputs or inputs
        _, add_mlp_vjp = jax.vjp(add_mlp, mlp_offsets, *mlp_inputs)
        block_vjps[ops] = BlockVJP(before_attention, add_attention_vjp, before_mlp, add_mlp_vjp)
    assert attention_inputs is not None and attn is not None
    return attention_inputs[1], attn, block_vjps


def at_every_token(model: Stages, params: Params, activations: Activations) -> Activations:
    """The same with `middle` and `output` at every token. XLA computes them only if a fold reads them."""
    middle = model.from_attention(params, activations.tokens, activations.attn["attention"], activations.attn["values"])
    return activations._replace(middle=middle, output=model.transform(params, middle))


def bare_trace(number: Array, params: Params, activations: Activations, readout: Row) -> LayerTrace:
    """A trace of activations, without gradients or relevance."""
    return LayerTrace(
        layer=number,
        params=params,
        tokens=at_least_float32(activations.tokens),
        normed=at_least_float32(activations.normed),
        middle=at_least_float32(activations.middle),
        output=at_least_float32(activations.output),
        values=at_least_float32(activations.attn["values"]),
        scores=at_least_float32(activations.attn["scores"]),
        attention=at_least_float32(activations.attn["attention"]),
        readout=readout,
    )


def _gradients(
    tokens_grad: Tokens,
    normed_grad: Tokens,
    middle_grad: SomeTokens,
    output_grad: SomeTokens,
    attn: Mapping[str, Any],
    mlp: Mapping[str, Any],
) -> dict[str, Any]:
    """Gradient fields of a LayerTrace. attn, mlp: gradients by the offsets of attention and of the MLP."""
    linear = {"qkv": attn["qkv"], "proj": attn["proj"], "fc1": mlp["fc1"], "fc2": mlp["fc2"]}
    return {
        "tokens_grad": at_least_float32(tokens_grad),
        "normed_grad": at_least_float32(normed_grad),
        "middle_grad": at_least_float32(middle_grad),
        "output_grad": at_least_float32(output_grad),
        "scores_grad": at_least_float32(attn["scores"]),
        "attention_grad": at_least_float32(attn["attention"]),
        "linear_grads": {name: at_least_float32(layer["result"]) for name, layer in linear.items()},
    }


def zero_elsewhere(config: ViTConfig, fields: Any, token_slice: TokenSlice) -> Any:
    """Arrays at the tokens of the slice -> at every token, zero outside it: [r, c] -> [n, c], [h, r, m] -> [h, n, m].

    Arrays that hold every token pass unchanged.
    """

    def pad(x: Array) -> Array:
        if token_slice is None or x.shape[-2] == config.tokens:
            return x
        after = config.tokens - token_slice.stop
        return jnp.pad(x, [*[(0, 0)] * (x.ndim - 2), (token_slice.start, after), (0, 0)])

    return jax.tree.map(pad, fields)


def _traces_of_slices(
    context: PassContext, params: Params, carry: Carry, activations: Activations, bare: LayerTrace
) -> dict[Any, LayerTrace]:
    """Traces of the gradients "residual", "local" and "local_mean", which exist at some tokens only."""
    model, config = context.models[GRADIENT], context.config
    mean = jnp.full(config.tokens, 1 / config.tokens, activations.tokens.dtype)

    def of_own_output(output: Tokens, *weights: Array) -> Tokens:
        return jax.grad(lambda x: logit_of(model.classify(context.params, x, *weights), context.target))(output)

    starts = {
        "residual": (config.readout_slice, lambda: carry.residual),
        "local": (config.readout_slice, lambda: of_own_output(carry.output)[config.readout_slice]),
        "local_mean": (slice(None), lambda: of_own_output(activations.output, mean)),
    }
    traces: dict[Any, LayerTrace] = {}
    for gradient in [name for name in starts if name in context.gradients]:
        token_slice, cotangent = starts[gradient][0], starts[gradient][1]()
        _, transform_vjp = jax.vjp(partial(model.transform, params), activations.middle[token_slice])
        (middle_grad,) = transform_vjp(cotangent)

        def from_attention(attention: Array, token_slice: slice = token_slice) -> SomeTokens:
            return model.from_attention(params, activations.tokens[token_slice], attention, activations.attn["values"])

        _, attention_vjp = jax.vjp(from_attention, activations.attn["attention"][:, token_slice])
        (attention_grad,) = attention_vjp(middle_grad)
        traces[gradient] = bare._replace(
            output_grad=at_least_float32(cotangent),
            middle_grad=at_least_float32(middle_grad),
            attention_grad=at_least_float32(attention_grad),
        )
    return traces


def step_folds(
    folds: Sequence[Fold], carries: Sequence[Any], summaries: Sequence[Any], number: Array
) -> tuple[tuple[Any, ...], list[Any]]:
    """One layer of every fold that steps in the backward pass; the others' summaries are returned for storage.

    Returns: the folds' carries, and their summaries (None for folds that stepped).
    """
    stepped, stored = [], []
    for fold, carry, summary in zip(folds, carries, summaries, strict=True):
        backward = fold.order == "output_to_input"
        stepped.append(fold.step(carry, summary, number) if backward else carry)
        stored.append(None if backward else summary)
    return tuple(stepped), stored
