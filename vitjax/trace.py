"""One sweep over the layers, forward and back: the only place that scans or differentiates over blocks.

Almost every transformer explainer is a recurrence over layers from the last to the first, a `Fold`. `backward_fold`
runs any number of them in ONE reverse scan with one vjp per block, keeping only each block's input; nothing of size
[l, h, n, m] is stored unless a fold asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.fold import SCORES, Ends, Fold, Gradient, LayerTrace, Score, Sweep, choose_target, score_gradient, wide
from vitjax.ops import GRADIENT, Ops
from vitjax.shapes import Attention, Image, Params, Target
from vitjax.stages import stages
from vitjax.vit import ViTConfig


def backward_fold(
    config: ViTConfig,
    params: Params,
    image: Image,
    target: Target,
    folds: Sequence[Fold],
) -> Sweep:
    """Run all `folds` over one image in one shared sweep.

    Args:
        image: normalised pixels [H, W, 3].
        target: class index, or PREDICTED, or SECOND.
        folds: recurrences; those with a gradient share one vjp per block, and each of the gradients of a score adds
            one pass of cotangents through it. Each table of rules adds a vjp and a pass of its own.

    Cost: one forward where no fold has a gradient or rules. Otherwise two forwards (each block is recomputed on the
    way back) and, for each of "logit" and "probability" that a fold asks for, one backward by activations; for a
    table of rules, its own backward. Memory: l·n·c for the block inputs plus one block's attention, independent of
    depth; folds with order other than "last_left" add their summaries of every layer.
    """
    dtype = params["pos_embed"].dtype
    gradients = sorted({fold.gradient for fold in folds if fold.gradient is not None})
    tables = list(dict.fromkeys(fold.rules for fold in folds if fold.rules is not None))
    # What flows back through every block: (name, table), the name a score or the table itself.
    flows: list[tuple[Any, Ops]] = [(name, GRADIENT) for name in gradients if name in SCORES]
    flows += [(table, table) for table in tables]
    cut = {ops: stages(config, ops, dtype) for ops in (GRADIENT, *tables)}
    model = cut[GRADIENT]
    layers = (jnp.arange(config.depth), params["blocks"])
    tokens = model.embed(params, None, image)
    ends = Ends(params=params, image=wide(image), tokens=wide(tokens))
    if not gradients and not tables:
        return _attention_only(model, params, layers, tokens, target, folds, ends)

    x, inputs = lax.scan(lambda x, layer: (model.block(layer, x), x), tokens, params["blocks"])
    heads = {ops: jax.vjp(lambda x, ops=ops: cut[ops].classify(params, x), x) for ops in cut}
    logits, head_vjp = heads[GRADIENT]
    target = choose_target(logits, target)
    one_hot = score_gradient(logits, target, "logit")
    read, every = config.read, slice(None)
    pooled = {"local": (), "local_mean": (jnp.full(config.tokens, 1 / config.tokens, dtype),)}

    def body(state, layer):
        output, cotangents, residual, carries = state
        (number, block_params), x = layer

        def observed(ops):
            return jax.vjp(lambda *at: cut[ops].observe(block_params, *at), model.zeros, x, has_aux=True)

        seen = {ops: observed(ops) for ops in cut}
        sown = seen[GRADIENT][2]
        # The block's output is the next one's input, kept on the way forward: not computed again.
        bare = _bare_trace(number, block_params, sown, output)
        traces: dict[Gradient | None, LayerTrace] = {None: bare}
        relevance: dict[Any, dict[str, Any]] = {None: {}}
        below = []
        for (name, ops), cotangent in zip(flows, cotangents, strict=True):
            taps, tokens_cotangent = seen[ops][1](cotangent)
            below.append(tokens_cotangent)
            if ops is GRADIENT:
                traces[name] = _with_gradients(bare, cotangent, taps, tokens_cotangent)
            else:
                relevance[name] = {
                    "tokens_relevance": wide(tokens_cotangent),
                    "attention_relevance": wide(taps["attn"]["attention"]),
                }

        def on_rows(name, rows, cotangent):
            attention, values = sown["attn"]["attention"][:, rows], sown["attn"]["values"]
            _, vjp = jax.vjp(lambda skip, a: model.from_attention(block_params, skip, a, values), x[rows], attention)
            middle_grad, attention_grad = vjp(cotangent)
            traces[name] = bare._replace(
                output_grad=wide(cotangent), middle_grad=wide(middle_grad), attention_grad=wide(attention_grad)
            )
            return middle_grad

        if "residual" in gradients:
            residual = on_rows("residual", read, residual)
        for name, rows in (("local", read), ("local_mean", every)):
            if name in gradients:
                head = jax.grad(lambda x, name=name: model.classify(params, x, *pooled[name])[target])
                on_rows(name, rows, head(output)[rows])
        summaries = [fold.summarise(traces[fold.gradient]._replace(**relevance[fold.rules])) for fold in folds]
        carries, kept = _step(folds, carries, summaries, number)
        return (x, below, residual, carries), kept

    start = [
        heads[ops][1](score_gradient(logits, target, name) if ops is GRADIENT else one_hot)[0] for name, ops in flows
    ]
    state = (x, start, head_vjp(one_hot)[0][read], tuple(fold.init for fold in folds))
    (_, cotangents, _, carries), kept = lax.scan(body, state, (layers, inputs), reverse=True)

    below = {}
    for (name, ops), cotangent in zip(flows, cotangents, strict=True):
        embed = cut[ops].embed
        _, embed_vjp = jax.vjp(lambda z, image, embed=embed: embed(params, z, image), model.embed_zeros, image)
        taps, image_cotangent = embed_vjp(cotangent)
        if ops is GRADIENT:
            patches = taps["patch_embed"]["proj"]["result"]
            fields = {"tokens_grad": cotangent, "patches_grad": patches, "image_grad": image_cotangent}
        else:
            fields = {"tokens_relevance": cotangent, "image_relevance": image_cotangent}
        below[name] = {field: wide(value) for field, value in fields.items()}
    return Sweep(wide(logits), target, _finish(folds, carries, kept, ends, below))


def _bare_trace(layer, params, sown, output) -> LayerTrace:
    """Without gradients."""
    attn = sown["attn"]
    return LayerTrace(
        layer=layer,
        params=params,
        tokens=wide(sown["input"]),
        normed=wide(sown["normed"]),
        middle=wide(sown["middle"]),
        output=wide(output),
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


def _attention_only(model, params, layers, tokens, target, folds, ends) -> Sweep:
    """Folds without gradients: summaries are taken on the way forward, nothing is recomputed."""

    def body(x, layer):
        number, block_params = layer
        x, sown = model.observe(block_params, None, x)
        trace = _bare_trace(number, block_params, sown, x)
        return x, [fold.summarise(trace) for fold in folds]

    x, summaries = lax.scan(body, tokens, layers)
    logits = model.classify(params, x)

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


def _finish(folds, carries, kept, ends, below) -> tuple[Any, ...]:
    results = []
    for fold, carry, summaries in zip(folds, carries, kept, strict=True):
        if fold.order == "first_left":
            carry = _forward(fold, summaries)
        elif fold.order == "stacked":
            carry = summaries
        results.append(fold.finish(carry, ends._replace(**below.get(fold.gradient, {}), **below.get(fold.rules, {}))))
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
) -> Attention:
    """∂ score / ∂ attention of the last block alone, [h, n, m]; `target` is a class index.

    Cost: one forward and the backward of the last block, where a sweep would go through all of them.
    """
    model = stages(config, GRADIENT, params["pos_embed"].dtype)
    below, last = (jax.tree.map(lambda a, rows=rows: a[rows], params["blocks"]) for rows in (slice(-1), -1))
    x, _ = lax.scan(lambda x, layer: (model.block(layer, x), None), model.embed(params, None, image), below)
    output, vjp = jax.vjp(lambda zeros: model.observe(last, zeros, x)[0], model.zeros)
    logits, head_vjp = jax.vjp(lambda x: model.classify(params, x), output)
    (taps,) = vjp(head_vjp(score_gradient(logits, target, score))[0])
    return wide(taps["attn"]["attention"])


def collect(
    config: ViTConfig,
    params: Params,
    image: Image,
    target: Target,
    *,
    gradient: Gradient | None = "logit",
    rules: Ops | None = None,
) -> tuple[Sweep, LayerTrace]:
    """The full trace of one image, stacked over layers: a fold that only stacks.

    Returns the sweep and a LayerTrace whose arrays lead with l; gradients are None where `gradient` is None, and
    relevance is None where `rules` is.
    Cost: as `backward_fold`, and memory l·h·n·m for every attention-sized field that is used.
    """
    stack = Fold(
        init=(),
        summarise=lambda trace: trace._replace(params=None, linear_grads=None),
        step=lambda carry, summary, layer: carry,
        finish=lambda summaries, ends: summaries,
        gradient=gradient,
        rules=rules,
        order="stacked",
    )
    sweep = backward_fold(config, params, image, target, [stack])
    trace: Any = sweep.results[0]
    return sweep._replace(results=()), trace._replace(params=params["blocks"])
