"""Transformer attribution: relevance of attention, weighted by its gradient, rolled out."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import accumulated, over_heads
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.rules import ZPLUS


def transformer_attribution(config: ViTConfig, *, start_layer: int = 0) -> Fold:
    """cam_l = E_h[(G_l ∘ R_l)+]; map = (Π (cam_l + I))[class, patches], last block leftmost (Chefer et al. 2021a,
    eqs. 13-14), with R_l the relevance of A_l under the zplus rules and G_l the gradient of the logit by A_l.

    Args:
        start_layer: blocks below it are left out; the published evaluation scripts use 1.

    Returns values >= 0; rows are not normalised.

    Cost: two forwards, one backward, and a backward of relevance worth about three. The z-rule divides by sums near
    zero: in float32 maps are up to 24 % off those of float64 on DeiT-Tiny; use a float64 model where that matters.
    Differs from reference: the published code adds up relevance over the batch and so works for one image only;
    this is per image.

    Example: `vitjax.explain(model, "cat.jpg", method="transformer_attribution", target="tabby")`
    """

    def cam(trace):
        return over_heads(jnp.maximum(trace.attention_grad * trace.attention_relevance, 0)) / config.heads

    return accumulated(config, cam, start_layer=start_layer, gradient="logit", rules=ZPLUS)


METHOD = Method(
    title="Transformer attribution",
    cite="Chefer, Gur & Wolf 2021, Transformer Interpretability Beyond Attention Visualization",
    cost="2F + 4B",
    fold=transformer_attribution,
    needs=frozenset({"head"}),
    ill_conditioned=True,
)
