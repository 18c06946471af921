"""LRP rollout: rollout of the relevance of attention, without gradients."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, HeadTrace, LayerTrace
from vitjax.methods.building_blocks import residual_rollout, sum_over_heads
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.rules import ZPLUS
from vitjax.shapes import Array


def lrp_rollout(config: ViTConfig, *, start_layer: int = 0) -> Fold:
    """Rollout of the positive relevance of attention (the ablation "rollout" of Chefer et al. 2021a).

    cam_l = E_h[(R_l)+]; map = (Π_l (cam_l + I))[class, patches], last block leftmost, where R_l is the relevance of A_l
    under the zplus rules.

    Args:
        start_layer: number of the lowest block in the product.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values >= 0, rows not normalised.

    Raises:
        ConfigError: the model has no block `start_layer`.

    Cost: two forwards and one backward pass of relevance, which costs about three backwards (2F + 3B). The method is
    ill-conditioned: float32 maps are off by tens of percent on DeiT-Tiny; use a float64 model where that matters.

    Differs from reference: sums of relevance are per image, not over the batch (see `transformer_attribution`).

    Example:
        >>> maps = vitjax.explain(model, image, method="lrp_rollout", start_layer=1).maps
        >>> maps.shape, bool((maps >= 0).all())
        ((1, 8, 8), True)
    """

    def cam(trace: LayerTrace | HeadTrace) -> Array:
        return sum_over_heads(jnp.maximum(trace.attention_relevance, 0)) / len(trace.attention)

    return residual_rollout(config, cam, start_layer=start_layer, rules=ZPLUS)


METHOD = Method(
    title="LRP rollout",
    cite="Chefer, Gur & Wolf 2021, Transformer Interpretability Beyond Attention Visualization (ablation)",
    cost="2F + 3B",
    fold=lrp_rollout,
    needs=frozenset({"head"}),
    ill_conditioned=True,
    use_when="the ablation of Transformer attribution without gradients is to be reproduced",
)
