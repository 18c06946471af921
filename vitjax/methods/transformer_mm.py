"""Transformer-MM explainability: relevance accumulated through attention weighted by its gradient."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, HeadTrace, LayerTrace
from vitjax.layerwise.target import Score
from vitjax.methods.building_blocks import residual_rollout, sum_over_heads
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array


def transformer_mm(config: ViTConfig, *, score: Score = "logit", start_layer: int = 0) -> Fold:
    """Relevance of tokens accumulated through gradient-weighted attention (Chefer et al. 2021b, eqs. 5-6).

    cam_l = E_h[(G_l ∘ A_l)+]; R <- R + cam_l R from R = I; map = R[class, patches].

    R equals the product (I + cam_{L-1}) ... (I + cam_0). Only its class row is carried: r <- r + r cam_l from the last
    block down.

    Below an attention pooling head (SigLIP) the row starts from its attention, with heads fused in the same way.

    Args:
        score: G is the gradient of the logit (the authors' code) or of the probability (Wu et al. 2024, eq. 8) of the
            explained class; maps of the two have a Spearman correlation of 0.98 (median of 54 photographs;
            benchmarks/variants.py).
        start_layer: number of the lowest block in the product.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values >= 0, not normalised.

    Raises:
        ConfigError: the model has no block `start_layer`.

    Cost: two forwards and one backward (2F + 1B).

    Differs from reference: nothing.

    Example:
        >>> e = vitjax.explain(model, image, method="transformer_mm", target="striped star")
        >>> divmod(int(e.maps[0].argmax()), 8)  # row and column of the peak: the star's lowest point
        (6, 3)
    """

    def cam(trace: LayerTrace | HeadTrace) -> Array:
        return sum_over_heads(jnp.maximum(trace.attention * trace.attention_grad, 0)) / len(trace.attention)

    return residual_rollout(config, cam, start_layer=start_layer, gradient=score)


METHOD = Method(
    title="Transformer-MM",
    cite="Chefer, Gur & Wolf 2021, Generic Attention-model Explainability for Bi-Modal Transformers",
    cost="2F + 1B",
    fold=transformer_mm,
    needs=frozenset({"head"}),
    use_when="a first map by class is wanted: quick, nothing to tune, and a usual baseline of later papers",
)
