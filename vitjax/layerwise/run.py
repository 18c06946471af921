"""The shared pass: one forward and one backward pass over the layers for any number of methods.

Almost every explainer of a transformer is a recurrence over layers, a `Fold`. `backward_fold` runs all folds that are
asked for in ONE reverse scan with one vjp per block. It saves the residual stream at each block's input and after its
attention; nothing of size [l, h, n, m] is stored unless a fold asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    at_every_token,
    bare_trace,
    step_back,
    step_folds,
)
from vitjax.layerwise.fold import Boundary, Fold, PassResults
from vitjax.layerwise.head import Head, NegativeStart, attention_head, readout_of, run_head, subtract_negative
from vitjax.layerwise.stages import Precomputed, Stages, TokenSlice, stages
from vitjax.layerwise.target import SCORES, is_class
from vitjax.nn.block import block_params
from vitjax.nn.network import params_dtype
from vitjax.nn.ops import GRADIENT, Ops, OpWithRule
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Row, Target, Tokens, at_least_float32


def backward_fold(
    config: ViTConfig,
    params: Params,
    image: Image,
    target: Target,
    folds: Sequence[Fold],
) -> PassResults:
    """Run all `folds` over one image in one shared pass.

    Args:
        image: normalised pixels [H, W, 3].
        target: class index, PREDICTED or SECOND, or another target of `vitjax.layerwise.target`.
        folds: the recurrences. Folds with gradients share one vjp per block; each score that is differentiated sends
            one set of cotangents through it. Each table of relevance rules adds a vjp and a set of cotangents.

    Returns: logits, the target with its class index, and each fold's result.

    Cost: 1F where no fold has gradients or rules. Otherwise 1F, the parts of each block that its vjp needs once more
        (unless `ExecutionPlan.saves_linear_outputs`), 1B by activations for each of "logit" and "probability" that a
        fold asks for, and one backward pass for each table of rules.
    Memory: 2·l·n·c for the residual stream, up to `ExecutionPlan.saved_bytes` of outputs of linear layers, and one
        block's attention, independent of depth. Folds with an order other than "output_to_input" add their
        summaries of every layer.
    """
    dtype = params_dtype(params)
    gradients = sorted({fold.gradient for fold in folds if fold.gradient is not None})
    tables = list(dict.fromkeys(fold.rules for fold in folds if fold.rules is not None))
    # Cotangents that pass through every block, as (key, table): the key is a score's name or the table itself.
    flows: list[tuple[Any, Ops]] = [(score, GRADIENT) for score in gradients if score in SCORES]
    flows += [(table, table) for table in tables]
    # The rule of sums of ZPLUS keeps the sum of the relevance, which is 0 for a difference: it is not additive.
    split = [] if is_class(target) else [table for table in tables if isinstance(table.add, OpWithRule)]
    flows += [(NegativeStart(table), table) for table in split]
    models = {ops: stages(config, ops, dtype) for ops in (GRADIENT, *tables)}
    model = models[GRADIENT]
    tokens = model.embed(params, None, image)
    boundary = Boundary(params=params, image=at_least_float32(image), tokens=at_least_float32(tokens))
    if not gradients and not tables:
        return _attention_only(config, model, params, tokens, target, folds, boundary)

    last_slice = config.readout_slice if _peels_last_block(config, folds) else None
    lowest = min(fold.lowest for fold in folds)
    x, residuals, last_residuals = forward(
        config, model, params, tokens, last_slice, lowest, save=active_plan(config).saves_linear_outputs(config, dtype)
    )
    head = run_head(config, models, params, x, target, flows)
    context = PassContext(config, params, models, flows, folds, gradients, head.target, head.readout)
    carry = Carry(x, head.cotangents, head.residual, head.starts(folds))
    if last_residuals is not None:
        carry = carry._replace(cotangents=[cotangent[last_slice] for cotangent in head.cotangents])
        carry, _ = step_back(context, carry, last_residuals, last_slice)
    summaries: Sequence[Any] = [None] * len(folds)
    if residuals is not None:
        carry, summaries = _backward(context, carry, residuals)
    at_input = dict(zip(flows, carry.cotangents, strict=True))
    below = _below_blocks(models, params, image, at_input) if lowest == 0 else {}
    results = _finish(head, folds, carry.folds, summaries, boundary, below)
    return PassResults(at_least_float32(head.logits), head.target, results)


def forward(
    config: ViTConfig,
    model: Stages,
    params: Params,
    tokens: Tokens,
    last_slice: slice | None,
    lowest: int,
    save: bool = False,
) -> tuple[Tokens, Any, Residuals | None]:
    """Run the blocks and save residuals of those from `lowest` on.

    last_slice: the last block is peeled off the scan and computes these tokens only after its attention; None: it is
    not peeled. save: residuals include the outputs of qkv and fc1.

    Returns tokens that leave the last block (zero outside last_slice), stacked residuals, the last block's residuals.
    """

    def precomputed(outputs: Any) -> Precomputed:
        return {"attn": {"qkv": outputs["attn"]["qkv"]}, "mlp": {"fc1": outputs["mlp"]["fc1"]}} if save else None

    def saving(x: Tokens, number: Array) -> tuple[Tokens, Residuals]:
        middle, output, outputs = model.block(block_params(params["blocks"], number), x, None)
        return output, Residuals(number, x, middle, precomputed(outputs))

    def forgetting(x: Tokens, number: Array) -> tuple[Tokens, None]:
        return model.block(block_params(params["blocks"], number), x, None)[1], None

    end = config.depth if last_slice is None else config.depth - 1
    x = lax.scan(forgetting, tokens, jnp.arange(lowest))[0] if lowest else tokens
    x, residuals = lax.scan(saving, x, jnp.arange(lowest, end)) if lowest < end else (x, None)
    if last_slice is None:
        return x, residuals, None
    middle, output, outputs = model.block(block_params(params["blocks"], config.depth - 1), x, last_slice)
    last_residuals = Residuals(jnp.int32(config.depth - 1), x, middle, precomputed(outputs))
    return jnp.zeros_like(x).at[last_slice].set(output), residuals, last_residuals


def _backward(context: PassContext, carry: Carry, residuals: Residuals) -> tuple[Carry, Sequence[Any]]:
    """Step back through the blocks.

    Every iteration of a scan computes the same, so that in a deep model the lowest block is peeled off: cotangents
    below its attention are then not computed, where no fold reads them.
    """
    peel = context.config.deep and all(fold.order == "output_to_input" and not fold.to_input for fold in context.folds)

    def step(carry: Carry, place: Array | int) -> tuple[Carry, list[Any]]:
        return step_back(context, carry, jax.tree.map(lambda stacked: stacked[place], residuals))

    places = range(int(peel), len(residuals.number))
    summaries: Sequence[Any] = [None] * len(context.folds)
    if places:
        carry, summaries = lax.scan(step, carry, jnp.asarray(places), reverse=True)
    return (step(carry, 0)[0] if peel else carry), summaries


def _peels_last_block(config: ViTConfig, folds: Sequence[Fold]) -> bool:
    """Whether the last block is peeled off the scan. Folds that keep summaries of all layers would have to append the
    last block's to the others, which doubles their memory."""
    return config.peeled and all(fold.order == "output_to_input" for fold in folds)


