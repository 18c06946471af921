"""One sweep over the layers, forward and back: the only place that scans or differentiates over blocks.

Almost every transformer explainer is a recurrence over layers from the last to the first. Here it is a `Fold`:
what to take from a layer, how to step, what to make of the result. `backward_fold` runs any number of folds in ONE
reverse scan with one vjp per block, keeping only each block's input; nothing of size [l, h, n, m] is stored unless
a fold asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.ops import GRADIENT, Ops
from vitjax.shapes import Array, Attention, Heads, Image, Logits, Params, Target, Tokens
from vitjax.vit import Block, ViT, ViTConfig

PREDICTED, SECOND = -1, -2
"""Targets that mean "the class with the highest logit" and "the second highest"."""

Score = Literal["logit", "probability"]


class LayerTrace(NamedTuple):
    """One block of one image; with a leading axis l (or b, l) the whole stack. Gradients are of the score.

    Floats are float32 at least, so that whatever a method accumulates does not overflow a half-precision model.
    """

    layer: Array  # block number, 0 next to the pixels
    params: Params
    tokens: Tokens  # entering the block (residual stream, before norm1)
    middle: Tokens  # after attention and its residual
    output: Tokens
    values: Heads
    scores: Attention  # scaled, before softmax
    attention: Attention  # after softmax, rows sum to 1
    attention_grad: Attention = None  # type: ignore[assignment]  # gradients are there where a score is
    scores_grad: Attention = None  # type: ignore[assignment]
    tokens_grad: Tokens = None  # type: ignore[assignment]
    output_grad: Tokens = None  # type: ignore[assignment]


class Fold(NamedTuple):
    """A recurrence over layers: `finish(step(... step(init, summarise(last)) ..., summarise(first)))`.

    summarise: LayerTrace -> what the method needs of a layer, small.
    step: (carry, summary, index) -> carry.
    score: the scalar whose gradients the trace holds; None for methods of attention alone.
    order: "last_left" steps from the last block to the first (information flow, M_{L-1} ... M_0 seen from the
        readout row); "first_left" from the first to the last, and "stacked" hands `finish` the summaries of all
        layers, [l, ...]. The last two store one summary per layer.
    """

    init: Any
    summarise: Callable[[LayerTrace], Any]
    step: Callable[[Any, Any, Array], Any]
    finish: Callable[[Any], Array]
    score: Score | None = None
    order: Literal["last_left", "first_left", "stacked"] = "last_left"


class Sweep(NamedTuple):
    """What one sweep over one image yields."""

    logits: Logits
    target: Target
    results: tuple[Array, ...]  # one per fold


def wide(x: Array) -> Array:
    """float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def choose_target(logits: Logits, target: Target) -> Target:
    """`target`, or the class that PREDICTED or SECOND stands for."""
    if logits.shape[0] == 1:
        return jnp.zeros_like(target)
    _, best = lax.top_k(logits, 2)
    return jnp.where(target == PREDICTED, best[0], jnp.where(target == SECOND, best[1], target)).astype(jnp.int32)


def score_gradient(logits: Logits, target: Target, score: Score) -> Logits:
    """d score / d logits: e_k for the logit, p_k (e_k - p) for the probability of class k."""
    one_hot = jax.nn.one_hot(target, logits.shape[0], dtype=logits.dtype)
    if score == "logit":
        return one_hot
    p = jax.nn.softmax(wide(logits)).astype(logits.dtype)
    return p[target] * (one_hot - p)


class _Stages(NamedTuple):
    """The model cut where a sweep needs it."""

    embed: Callable[[Params, Image], Tokens]
    block: Callable[[Params, Tokens], Tokens]
    observe: Callable[[Params, Any, Tokens], tuple[Tokens, Any]]
    classify: Callable[[Params, Tokens], Logits]
    zeros: Any  # a zero for everything a block lets be perturbed


def _stages(config: ViTConfig, ops: Ops, dtype: Any) -> _Stages:
    vit: Any = ViT(config, ops)
    block: Any = Block(config, ops)

    def observe(params, perturbations, x):
        output, state = block.apply({"params": params, "perturbations": perturbations}, x, mutable=["intermediates"])
        return output, state["intermediates"]

    tokens = jax.ShapeDtypeStruct((config.tokens, config.width), dtype)
    shapes = jax.eval_shape(block.init, jax.random.key(0), tokens)["perturbations"]
    return _Stages(
        embed=lambda params, image: vit.apply({"params": params}, image.astype(dtype), method="embed"),
        block=lambda params, x: block.apply({"params": params}, x),
        observe=observe,
        classify=lambda params, x: vit.apply({"params": params}, x, method="classify"),
        zeros=jax.tree.map(lambda s: jnp.zeros(s.shape, dtype), shapes),
    )


def _layer_trace(index, params, sown) -> LayerTrace:
    attn = sown["attn"]
    return LayerTrace(
        layer=index,
        params=params,
        tokens=wide(sown["input"]),
        middle=wide(sown["middle"]),
        output=wide(sown["output"]),
        values=wide(attn["values"]),
        scores=wide(attn["scores"]),
        attention=wide(attn["attention"]),
    )


