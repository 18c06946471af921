"""One block on the way back: its gradients and its relevance, for all folds of a sweep at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, Gradient, LayerTrace, wide
from vitjax.layerwise.stages import Precomputed, Stages, TokenSlice
from vitjax.nn.ops import GRADIENT, Ops
from vitjax.nn.vit import block_params
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Params, Target, Tokens


class PassContext(NamedTuple):
    """What is the same for all blocks."""

    config: ViTConfig
    params: Params  # of the whole model
    cut: Mapping[Ops, Stages]  # under GRADIENT and under every table of rules
    flows: Sequence[tuple[Any, Ops]]  # what goes through every block: (name, table), a score or the table itself
    folds: Sequence[Fold]
    gradients: Sequence[Gradient]  # that the folds ask for
    target: Target


class Residuals(NamedTuple):
    """What the forward pass saves of a block. In the last block `middle` may hold the tokens `readout_slice` only."""

    number: Array
    tokens: Tokens  # that entered it
    middle: Tokens  # the stream after attention
    precomputed: Precomputed  # results of linear layers, or None


class Carry(NamedTuple):
    """What the way back hands down from block to block."""

    output: Tokens  # of the block below; of the last one it may be zero where the head does not read it
    cotangents: Sequence[Tokens]  # by that output, one of each flow
    residual: Tokens  # gradient of the logit along the residual stream and the MLPs, at `config.readout_slice`
    carries: Sequence[Any]  # one of each fold


class BlockVJP(NamedTuple):
    """The vjp of every stage of a block."""

    before_attention: Callable[..., Any]
    add_attention: Callable[..., Any]
    before_mlp: Callable[..., Any]
    add_mlp: Callable[..., Any]


class Activations(NamedTuple):
    """Of a block, at all tokens."""

    tokens: Tokens
    normed: Tokens
    middle: Tokens
    output: Tokens
    attn: Mapping[str, Array]  # scores, attention, values


def step_back(
    plan: PassContext, state: Carry, kept: Residuals, token_slice: TokenSlice = None
) -> tuple[Carry, list[Any]]:
    """From above a block to below it; and the summaries of folds that do not step on the way back.

    token_slice: `config.readout_slice` in the last block, where no other token has a cotangent. What follows attention
    is then computed at these tokens only, unless a fold reads the others.
    """
    params = block_params(plan.params["blocks"], kept.number)
    normed, attn, block_vjps = _linearised(plan, params, kept, token_slice)
    activations = Activations(kept.tokens, normed, kept.middle, state.output, attn)
    if token_slice is not None:
        activations = at_all_rows(plan.cut[GRADIENT], params, activations)
    bare = bare_trace(kept.number, params, activations)
    traces: dict[Gradient | None, LayerTrace] = {None: bare}
    relevance: dict[Any, dict[str, Any]] = {None: {}}
    below = []
    for (name, ops), cotangent in zip(plan.flows, state.cotangents, strict=True):
        block_vjp = block_vjps[ops]
        by_mlp, *entered = block_vjp.add_mlp(cotangent)
        (middle_cotangent,) = block_vjp.before_mlp(tuple(entered))
        by_attention, skip_cotangent, normed_cotangent = block_vjp.add_attention(middle_cotangent)
        (tokens_cotangent,) = block_vjp.before_attention((skip_cotangent, normed_cotangent))
        below.append(tokens_cotangent)
        if ops is GRADIENT:
            streams = tokens_cotangent, normed_cotangent, middle_cotangent, cotangent
            found = _gradients(*streams, by_attention["attn"], by_mlp["mlp"])
            traces[name] = bare._replace(**at_all_tokens(plan.config, found, token_slice))
        else:
            found = {
                "tokens_relevance": wide(tokens_cotangent),
                "attention_relevance": wide(by_attention["attn"]["attention"]),
            }
            relevance[name] = at_all_tokens(plan.config, found, token_slice)
    traces |= (on_rows := _on_rows(plan, params, state, activations, bare))
    residual = on_rows["residual"].middle_grad.astype(state.residual.dtype) if "residual" in on_rows else state.residual
    summaries = [fold.summarise(traces[fold.gradient]._replace(**relevance[fold.rules])) for fold in plan.folds]
    carries, summaries = step_folds(plan.folds, state.carries, summaries, kept.number)
    return Carry(kept.tokens, below, residual, carries), summaries


def _linearised(plan: PassContext, params, kept: Residuals, token_slice: TokenSlice):
    """norm1's output, what attention shows, and under every table the vjps of the block's stages.

    Each stage starts from the same values under all tables, those of GRADIENT's: their products are computed once.
    The MLP's starts from what the way forward kept, so that attention's result is not computed again.
    """
    attention_zeros, mlp_zeros = plan.cut[GRADIENT].zeros(token_slice)
    entered = after = attn = None
    block_vjps: dict[Ops, BlockVJP] = {}
    for ops, stages in plan.cut.items():  # GRADIENT is the first

        def add_attention(offsets, skip, normed, stages=stages):
            return stages.add_attention(params, offsets, skip, normed, token_slice, kept.precomputed)

        def add_mlp(offsets, skip, normed, stages=stages):
            return stages.add_mlp(params, offsets, skip, normed, kept.precomputed)

        here, before_attention = jax.vjp(partial(stages.before_attention, params), kept.tokens)
        entered = entered or here
        _, add_attention_vjp, shown = jax.vjp(add_attention, attention_zeros, *entered, has_aux=True)
        attn = attn or shown
        here, before_mlp = jax.vjp(partial(stages.before_mlp, params), kept.middle)
        after = after or here
        _, add_mlp_vjp = jax.vjp(add_mlp, mlp_zeros, *after)
        block_vjps[ops] = BlockVJP(before_attention, add_attention_vjp, before_mlp, add_mlp_vjp)
    assert entered is not None
    return entered[1], attn, block_vjps


def at_all_rows(model: Stages, params: Params, activations: Activations) -> Activations:
    """What follows attention, also where the head does not read it: computed if a fold looks at it."""
    middle = model.from_attention(params, activations.tokens, activations.attn["attention"], activations.attn["values"])
    return activations._replace(middle=middle, output=model.transform(params, middle))


def bare_trace(number: Array, params: Params, activations: Activations) -> LayerTrace:
    """Without gradients."""
    return LayerTrace(
        layer=number,
        params=params,
        tokens=wide(activations.tokens),
        normed=wide(activations.normed),
        middle=wide(activations.middle),
        output=wide(activations.output),
        values=wide(activations.attn["values"]),
        scores=wide(activations.attn["scores"]),
        attention=wide(activations.attn["attention"]),
    )


def _gradients(tokens_grad, normed_grad, middle_grad, output_grad, attn, mlp) -> dict[str, Any]:
    """Fields of a LayerTrace; attn, mlp: gradients by offsets."""
    linear = {"qkv": attn["qkv"], "proj": attn["proj"], "fc1": mlp["fc1"], "fc2": mlp["fc2"]}
    return {
        "tokens_grad": wide(tokens_grad),
        "normed_grad": wide(normed_grad),
        "middle_grad": wide(middle_grad),
        "output_grad": wide(output_grad),
        "scores_grad": wide(attn["scores"]),
        "attention_grad": wide(attn["attention"]),
        "linear_grads": {name: wide(each["result"]) for name, each in linear.items()},
    }


def at_all_tokens(config: ViTConfig, found: Any, token_slice: TokenSlice) -> Any:
    """What has only the `token_slice` of tokens, zero at the others: [r, c] -> [n, c], [h, r, m] -> [h, n, m]."""

    def whole(x):
        if token_slice is None or x.shape[-2] == config.tokens:
            return x
        after = config.tokens - token_slice.stop
        return jnp.pad(x, [*[(0, 0)] * (x.ndim - 2), (token_slice.start, after), (0, 0)])

    return jax.tree.map(whole, found)


def _on_rows(
    plan: PassContext, params, state: Carry, activations: Activations, bare: LayerTrace
) -> dict[Any, LayerTrace]:
    """Traces of the gradients that stay on the rows of tokens that the head reads."""
    model, config = plan.cut[GRADIENT], plan.config
    mean = jnp.full(config.tokens, 1 / config.tokens, activations.tokens.dtype)

    def of_own_output(output, *weights):
        return jax.grad(lambda x: model.classify(plan.params, x, *weights)[plan.target])(output)

    starts = {
        "residual": (config.readout_slice, lambda: state.residual),
        "local": (config.readout_slice, lambda: of_own_output(state.output)[config.readout_slice]),
        "local_mean": (slice(None), lambda: of_own_output(activations.output, mean)),
    }
    traces: dict[Any, LayerTrace] = {}
    for name in [name for name in starts if name in plan.gradients]:
        token_slice, cotangent = starts[name][0], starts[name][1]()
        _, transform_vjp = jax.vjp(partial(model.transform, params), activations.middle[token_slice])
        (middle_grad,) = transform_vjp(cotangent)

        def mixed(attention, token_slice=token_slice):
            return model.from_attention(params, activations.tokens[token_slice], attention, activations.attn["values"])

        _, attention_vjp = jax.vjp(mixed, activations.attn["attention"][:, token_slice])
        (attention_grad,) = attention_vjp(middle_grad)
        traces[name] = bare._replace(
            output_grad=wide(cotangent), middle_grad=wide(middle_grad), attention_grad=wide(attention_grad)
        )
    return traces


def step_folds(folds: Sequence[Fold], carries, summaries, number):
    """One layer of every fold that steps on the way back; the others' summaries are handed on."""
    stepped, kept = [], []
    for fold, carry, summary in zip(folds, carries, summaries, strict=True):
        last_left = fold.order == "last_left"
        stepped.append(fold.step(carry, summary, number) if last_left else carry)
        kept.append(None if last_left else summary)
    return tuple(stepped), kept
