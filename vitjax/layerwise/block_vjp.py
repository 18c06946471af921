"""One block on the way back: its gradients and its relevance, for all folds of a sweep at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, Gradient, LayerTrace, wide
from vitjax.layerwise.stages import Known, Rows, Stages
from vitjax.nn.ops import GRADIENT, Ops
from vitjax.nn.vit import block_params
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Params, Target, Tokens


class Plan(NamedTuple):
    """What is the same for all blocks."""

    config: ViTConfig
    params: Params  # of the whole model
    cut: Mapping[Ops, Stages]  # under GRADIENT and under every table of rules
    flows: Sequence[tuple[Any, Ops]]  # what goes through every block: (name, table), a score or the table itself
    folds: Sequence[Fold]
    gradients: Sequence[Gradient]  # that the folds ask for
    target: Target


class Kept(NamedTuple):
    """What the way forward keeps of a block; in the last one `middle` may have the rows `config.read` alone."""

    number: Array
    tokens: Tokens  # that entered it
    middle: Tokens  # the stream after attention
    known: Known  # results of linear layers, or None


class State(NamedTuple):
    """What the way back hands down from block to block."""

    output: Tokens  # of the block below; of the last one it may be zero where the head does not read it
    cotangents: Sequence[Tokens]  # by that output, one of each flow
    residual: Tokens  # gradient of the logit along the residual stream and the MLPs, at `config.read`
    carries: Sequence[Any]  # one of each fold


class Pull(NamedTuple):
    """The vjp of every stage of a block."""

    before_attention: Callable[..., Any]
    add_attention: Callable[..., Any]
    before_mlp: Callable[..., Any]
    add_mlp: Callable[..., Any]


class Seen(NamedTuple):
    """Of a block, at all tokens."""

    tokens: Tokens
    normed: Tokens
    middle: Tokens
    output: Tokens
    attn: Mapping[str, Array]  # scores, attention, values


def step_back(plan: Plan, state: State, kept: Kept, rows: Rows = None) -> tuple[State, list[Any]]:
    """From above a block to below it; and the summaries of folds that do not step on the way back.

    rows: `config.read` in the last block, as no cotangent starts at others. What follows attention is then computed
    at these alone, unless a fold looks at the rest.
    """
    params = block_params(plan.params["blocks"], kept.number)
    normed, attn, pulls = _linearised(plan, params, kept, rows)
    seen = Seen(kept.tokens, normed, kept.middle, state.output, attn)
    if rows is not None:
        seen = at_all_rows(plan.cut[GRADIENT], params, seen)
    bare = bare_trace(kept.number, params, seen)
    traces: dict[Gradient | None, LayerTrace] = {None: bare}
    relevance: dict[Any, dict[str, Any]] = {None: {}}
    below = []
    for (name, ops), cotangent in zip(plan.flows, state.cotangents, strict=True):
        pull = pulls[ops]
        by_mlp, *entered = pull.add_mlp(cotangent)
        (middle_cotangent,) = pull.before_mlp(tuple(entered))
        by_attention, skip_cotangent, normed_cotangent = pull.add_attention(middle_cotangent)
        (tokens_cotangent,) = pull.before_attention((skip_cotangent, normed_cotangent))
        below.append(tokens_cotangent)
        if ops is GRADIENT:
            streams = tokens_cotangent, normed_cotangent, middle_cotangent, cotangent
            found = _gradients(*streams, by_attention["attn"], by_mlp["mlp"])
            traces[name] = bare._replace(**at_all_tokens(plan.config, found, rows))
        else:
            found = {
                "tokens_relevance": wide(tokens_cotangent),
                "attention_relevance": wide(by_attention["attn"]["attention"]),
            }
            relevance[name] = at_all_tokens(plan.config, found, rows)
    traces |= (on_rows := _on_rows(plan, params, state, seen, bare))
    residual = on_rows["residual"].middle_grad.astype(state.residual.dtype) if "residual" in on_rows else state.residual
    summaries = [fold.summarise(traces[fold.gradient]._replace(**relevance[fold.rules])) for fold in plan.folds]
    carries, summaries = step_folds(plan.folds, state.carries, summaries, kept.number)
    return State(kept.tokens, below, residual, carries), summaries


def _linearised(plan: Plan, params, kept: Kept, rows: Rows):
    """norm1's output, what attention shows, and under every table the vjps of the block's stages.

    Each stage starts from the same values under all tables, those of GRADIENT's: their products are computed once.
    The MLP's starts from what the way forward kept, so that attention's result is not computed again.
    """
    attention_zeros, mlp_zeros = plan.cut[GRADIENT].zeros(rows)
    entered = after = attn = None
    pulls: dict[Ops, Pull] = {}
    for ops, stages in plan.cut.items():  # GRADIENT is the first

        def add_attention(offsets, skip, normed, stages=stages):
            return stages.add_attention(params, offsets, skip, normed, rows, kept.known)

        def add_mlp(offsets, skip, normed, stages=stages):
            return stages.add_mlp(params, offsets, skip, normed, kept.known)

        here, before_attention = jax.vjp(partial(stages.before_attention, params), kept.tokens)
        entered = entered or here
        _, add_attention_vjp, shown = jax.vjp(add_attention, attention_zeros, *entered, has_aux=True)
        attn = attn or shown
        here, before_mlp = jax.vjp(partial(stages.before_mlp, params), kept.middle)
        after = after or here
        _, add_mlp_vjp = jax.vjp(add_mlp, mlp_zeros, *after)
        pulls[ops] = Pull(before_attention, add_attention_vjp, before_mlp, add_mlp_vjp)
    assert entered is not None
    return entered[1], attn, pulls


def at_all_rows(model: Stages, params: Params, seen: Seen) -> Seen:
    """What follows attention, also where the head does not read it: computed if a fold looks at it."""
    middle = model.from_attention(params, seen.tokens, seen.attn["attention"], seen.attn["values"])
    return seen._replace(middle=middle, output=model.transform(params, middle))


def bare_trace(number: Array, params: Params, seen: Seen) -> LayerTrace:
    """Without gradients."""
    return LayerTrace(
        layer=number,
        params=params,
        tokens=wide(seen.tokens),
        normed=wide(seen.normed),
        middle=wide(seen.middle),
        output=wide(seen.output),
        values=wide(seen.attn["values"]),
        scores=wide(seen.attn["scores"]),
        attention=wide(seen.attn["attention"]),
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


def at_all_tokens(config: ViTConfig, found: Any, rows: Rows) -> Any:
    """What has only the `rows` of tokens, zero at the others: [r, c] -> [n, c], [h, r, m] -> [h, n, m]."""

    def whole(x):
        if rows is None or x.shape[-2] == config.tokens:
            return x
        after = config.tokens - rows.stop
        return jnp.pad(x, [*[(0, 0)] * (x.ndim - 2), (rows.start, after), (0, 0)])

    return jax.tree.map(whole, found)


def _on_rows(plan: Plan, params, state: State, seen: Seen, bare: LayerTrace) -> dict[Any, LayerTrace]:
    """Traces of the gradients that stay on the rows of tokens that the head reads."""
    model, config = plan.cut[GRADIENT], plan.config
    mean = jnp.full(config.tokens, 1 / config.tokens, seen.tokens.dtype)

    def of_own_output(output, *weights):
        return jax.grad(lambda x: model.classify(plan.params, x, *weights)[plan.target])(output)

    starts = {
        "residual": (config.read, lambda: state.residual),
        "local": (config.read, lambda: of_own_output(state.output)[config.read]),
        "local_mean": (slice(None), lambda: of_own_output(seen.output, mean)),
    }
    traces: dict[Any, LayerTrace] = {}
    for name in [name for name in starts if name in plan.gradients]:
        rows, cotangent = starts[name][0], starts[name][1]()
        _, transform_vjp = jax.vjp(partial(model.transform, params), seen.middle[rows])
        (middle_grad,) = transform_vjp(cotangent)

        def mixed(attention, rows=rows):
            return model.from_attention(params, seen.tokens[rows], attention, seen.attn["values"])

        _, attention_vjp = jax.vjp(mixed, seen.attn["attention"][:, rows])
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
