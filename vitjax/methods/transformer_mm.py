"""Transformer-MM explainability: relevance accumulated through attention weighted by its gradient."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, Score
from vitjax.methods.building_blocks import accumulated, over_heads
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig


def transformer_mm(config: ViTConfig, *, score: Score = "logit", start_layer: int = 0) -> Fold:
    """cam_l = E_h[(G_l ∘ A_l)+]; R <- R + cam_l R from R = I; map = R[class, patches] (Chefer et al. 2021b, eqs. 5-6).

    R is the product (I + cam_{L-1}) ... (I + cam_0); its class row is carried: r <- r + r cam_l from the last block.

    Args:
        score: G is the gradient of the logit (the authors' code) or of the probability (paper 003, eq. 8); maps of
            the two correlate by 0.98 (Spearman, median of 54 photographs; benchmarks/variants.py).
        start_layer: blocks below it are left out.

    Returns values >= 0, not normalised.

    Cost: two forwards and one backward. Differs from reference: nothing.

    Example: `vitjax.explain(model, "cat.jpg", method="transformer_mm", target="tabby")`
    """

    def cam(trace):
        return over_heads(jnp.maximum(trace.attention * trace.attention_grad, 0)) / config.heads

    return accumulated(config, cam, start_layer=start_layer, gradient=score)


METHOD = Method(
    title="Transformer-MM",
    cite="Chefer, Gur & Wolf 2021, Generic Attention-model Explainability for Bi-Modal Transformers",
    cost="2F + 1B",
    fold=transformer_mm,
    needs=frozenset({"head"}),
)
