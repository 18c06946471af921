"""Transition attention maps: a Markov chain over layers, weighted by the last attention's integrated gradients."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import Fold, LayerTrace
from vitjax.layerwise.last_block import last_attention_gradient
from vitjax.layerwise.run import backward_fold
from vitjax.layerwise.target import Score
from vitjax.methods.building_blocks import checked_layer, patch_map, sum_over_heads
from vitjax.methods.contract import Method
from vitjax.methods.options import Count
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Row, Square, Target


def tam(
    config: ViTConfig,
    params: Params,
    image: Image,
    target: Target,
    *,
    key: Array,
    start_layer: int | None = None,
    steps: Count = 20,
    integral: bool = True,
    score: Score = "logit",
) -> Array:
    """Markov chain of attention over layers, weighted by the last attention's integrated gradients (Yuan et al. 2021).

    v <- E_h[A_{L-1}][class]; for l = L-2 ... start_layer: v <- v E_h[A_l] + v; map = v ∘ w on patches, with
    w = E_h[(1/steps Σ_α ∂s(αx)/∂A_{L-1})+][class], α = linspace(0, 1, steps).

    Args:
        start_layer: number of the lowest block in the chain, at most L-2, or 0 for a model with one block; the authors'
            scripts use 4 or 0. None takes 4, or the highest number where that is lower.
        steps: number of points of the integral, at least 1. Both ends are included and the sum is divided by `steps`,
            as in the authors' code.
        integral: False takes the gradient at the image itself instead of the integral.
        score: s is the logit or the probability of the explained class.

    Spearman correlation with the default on 54 photographs, DeiT-Tiny (median, minimum; benchmarks/variants.py):
    start_layer=0 0.97, 0.87; integral=False 0.88, 0.52.

    Returns:
        Map [h, w] over the patches; values >= 0, rows not normalised.

    Raises:
        ConfigError: `steps` is below 1, or `start_layer` is above L-2 or no block of the model.

    Cost: one forward for the chain, and one forward and the backward of the last block alone per step.

    Differs from reference: nothing. The authors' code has no factor (x - baseline) either.

    Example:
        >>> maps = vitjax.explain(model, image, method="tam", steps=5).maps
        >>> maps.shape, bool((maps >= 0).all())
        ((1, 8, 8), True)
    """
    del key
    highest = max(config.depth - 2, 0)
    start = min(4, highest) if start_layer is None else checked_layer(config, start_layer, "start_layer")
    if start > highest:
        raise ConfigError(f"start_layer={start_layer}: the chain begins at block {highest} or below")
    last = config.depth - 1

    def summarise(trace: LayerTrace) -> tuple[Square, Row]:
        return sum_over_heads(trace.attention) / config.heads, trace.readout

    def step(carry: tuple[Row, Row], summary: tuple[Square, Row], layer: Array) -> Any:
        (v, _), (attention, readout) = carry, summary
        chained = jnp.where(layer >= start, v @ attention + v, v)
        return jnp.where(layer == last, readout @ attention, chained), readout

    zeros = jnp.zeros(config.tokens)
    chain = Fold(init=(zeros, zeros), summarise=summarise, step=step, finish=lambda carry, boundary: carry)
    v, readout = backward_fold(config, params, image, target, [chain]).results[0]

    def gradient(alpha: Array) -> Array:
        return last_attention_gradient(config, params, alpha * image, target, score=score)

    if integral:
        alphas = jnp.linspace(0, 1, steps, dtype=image.dtype)
        zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(gradient, alphas[0]))
        total, _ = lax.scan(lambda total, alpha: (total + gradient(alpha), None), zero, alphas)
        mean = total / steps
    else:
        mean = gradient(jnp.ones((), image.dtype))
    w = readout @ jnp.maximum(mean, 0).mean(axis=0)
    return patch_map(config, v * w)


METHOD = Method(
    title="Transition attention maps",
    cite="Yuan et al. 2021, Explaining Information Flow Inside Vision Transformers Using Markov Chain",
    cost="21F + 20 last-block B",
    explain=tam,
    needs=frozenset({"head"}),
    use_when="a map by class from attention and integrated gradients is wanted, and 20 forwards are affordable",
)
