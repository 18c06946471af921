"""One sweep over the layers, forward and back: the only place that scans or differentiates over blocks.

Almost every transformer explainer is a recurrence over layers from the last to the first. Here it is a `Fold`:
what to take from a layer, how to step, what to make of the result. `backward_fold` runs any number of folds in ONE
reverse scan with one vjp per block, keeping only each block's input; nothing of size [l, h, n, m] is stored unless
a fold asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
"""The scalar that a method explains."""

Gradient = Literal["logit", "probability", "residual", "local", "local_mean"]
"""Of what, and along which way, a fold's gradients are taken.

"logit", "probability": of that score, through everything. "residual": of the logit, along the residual stream and
the MLPs only, each block's attention input taken as constant. "local": of the logit that the head gives to this
block's own output, so only the block itself is differentiated; "local_mean": the same with the mean over all tokens
in place of the model's pooling.
"""


class LayerTrace(NamedTuple):
    """One block of one image; with a leading axis l (or b, l) the whole stack. Gradients are of the score.

    Floats are float32 at least, so that whatever a method accumulates does not overflow a half-precision model.
    """

    layer: Array  # block number, 0 next to the pixels
    params: Params
    tokens: Tokens  # entering the block (residual stream, before norm1)
    normed: Tokens  # norm1's output
    middle: Tokens  # after attention and its residual
    output: Tokens
    values: Heads
    scores: Attention  # scaled, before softmax
    attention: Attention  # after softmax, rows sum to 1
    # What follows is there in sweeps with gradients.
    tokens_grad: Tokens = None  # type: ignore[assignment]
    normed_grad: Tokens = None  # type: ignore[assignment]
    middle_grad: Tokens = None  # type: ignore[assignment]
    output_grad: Tokens = None  # type: ignore[assignment]
    scores_grad: Attention = None  # type: ignore[assignment]
    attention_grad: Attention = None  # type: ignore[assignment]
    linear_grads: Mapping[str, Tokens] | None = None  # by the results of qkv, proj, fc1, fc2


class Ends(NamedTuple):
    """What lies outside the blocks, for `Fold.finish`. Gradients are there where the fold asks for them."""

    params: Params
    image: Image
    tokens: Tokens  # entering block 0
    tokens_grad: Tokens = None  # type: ignore[assignment]
    patches_grad: Tokens = None  # type: ignore[assignment]  # by the patch embedding's result [patches, c]
    image_grad: Image = None  # type: ignore[assignment]


class Fold(NamedTuple):
    """A recurrence over layers: `finish(step(... step(init, summarise(last)) ..., summarise(first)), ends)`.

    summarise: LayerTrace -> what the method needs of a layer, small.
    step: (carry, summary, layer number) -> carry.
    finish: (carry, Ends) -> the method's result.
    gradient: which gradients the trace holds; None for methods of attention alone.
    order: "last_left" steps from the last block to the first (information flow, M_{L-1} ... M_0 seen from the
        readout row); "first_left" from the first to the last, and "stacked" hands `finish` the summaries of all
        layers, [l, ...]. The last two store one summary per layer.
    """

    init: Any
    summarise: Callable[[LayerTrace], Any]
    step: Callable[[Any, Any, Array], Any]
    finish: Callable[[Any, Ends], Any]
    gradient: Gradient | None = None
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


def score_gradient(logits: Logits, target: Target, score: str) -> Logits:
    """d score / d logits: p_k (e_k - p) for the probability of class k, e_k for every gradient of the logit."""
    one_hot = jax.nn.one_hot(target, logits.shape[0], dtype=logits.dtype)
    if score != "probability":
        return one_hot
    p = jax.nn.softmax(wide(logits)).astype(logits.dtype)
    return p[target] * (one_hot - p)


class _Stages(NamedTuple):
    """The model cut where a sweep needs it."""

    embed: Callable[[Params, Any, Image], Tokens]
    block: Callable[[Params, Tokens], Tokens]
    observe: Callable[[Params, Any, Tokens], tuple[Tokens, Any]]
    classify: Callable[..., Logits]
    embed_zeros: Any  # a zero for the patch embedding's result
    zeros: Any  # a zero for everything a block lets be perturbed


def _stages(config: ViTConfig, ops: Ops, dtype: Any) -> _Stages:
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
    return _Stages(
        embed=embed,
        block=lambda params, x: block.apply({"params": params}, x),
        observe=observe,
        classify=lambda params, x, *weights: vit.apply({"params": params}, x, *weights, method="classify"),
        embed_zeros={"patch_embed": {"proj": {"result": patches}}},
        zeros=jax.tree.map(lambda s: jnp.zeros(s.shape, dtype), shapes),
    )


def _bare_trace(layer, params, sown) -> LayerTrace:
    """Without gradients."""
    attn = sown["attn"]
    return LayerTrace(
        layer=layer,
        params=params,
        tokens=wide(sown["input"]),
        normed=wide(sown["normed"]),
        middle=wide(sown["middle"]),
        output=wide(sown["output"]),
        values=wide(attn["values"]),
        scores=wide(attn["scores"]),
        attention=wide(attn["attention"]),
    )


def _with_gradients(bare: LayerTrace, output_grad, taps, tokens_grad) -> LayerTrace:
    attn, mlp = taps["attn"], taps["mlp"]
    linear = {"qkv": attn["qkv"], "proj": attn["proj"], "fc1": mlp["fc1"], "fc2": mlp["fc2"]}
    return bare._replace(
        tokens_grad=wide(tokens_grad),
        normed_grad=wide(taps["normed"]),
        middle_grad=wide(taps["middle"]),
        output_grad=wide(output_grad),
        scores_grad=wide(attn["scores"]),
        attention_grad=wide(attn["attention"]),
        linear_grads={name: wide(each["result"]) for name, each in linear.items()},
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
        folds: recurrences; those with a gradient share one vjp per block, and each distinct gradient adds one
            pass of cotangents through it.
        ops: the arithmetic of the blocks and of its backward pass.

    Cost: one forward where no fold has a gradient. Otherwise two forwards (each block is recomputed on the way
    back) and, for each distinct gradient, one backward by activations. Memory: l·n·c for the block inputs plus one
    block's attention, independent of depth; folds with order other than "last_left" add their summaries of every
    layer.
    """
    dtype = params["pos_embed"].dtype
    stages = _stages(config, ops, dtype)
    layers = (jnp.arange(config.depth), params["blocks"])
    tokens, embed_vjp = jax.vjp(lambda z, image: stages.embed(params, z, image), stages.embed_zeros, image)
    ends = Ends(params=params, image=wide(image), tokens=wide(tokens))
    gradients = sorted({fold.gradient for fold in folds if fold.gradient is not None})
    if not gradients:
        return _attention_only(stages, params, layers, tokens, target, folds, ends)

    x, inputs = lax.scan(lambda x, layer: (stages.block(layer, x), x), tokens, params["blocks"])
    logits, head_vjp = jax.vjp(lambda x: stages.classify(params, x), x)
    target = choose_target(logits, target)
    local = {
        "local": lambda x: stages.classify(params, x)[target],
        "local_mean": lambda x: stages.classify(params, x, jnp.full(config.tokens, 1 / config.tokens, dtype))[target],
    }
    carried = [name for name in gradients if name not in local]

    def body(state, layer):
        cotangents, carries = state
        (number, block_params), x = layer
        output, vjp, sown = jax.vjp(
            lambda zeros, x: stages.observe(block_params, zeros, x), stages.zeros, x, has_aux=True
        )
        bare = _bare_trace(number, block_params, sown)
        traces: dict[Gradient | None, LayerTrace] = {None: bare}
        below = {}
        for name in gradients:
            g = jax.grad(local[name])(output) if name in local else cotangents[name]
            taps, tokens_grad = vjp(g)
            traces[name] = _with_gradients(bare, g, taps, tokens_grad)
            if name in cotangents:
                below[name] = taps["middle"] if name == "residual" else tokens_grad
        summaries = [fold.summarise(traces[fold.gradient]) for fold in folds]
        carries, kept = _step(folds, carries, summaries, number)
        return (below, carries), kept

    cotangents = {name: head_vjp(score_gradient(logits, target, name))[0] for name in carried}
    state = (cotangents, tuple(fold.init for fold in folds))
    (cotangents, carries), kept = lax.scan(body, state, (layers, inputs), reverse=True)
    ends_of = {name: _with_ends(ends, g, *embed_vjp(g)) for name, g in cotangents.items()}
    return Sweep(wide(logits), target, _finish(folds, carries, kept, ends, ends_of))


