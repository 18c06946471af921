"""LRP rollout: relevance of attention rolled out, without gradients."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import accumulated, over_heads
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.rules import ZPLUS


def lrp_rollout(config: ViTConfig, *, start_layer: int = 0) -> Fold:
    """cam_l = E_h[(R_l)+]; map = (Π (cam_l + I))[class, patches], last block leftmost, with R_l the relevance of A_l
    under the zplus rules (the ablation "rollout" of Chefer et al. 2021a).

    Args:
        start_layer: blocks below it are left out.

    Returns values >= 0; rows are not normalised.

    Cost: two forwards and a backward of relevance worth about three. Ill-conditioned in float32, by tens of percent
    on DeiT-Tiny; use a float64 model where that matters. Differs from reference: per image, see
    transformer_attribution.

    Example: `vitjax.explain(model, "cat.jpg", method="lrp_rollout", start_layer=1)`
    """

    def cam(trace):
        return over_heads(jnp.maximum(trace.attention_relevance, 0)) / config.heads

    return accumulated(config, cam, start_layer=start_layer, rules=ZPLUS)


METHOD = Method(
    title="LRP rollout",
    cite="Chefer, Gur & Wolf 2021, Transformer Interpretability Beyond Attention Visualization (ablation)",
    cost="2F + 3B",
    fold=lrp_rollout,
    needs=frozenset({"head"}),
    ill_conditioned=True,
)
