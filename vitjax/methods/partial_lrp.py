"""Partial LRP: the class token's row of the relevance of one block's attention."""

from typing import Literal

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, LayerTrace
from vitjax.methods.building_blocks import pool_queries, single_layer_fold
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.rules import Z_RULES
from vitjax.shapes import Array


def partial_lrp(
    config: ViTConfig,
    *,
    layer: int = -1,
    rules: Literal["original", "zplus"] = "original",
    gradient: bool = False,
) -> Fold:
    """Positive relevance of one block's attention (Voita et al. 2019; on ViT as in Chefer et al. 2021a).

    map = E_h[(R_layer)+][class, patches], where R_layer is the relevance of the block's attention.

    Args:
        layer: block number; negative numbers count from the last block.
        rules: table of relevance rules, "original" (the published baseline) or "zplus".
        gradient: multiply R by the gradient of the logit first.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values >= 0.

    Raises:
        ConfigError: the model has no block `layer`.

    Cost: one forward; then, through the blocks from `layer` on, one more forward and one backward pass of relevance,
    which costs about three backwards; with `gradient`, one more backward. In float32, the relevance of the last block
    is well conditioned (error 0.3 % on DeiT-Tiny), that of early blocks is not.

    Differs from reference: sums of relevance are per image, not over the batch (see `transformer_attribution`).

    Example:
        >>> maps = vitjax.explain(model, image, method="partial_lrp", rules="zplus").maps
        >>> maps.shape, bool((maps >= 0).all())
        ((1, 8, 8), True)
    """

    def summarise(trace: LayerTrace) -> Array:
        relevance = trace.attention_relevance * trace.attention_grad if gradient else trace.attention_relevance
        row = pool_queries(config, jnp.maximum(relevance[:, config.readout_slice], 0).mean(axis=0), trace.readout)
        return row[config.prefix :]

    fold = single_layer_fold(config, layer, summarise, relu=False, gradient="logit" if gradient else None)
    return fold._replace(rules=Z_RULES[rules])


METHOD = Method(
    title="Partial LRP",
    cite="Voita et al. 2019, Analyzing Multi-Head Self-Attention; on ViT as in Chefer et al. 2021",
    cost="1F + 1 block",
    fold=partial_lrp,
    needs=frozenset({"head"}),
    ill_conditioned=True,
    use_when="the relevance of one block's attention is wanted, without gradients",
)