def _with_ends(ends: Ends, tokens_grad, embed_taps, image_grad) -> Ends:
    patches_grad = embed_taps["patch_embed"]["proj"]["result"]
    return ends._replace(tokens_grad=wide(tokens_grad), patches_grad=wide(patches_grad), image_grad=wide(image_grad))


def _attention_only(stages, params, layers, tokens, target, folds, ends) -> Sweep:
    """Folds without gradients: summaries are taken on the way forward, nothing is recomputed."""

    def body(x, layer):
        number, block_params = layer
        x, sown = stages.observe(block_params, None, x)
        trace = _bare_trace(number, block_params, sown)
        return x, [fold.summarise(trace) for fold in folds]

    x, summaries = lax.scan(body, tokens, layers)
    logits = stages.classify(params, x)

    def back(carries, layer):
        number, summaries = layer
        return _step(folds, carries, summaries, number)[0], None

    carries, _ = lax.scan(back, tuple(fold.init for fold in folds), (layers[0], summaries), reverse=True)
    return Sweep(wide(logits), choose_target(logits, target), _finish(folds, carries, summaries, ends, {}))


def _step(folds, carries, summaries, number):
    """One layer of every fold that steps on the way back; the others' summaries are handed on."""
    stepped, kept = [], []
    for fold, carry, summary in zip(folds, carries, summaries, strict=True):
        last_left = fold.order == "last_left"
        stepped.append(fold.step(carry, summary, number) if last_left else carry)
        kept.append(None if last_left else summary)
    return tuple(stepped), kept