def _below_blocks(
    models: Mapping[Ops, Stages], params: Params, image: Image, cotangents: Mapping[tuple[Any, Ops], Tokens]
) -> dict[Any, dict[str, Any]]:
    """Fields of `Boundary` by score or table: gradients and relevance at the tokens, the patches and the pixels."""
    below = {}
    for (key, ops), cotangent in cotangents.items():
        _, vjp = jax.vjp(lambda z, image, ops=ops: models[ops].embed(params, z, image), models[ops].embed_zeros, image)
        taps, image_cotangent = vjp(cotangent)
        if ops is GRADIENT:
            patches = taps["patch_embed"]["proj"]["result"]
            fields = {"tokens_grad": cotangent, "patches_grad": patches, "image_grad": image_cotangent}
        else:
            fields = {"tokens_relevance": cotangent, "image_relevance": image_cotangent}
        below[key] = {name: at_least_float32(value) for name, value in fields.items()}
    return subtract_negative(below)


def _attention_only(
    config: ViTConfig,
    model: Stages,
    params: Params,
    tokens: Tokens,
    target: Target,
    folds: Sequence[Fold],
    boundary: Boundary,
) -> PassResults:
    """Folds without gradients: summaries are computed in the forward pass, and nothing is rematerialised.

    Where the model pools by attention, its weights are known after the last block only: one more forward computes them,
    which the compiler removes unless a fold reads them in a block.
    """
    readout = (
        readout_of(config, None) if not config.pools_by_attention else _pooling_weights(config, model, params, tokens)
    )

    def block(x: Tokens, number: Array, token_slice: TokenSlice = None) -> tuple[Tokens, list[Any]]:
        weights = block_params(params["blocks"], number)
        skip, normed = model.before_attention(weights, x)
        middle, attn = model.add_attention(weights, None, skip, normed, token_slice, None)
        output = model.transform(weights, middle)
        activations = Activations(x, normed, middle, output, attn)
        if token_slice is not None:
            output = jnp.zeros_like(x).at[token_slice].set(output)
            activations = at_every_token(model, weights, activations)
        return output, [fold.summarise(bare_trace(number, weights, activations, readout)) for fold in folds]

    peeled = _peels_last_block(config, folds)
    numbers = jnp.arange(config.depth - peeled)
    x, summaries = lax.scan(block, tokens, numbers)
    last_summaries = None
    if peeled:
        x, last_summaries = block(x, jnp.int32(config.depth - 1), config.readout_slice)
    head = attention_head(config, model, params, x, target)
    carries: Any = head.starts(folds)
    if last_summaries is not None:
        carries, _ = step_folds(folds, carries, last_summaries, jnp.int32(config.depth - 1))

    def step(carries: Any, layer: tuple[Array, Any]) -> tuple[Any, None]:
        number, summaries = layer
        return step_folds(folds, carries, summaries, number)[0], None

    carries, _ = lax.scan(step, carries, (numbers, summaries), reverse=True)
    results = _finish(head, folds, carries, summaries, boundary, {})
    return PassResults(at_least_float32(head.logits), head.target, results)


