"""Raw attention: the class token's attention in one block."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import HeadFusion, checked_layer, fuse_heads, patch_map, pool_queries
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig


def raw_attention(config: ViTConfig, *, layer: int = -1, head_fusion: HeadFusion = "mean") -> Fold:
    """map = fuse_h(A_layer)[class, patches].

    Args:
        layer: block number; -1 is the last.
        head_fusion: how heads become one.

    Returns values >= 0 whose sum is 1 minus the weight the class token puts on prefix tokens. Class-agnostic.
    A model without a class token is read by its mean over patch rows.

    Cost: one forward. Differs from reference: nothing.

    Example: `vitjax.explain(model, "cat.jpg", method="raw_attention", layer=5)`
    """
    chosen = checked_layer(config, layer, "layer")
    return Fold(
        init=jnp.zeros(config.tokens),
        summarise=lambda trace: pool_queries(config, fuse_heads(trace.attention[:, config.readout_slice], head_fusion)),
        step=lambda row, seen, layer: jnp.where(layer == chosen, seen, row),
        finish=lambda row, boundary: patch_map(config, row),
    )


METHOD = Method(
    title="Raw attention",
    cite="Dosovitskiy et al. 2021, An Image is Worth 16x16 Words; the baseline of Chefer et al. 2021",
    cost="1F",
    fold=raw_attention,
    class_specific=False,
)
