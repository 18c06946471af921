"""Attention-guided CAM: gradients of attention gated by the sigmoid of its scores, summed over blocks."""

import jax
import jax.numpy as jnp

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import pool_queries, sum_over_layers
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig


def ag_cam(config: ViTConfig) -> Fold:
    """map = Σ_l Σ_h (G_l[h, class, :])+ ∘ sigmoid(S_l[h, class, :]) on patches (Leem & Seo 2024).

    S are the scaled scores before the softmax. G is the gradient of the logit that flows along the residual stream
    and the MLPs only: the normalised input of every attention is taken as constant, as the authors' code does.

    Returns values >= 0.

    Cost: two forwards and one backward of the tokens that the head reads. Differs
    from reference: nothing; the formula printed in the survey of paper 002 is looser than the code.

    Example: `vitjax.explain(model, "cat.jpg", method="ag_cam", target="tabby")`
    """

    def summarise(trace):
        gradient = jnp.maximum(pool_queries(config, trace.attention_grad), 0)
        return (gradient * jax.nn.sigmoid(pool_queries(config, trace.scores[:, config.readout_slice]))).sum(axis=0)

    return sum_over_layers(config, summarise, gradient="residual")


METHOD = Method(
    title="Attention-guided CAM",
    cite="Leem & Seo 2024, Attention Guided CAM: Visual Explanations of Vision Transformer Guided by Self-Attention",
    cost="2F + 1B",
    fold=ag_cam,
    needs=frozenset({"head"}),
)
