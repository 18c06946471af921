"""Partial LRP: relevance of one block's attention, read at the class token."""

from typing import Literal

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import at_layer, pool_queries
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.rules import Z_RULES


def partial_lrp(
    config: ViTConfig,
    *,
    layer: int = -1,
    rules: Literal["original", "zplus"] = "original",
    gradient: bool = False,
) -> Fold:
    """map = E_h[(R_layer)+][class, patches], R the relevance of attention (Voita et al. 2019, as run on ViT by Chefer
    et al. 2021a).

    Args:
        layer: block number; -1 is the last.
        rules: "original" (what the published baseline runs) or "zplus".
        gradient: multiply R by the gradient of the logit first.

    Returns values >= 0.

    Cost: one forward; through the blocks from `layer` on forward once more and a backward of relevance worth about
    three, one backward more with gradient. The last block's relevance is well conditioned in float32 (0.3 % on DeiT-
    Tiny), that of early blocks is not. Differs from reference: per image, see transformer_attribution.

    Example: `vitjax.explain(model, "cat.jpg", method="partial_lrp", rules="zplus")`
    """

    def summarise(trace):
        weighted = trace.attention_relevance * trace.attention_grad if gradient else trace.attention_relevance
        seen = pool_queries(config, jnp.maximum(weighted[:, config.readout_slice], 0).mean(axis=0))
        return seen[config.prefix :]

    fold = at_layer(config, layer, summarise, relu=False, gradient="logit" if gradient else None)
    return fold._replace(rules=Z_RULES[rules])


METHOD = Method(
    title="Partial LRP",
    cite="Voita et al. 2019, Analyzing Multi-Head Self-Attention; on ViT as in Chefer et al. 2021",
    cost="1F + 1 block",
    fold=partial_lrp,
    needs=frozenset({"head"}),
    ill_conditioned=True,
)