def _finish(folds, carries, kept, ends, ends_of) -> tuple[Any, ...]:
    results = []
    for fold, carry, summaries in zip(folds, carries, kept, strict=True):
        if fold.order == "first_left":
            carry = _forward(fold, summaries)
        elif fold.order == "stacked":
            carry = summaries
        results.append(fold.finish(carry, ends_of.get(fold.gradient, ends)))
    return tuple(results)


def _forward(fold: Fold, summaries):
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
    ops: Ops = GRADIENT,
) -> Attention:
    """∂ score / ∂ attention of the last block alone, [h, n, m]; `target` is a class index.

    Cost: one forward and the backward of the last block, where a sweep would go through all of them.
    """
    dtype = params["pos_embed"].dtype
    stages = _stages(config, ops, dtype)
    below, last = (jax.tree.map(lambda a, rows=rows: a[rows], params["blocks"]) for rows in (slice(-1), -1))
    x, _ = lax.scan(lambda x, layer: (stages.block(layer, x), None), stages.embed(params, None, image), below)
    output, vjp = jax.vjp(lambda zeros: stages.observe(last, zeros, x)[0], stages.zeros)
    logits, head_vjp = jax.vjp(lambda x: stages.classify(params, x), output)
    (taps,) = vjp(head_vjp(score_gradient(logits, target, score))[0])
    return wide(taps["attn"]["attention"])


def collect(
    config: ViTConfig,
    params: Params,
    image: Image,
    target: Target,
    *,
    gradient: Gradient | None = "logit",
    ops: Ops = GRADIENT,
) -> tuple[Sweep, LayerTrace]:
    """The full trace of one image, stacked over layers: a fold that only stacks.

    Returns the sweep and a LayerTrace whose arrays lead with l; gradients are None where `gradient` is None.
    Cost: as `backward_fold`, and memory l·h·n·m for every attention-sized field that is used.
    """
    stack = Fold(
        init=(),
        summarise=lambda trace: trace._replace(params=None, linear_grads=None),
        step=lambda carry, summary, layer: carry,
        finish=lambda summaries, ends: summaries,
        gradient=gradient,
        order="stacked",
    )
    sweep = backward_fold(config, params, image, target, [stack], ops=ops)
    trace: Any = sweep.results[0]
    return sweep._replace(results=()), trace._replace(params=params["blocks"])
