"""Attention-guided CAM: gradients of attention gated by the sigmoid of its scores, summed over blocks."""

import jax
import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, LayerTrace
from vitjax.methods.building_blocks import pool_queries, sum_over_layers
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array


def ag_cam(config: ViTConfig) -> Fold:
    """Sum over blocks and heads of the positive attention gradient, gated by the scores (Leem & Seo 2024).

    map = Σ_l Σ_h (G_l[h, class, :])+ ∘ sigmoid(S_l[h, class, :]) on patches.

    S_l are the scaled scores before the softmax. G_l is the gradient of the logit along the residual stream and the
    MLPs only: the normalised input of every attention layer is held constant, as in the authors' code.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values >= 0.

    Cost: two forwards and one backward (2F + 1B), the backward at only the tokens that the head reads.

    Differs from reference: nothing. The formula in the survey of Coporan 2025 is less precise than the authors' code.

    Example:
        >>> maps = vitjax.explain(model, image, method="ag_cam", target="plain ring").maps
        >>> maps.shape, bool((maps >= 0).all())
        ((1, 8, 8), True)
    """

    def summarise(trace: LayerTrace) -> Array:
        gradient = jnp.maximum(pool_queries(config, trace.attention_grad, trace.readout), 0)
        scores = pool_queries(config, trace.scores[:, config.readout_slice], trace.readout)
        return (gradient * jax.nn.sigmoid(scores)).sum(axis=0)

    return sum_over_layers(config, summarise, gradient="residual")


METHOD = Method(
    title="Attention-guided CAM",
    cite="Leem & Seo 2024, Attention Guided CAM: Visual Explanations of Vision Transformer Guided by Self-Attention",
    cost="2F + 1B",
    fold=ag_cam,
    needs=frozenset({"head"}),
    use_when="a quick map by class is wanted, from scores that a sigmoid gates, which favours peaks less than softmax",
)
