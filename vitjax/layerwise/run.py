"""One sweep over the layers, forward and back: the only place that scans or differentiates over blocks.

Almost every transformer explainer is a recurrence over layers from the last to the first, a `Fold`. `backward_fold`
runs any number of them in ONE reverse scan with one vjp per block, keeping only the residual stream at each block's
input and after its attention; nothing of size [l, h, n, m] is stored unless a fold asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.execution.plan import active_plan
from vitjax.layerwise.block_vjp import (
    Activations,
    Carry,
    PassContext,
    Residuals,
    at_all_rows,
    at_all_tokens,
    bare_trace,
    step_back,
    step_folds,
)
from vitjax.layerwise.fold import (
    SCORES,
    Boundary,
    Fold,
    Gradient,
    LayerTrace,
    PassResults,
    Score,
    choose_target,
    score_gradient,
    wide,
)
from vitjax.layerwise.stages import stages
from vitjax.nn.ops import GRADIENT, Ops
from vitjax.nn.vit import block_params
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Attention, Image, Params, Target


def backward_fold(
    config: ViTConfig,
    params: Params,
    image: Image,
    target: Target,
    folds: Sequence[Fold],
) -> PassResults:
    """Run all `folds` over one image in one shared sweep.

    Args:
        image: normalised pixels [H, W, 3].
        target: class index, or PREDICTED, or SECOND.
        folds: recurrences; those with a gradient share one vjp per block, and each of the gradients of a score adds
            one pass of cotangents through it. Each table of rules adds a vjp and a pass of its own.

    Cost: one forward where no fold has a gradient or rules. Otherwise a forward, what a block's gradients need of it
    once more on the way back, and, for each of "logit" and "probability" that a fold asks for, one backward by
    activations; for a table of rules, its own backward. Memory: 2·l·n·c for the residual stream, up to
    `ExecutionPlan.saved_bytes` of outputs of linear layers, and one block's attention, independent of depth; folds
    with order other than "last_left" add their summaries of every layer.
    """
    dtype = params["pos_embed"].dtype
    gradients = sorted({fold.gradient for fold in folds if fold.gradient is not None})
    tables = list(dict.fromkeys(fold.rules for fold in folds if fold.rules is not None))
    # What flows back through every block: (name, table), the name a score or the table itself.
    flows: list[tuple[Any, Ops]] = [(name, GRADIENT) for name in gradients if name in SCORES]
    flows += [(table, table) for table in tables]
    cut = {ops: stages(config, ops, dtype) for ops in (GRADIENT, *tables)}
    model = cut[GRADIENT]
    tokens = model.embed(params, None, image)
    boundary = Boundary(params=params, image=wide(image), tokens=wide(tokens))
    if not gradients and not tables:
        return _attention_only(config, model, params, tokens, target, folds, boundary)

    last = config.readout_slice if _on_read_rows_at_last(config, folds) else None
    lowest = min(fold.lowest for fold in folds)
    x, blocks, top = _forward(
        config, model, params, tokens, last, lowest, save=active_plan(config).saves_linear_outputs(config, dtype)
    )
    heads = {ops: jax.vjp(lambda x, ops=ops: cut[ops].classify(params, x), x) for ops in cut}
    logits, head_vjp = heads[GRADIENT]
    target = choose_target(logits, target)
    one_hot = score_gradient(logits, target, "logit")
    start = [
        heads[ops][1](score_gradient(logits, target, name) if ops is GRADIENT else one_hot)[0] for name, ops in flows
    ]
    plan = PassContext(config, params, cut, flows, folds, gradients, target)
    state = Carry(x, start, head_vjp(one_hot)[0][config.readout_slice], tuple(fold.init for fold in folds))
    if top is not None:
        state = state._replace(cotangents=[cotangent[last] for cotangent in start])
        state, _ = step_back(plan, state, top, last)
    kept: Sequence[Any] = [None] * len(folds)
    if blocks is not None:
        state, kept = _back(plan, state, blocks)
    flowing = dict(zip(flows, state.cotangents, strict=True))
    below = _below(cut, params, image, flowing) if lowest == 0 else {}
    return PassResults(wide(logits), target, _finish(folds, state.carries, kept, boundary, below))


def _forward(config, model, params, tokens, last, lowest, save=False):
    """The stream that the head reads, what is kept of the blocks from `lowest` on, and of the last one by itself where
    it runs at the rows `last` alone. keep: also the results of linear layers that no derivative can do without."""

    def precomputed(results):
        return {"attn": {"qkv": results["attn"]["qkv"]}, "mlp": {"fc1": results["mlp"]["fc1"]}} if save else None

    def forth(x, number):
        middle, output, results = model.block(block_params(params["blocks"], number), x, None)
        return output, Residuals(number, x, middle, precomputed(results))

    def plain(x, number):
        return model.block(block_params(params["blocks"], number), x, None)[1], None

    end = config.depth if last is None else config.depth - 1
    x = lax.scan(plain, tokens, jnp.arange(lowest))[0] if lowest else tokens
    x, blocks = lax.scan(forth, x, jnp.arange(lowest, end)) if lowest < end else (x, None)
    if last is None:
        return x, blocks, None
    middle, output, results = model.block(block_params(params["blocks"], config.depth - 1), x, last)
    # The head's rows in their places; it does not look at the others.
    top = Residuals(jnp.int32(config.depth - 1), x, middle, precomputed(results))
    return jnp.zeros_like(x).at[last].set(output), blocks, top


def _back(plan: PassContext, state: Carry, blocks: Residuals) -> tuple[Carry, Sequence[Any]]:
    """Down through the blocks. Of a deep model the lowest stands outside the loop, which does the same for all of its
    blocks, and what flows on below its attention is left out, where no fold looks there."""
    alone = plan.config.deep and all(fold.order == "last_left" and not fold.to_input for fold in plan.folds)

    def step(state, place):
        return step_back(plan, state, jax.tree.map(lambda each: each[place], blocks))

    places = range(int(alone), len(blocks.number))
    kept: Sequence[Any] = [None] * len(plan.folds)
    if places:
        state, kept = lax.scan(step, state, jnp.asarray(places), reverse=True)
    return (step(state, 0)[0] if alone else state), kept


def _on_read_rows_at_last(config, folds) -> bool:
    """Whether the last block is peeled off. Folds that store a summary of every layer would have to put the last one's
    to the others, twice the memory."""
    return config.peeled and all(fold.order == "last_left" for fold in folds)


def _below(cut, params, image, cotangents) -> dict[Any, dict[str, Any]]:
    """Fields of Ends, by the score or table: what flows on below block 0."""
    below = {}
    for (name, ops), cotangent in cotangents.items():
        _, vjp = jax.vjp(lambda z, image, ops=ops: cut[ops].embed(params, z, image), cut[ops].embed_zeros, image)
        taps, image_cotangent = vjp(cotangent)
        if ops is GRADIENT:
            patches = taps["patch_embed"]["proj"]["result"]
            fields = {"tokens_grad": cotangent, "patches_grad": patches, "image_grad": image_cotangent}
        else:
            fields = {"tokens_relevance": cotangent, "image_relevance": image_cotangent}
        below[name] = {field: wide(value) for field, value in fields.items()}
    return below


def _attention_only(config, model, params, tokens, target, folds, boundary) -> PassResults:
    """Folds without gradients: summaries are taken on the way forward, nothing is recomputed."""

    def body(x, number, token_slice=None):
        block = block_params(params["blocks"], number)
        skip, normed = model.before_attention(block, x)
        middle, attn = model.add_attention(block, None, skip, normed, token_slice, None)
        output = model.transform(block, middle)
        activations = Activations(x, normed, middle, output, attn)
        if token_slice is not None:
            output = jnp.zeros_like(x).at[token_slice].set(output)
            activations = at_all_rows(model, block, activations)
        return output, [fold.summarise(bare_trace(number, block, activations)) for fold in folds]

    peeled = _on_read_rows_at_last(config, folds)
    numbers = jnp.arange(config.depth - peeled)
    x, summaries = lax.scan(body, tokens, numbers)
    carries: Any = tuple(fold.init for fold in folds)
    if peeled:
        x, top = body(x, jnp.int32(config.depth - 1), config.readout_slice)
        carries, _ = step_folds(folds, carries, top, jnp.int32(config.depth - 1))
    logits = model.classify(params, x)

    def back(carries, layer):
        number, summaries = layer
        return step_folds(folds, carries, summaries, number)[0], None

    carries, _ = lax.scan(back, carries, (numbers, summaries), reverse=True)
    return PassResults(wide(logits), choose_target(logits, target), _finish(folds, carries, summaries, boundary, {}))


def _finish(folds, carries, kept, boundary, below) -> tuple[Any, ...]:
    results = []
    for fold, carry, summaries in zip(folds, carries, kept, strict=True):
        if fold.order == "first_left":
            carry = _step_forth(fold, summaries)
        elif fold.order == "stacked":
            carry = summaries
        results.append(
            fold.finish(carry, boundary._replace(**below.get(fold.gradient, {}), **below.get(fold.rules, {})))
        )
    return tuple(results)


def _step_forth(fold: Fold, summaries):
    """Step from the first layer to the last over summaries that were kept."""
    count = jax.tree.leaves(summaries)[0].shape[0]

    def step(carry, layer):
        number, summary = layer
        return fold.step(carry, summary, number), None

    return lax.scan(step, fold.init, (jnp.arange(count), summaries))[0]


def last_attention_gradient(
    config: ViTConfig,
    params: Params,
    image: Image,
    target: Target,
    *,
    score: Score = "logit",
) -> Attention:
    """∂ score / ∂ attention of the last block alone, [h, n, m]; `target` is a class index.

    Cost: one forward and the backward of the last block, where a sweep would go through all of them.
    """
    model = stages(config, GRADIENT, params["pos_embed"].dtype)
    read = config.readout_slice
    x, _, top = _forward(config, model, params, model.embed(params, None, image), read, config.depth - 1)
    last = block_params(params["blocks"], config.depth - 1)
    logits, head_vjp = jax.vjp(lambda x: model.classify(params, x), x)
    _, transform_vjp = jax.vjp(partial(model.transform, last), top.middle)
    entered = model.before_attention(last, top.tokens)
    zeros = model.zeros(read)[0]
    _, attention_vjp = jax.vjp(lambda zeros: model.add_attention(last, zeros, *entered, read, None)[0], zeros)
    (middle_grad,) = transform_vjp(head_vjp(score_gradient(logits, target, score))[0][read])
    (taps,) = attention_vjp(middle_grad)
    return at_all_tokens(config, wide(taps["attn"]["attention"]), read)


def collect(
    config: ViTConfig,
    params: Params,
    image: Image,
    target: Target,
    *,
    gradient: Gradient | None = "logit",
    rules: Ops | None = None,
) -> tuple[PassResults, LayerTrace]:
    """The full trace of one image, stacked over layers: a fold that only stacks.

    Returns the sweep and a LayerTrace whose arrays lead with l; gradients are None where `gradient` is None, and
    relevance is None where `rules` is.
    Cost: as `backward_fold`, and memory l·h·n·m for every attention-sized field that is used.
    """
    stack = Fold(
        init=(),
        summarise=lambda trace: trace._replace(params=None, linear_grads=None),
        step=lambda carry, summary, layer: carry,
        finish=lambda summaries, boundary: summaries,
        gradient=gradient,
        rules=rules,
        order="stacked",
    )
    results = backward_fold(config, params, image, target, [stack])
    trace: Any = results.results[0]
    return results._replace(results=()), trace._replace(params=params["blocks"])