def backward_fold(
    config: ViTConfig,
    params: Params,
    image: Image,
    target: Target,
    folds: Sequence[Fold],
    *,
    ops: Ops = GRADIENT,
) -> Sweep:
    """Run all `folds` over one image in one shared sweep.

    Args:
        image: normalised pixels [H, W, 3].
        target: class index, or PREDICTED, or SECOND.
        folds: recurrences; those with a `score` share one vjp per block and distinct scores only add cotangents.
        ops: the arithmetic of the blocks and of its backward pass.

    Cost: one forward where no fold has a score. Otherwise two forwards (each block is recomputed on the way back)
    and, for each distinct score, one backward by activations. Memory: l·n·c for the block inputs plus one block's
    attention, independent of depth; folds with order other than "last_left" add their summaries of every layer.
    """
    dtype = params["pos_embed"].dtype
    stages = _stages(config, ops, dtype)
    layers = (jnp.arange(config.depth), params["blocks"])
    tokens = stages.embed(params, image)
    scores = sorted({fold.score for fold in folds if fold.score is not None})
    if not scores:
        return _attention_only(stages, params, layers, tokens, target, folds)

    x, inputs = lax.scan(lambda x, layer: (stages.block(layer, x), x), tokens, params["blocks"])
    logits, head_vjp = jax.vjp(lambda x: stages.classify(params, x), x)
    target = choose_target(logits, target)
    cotangents = tuple(head_vjp(score_gradient(logits, target, score))[0] for score in scores)

    def body(state, layer):
        cotangents, carries = state
        (index, block_params), x = layer
        _, vjp, sown = jax.vjp(lambda zeros, x: stages.observe(block_params, zeros, x), stages.zeros, x, has_aux=True)
        bare = _layer_trace(index, block_params, sown)
        traces: dict[Score | None, LayerTrace] = {None: bare}
        below = []
        for score, g in zip(scores, cotangents, strict=True):
            taps, g_in = vjp(g)
            below.append(g_in)
            traces[score] = bare._replace(
                attention_grad=wide(taps["attn"]["attention"]),
                scores_grad=wide(taps["attn"]["scores"]),
                tokens_grad=wide(g_in),
                output_grad=wide(g),
            )
        summaries = [fold.summarise(traces[fold.score]) for fold in folds]
        carries, kept = _step(folds, carries, summaries, index)
        return (tuple(below), carries), kept

    state = (cotangents, tuple(fold.init for fold in folds))
    (_, carries), kept = lax.scan(body, state, (layers, inputs), reverse=True)
    return Sweep(wide(logits), target, _finish(folds, carries, kept))


def _attention_only(stages, params, layers, tokens, target, folds) -> Sweep:
    """Folds without gradients: summaries are taken on the way forward, nothing is recomputed."""

    def body(x, layer):
        index, block_params = layer
        x, sown = stages.observe(block_params, stages.zeros, x)
        trace = _layer_trace(index, block_params, sown)
        return x, [fold.summarise(trace) for fold in folds]

    x, summaries = lax.scan(body, tokens, layers)
    logits = stages.classify(params, x)

    def back(carries, layer):
        index, summaries = layer
        return _step(folds, carries, summaries, index)[0], None

    carries, _ = lax.scan(back, tuple(fold.init for fold in folds), (layers[0], summaries), reverse=True)
    return Sweep(wide(logits), choose_target(logits, target), _finish(folds, carries, summaries))


def _step(folds, carries, summaries, index):
    """One layer of every fold that steps on the way back; the others' summaries are handed on."""
    stepped, kept = [], []
    for fold, carry, summary in zip(folds, carries, summaries, strict=True):
        last_left = fold.order == "last_left"
        stepped.append(fold.step(carry, summary, index) if last_left else carry)
        kept.append(None if last_left else summary)
    return tuple(stepped), kept


def _finish(folds, carries, kept) -> tuple[Array, ...]:
    results = []
    for fold, carry, summaries in zip(folds, carries, kept, strict=True):
        if fold.order == "first_left":
            carry = _forward(fold, summaries)
        elif fold.order == "stacked":
            carry = summaries
        results.append(fold.finish(carry))
    return tuple(results)


def _forward(fold: Fold, summaries):
    """Step from the first layer to the last over summaries that were kept."""
    count = jax.tree.leaves(summaries)[0].shape[0]

    def step(carry, layer):
        index, summary = layer
        return fold.step(carry, summary, index), None

    return lax.scan(step, fold.init, (jnp.arange(count), summaries))[0]


def collect(
    config: ViTConfig,
    params: Params,
    image: Image,
    target: Target,
    *,
    score: Score | None = "logit",
    ops: Ops = GRADIENT,
) -> tuple[Sweep, LayerTrace]:
    """The full trace of one image, stacked over layers: a fold that only stacks.

    Returns the sweep and a LayerTrace whose arrays lead with l; gradients are None where `score` is None.
    Cost: as `backward_fold`, and memory l·h·n·m for every attention-sized field that is used.
    """
    stack = Fold(
        init=(),
        summarise=lambda trace: trace._replace(params=None),
        step=lambda carry, summary, index: carry,
        finish=lambda summaries: summaries,
        score=score,
        order="stacked",
    )
    sweep = backward_fold(config, params, image, target, [stack], ops=ops)
    trace: Any = sweep.results[0]
    return sweep._replace(results=()), trace._replace(params=params["blocks"])