def _pooling_weights(config: ViTConfig, model: Stages, params: Params, tokens: Tokens) -> Row:
    """Mean over heads of a pooling head's attention. Cost: 1F."""

    def block(x: Tokens, number: Array) -> tuple[Tokens, None]:
        return model.block(block_params(params["blocks"], number), x, None)[1], None

    x, _ = lax.scan(block, tokens, jnp.arange(config.depth))
    return readout_of(config, model.pool(params, None, x)[1])


def _finish(
    head: Head,
    folds: Sequence[Fold],
    carries: Sequence[Any],
    summaries: Sequence[Any],
    boundary: Boundary,
    below: Mapping[Any, dict[str, Any]],
) -> tuple[Any, ...]:
    """Each fold's result. `below`: fields of `Boundary` by the score or table that they belong to."""
    results = []
    for fold, carry, stacked in zip(folds, carries, summaries, strict=True):
        if fold.order == "input_to_output":
            carry = _scan_upwards(fold, head.start(fold), stacked)
        elif fold.order == "stacked":
            carry = stacked
        seen = boundary._replace(**below.get(fold.gradient, {}), **below.get(fold.rules, {}))
        results.append(fold.finish(carry, seen))
    return tuple(results)


def _scan_upwards(fold: Fold, start: Any, summaries: Any) -> Any:
    """Step from the first layer to the last over stored summaries."""
    count = jax.tree.leaves(summaries)[0].shape[0]

    def step(carry: Any, layer: tuple[Array, Any]) -> tuple[Any, None]:
        number, summary = layer
        return fold.step(carry, summary, number), None

    return lax.scan(step, start, (jnp.arange(count), summaries))[0]
