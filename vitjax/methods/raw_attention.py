"""Raw attention: the class token's row of attention in one block."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import HeadFusion, checked_layer, fuse_heads, patch_map, pool_queries
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig


def raw_attention(config: ViTConfig, *, layer: int = -1, head_fusion: HeadFusion = "mean") -> Fold:
    """Attention from the class token to the patches in one block, fused over heads.

    map = fuse_h(A_layer)[class, patches]. The method is class-agnostic.

    Args:
        layer: block number; negative numbers count from the last block.
        head_fusion: mean, maximum or minimum over heads.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values >= 0 which, for head_fusion="mean", sum to 1
        minus the attention to prefix tokens. For a model without a class token, the mean over the patches' rows
        replaces the class token's row.

    Raises:
        ConfigError: the model has no block `layer`.

    Cost: one forward (1F).

    Differs from reference: nothing.

    Example:
        >>> maps = vitjax.explain(model, image, method="raw_attention", layer=5).maps
        >>> maps.shape, bool(0 < maps.sum() < 1)  # the rest is attention to the class token
        ((1, 8, 8), True)
    """
    chosen = checked_layer(config, layer, "layer")
    return Fold(
        init=jnp.zeros(config.tokens),
        summarise=lambda trace: pool_queries(
            config, fuse_heads(trace.attention[:, config.readout_slice], head_fusion), trace.readout
        ),
        step=lambda row, layer_row, layer: jnp.where(layer == chosen, layer_row, row),
        finish=lambda row, boundary: patch_map(config, row),
    )


METHOD = Method(
    title="Raw attention",
    cite="Dosovitskiy et al. 2021, An Image is Worth 16x16 Words; the baseline of Chefer et al. 2021",
    cost="1F",
    fold=raw_attention,
    class_specific=False,
    use_when="a baseline is wanted, or a look at one block: a single block's attention, without a class",
)
