"""Transformer attribution: rollout of the relevance of attention weighted by its gradient."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, HeadTrace, LayerTrace
from vitjax.methods.building_blocks import residual_rollout, sum_over_heads
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.rules import ZPLUS
from vitjax.shapes import Array


def transformer_attribution(config: ViTConfig, *, start_layer: int = 0) -> Fold:
    """Rollout of attention relevance x attention gradient (Chefer et al. 2021a, eqs. 13-14).

    cam_l = E_h[(G_l ∘ R_l)+]; map = (Π_l (cam_l + I))[class, patches], last block leftmost, where R_l is the relevance
    of A_l under the zplus rules and G_l the gradient of the logit by A_l.

    Args:
        start_layer: number of the lowest block in the product; the published evaluation scripts use 1.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values >= 0, rows not normalised.

    Raises:
        ConfigError: the model has no block `start_layer`.

    Cost: two forwards, one backward, and one backward pass of relevance, which costs about three backwards (2F + 4B).
    The z-rule divides by sums near zero: on DeiT-Tiny, float32 maps are up to 24 % off those in float64; use a float64
    model where that matters.

    Differs from reference: the published code sums relevance over the batch, so it is correct for one image only; here
    sums of relevance are per image.

    Example:
        >>> e = vitjax.explain(model, image, method="transformer_attribution", target="striped star")
        >>> divmod(int(e.maps[0].argmax()), 8)  # row and column of the peak: the star's lowest point
        (6, 3)
    """

    def cam(trace: LayerTrace | HeadTrace) -> Array:
        return sum_over_heads(jnp.maximum(trace.attention_grad * trace.attention_relevance, 0)) / len(trace.attention)

    return residual_rollout(config, cam, start_layer=start_layer, gradient="logit", rules=ZPLUS)


METHOD = Method(
    title="Transformer attribution",
    cite="Chefer, Gur & Wolf 2021, Transformer Interpretability Beyond Attention Visualization",
    cost="2F + 4B",
    fold=transformer_attribution,
    needs=frozenset({"head"}),
    ill_conditioned=True,
    use_when="the relevance and gradients of Chefer et al. 2021 are wanted; to compare numbers, use float64",
)
