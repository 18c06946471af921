"""Attention rollout: the product of the attention of all layers, residual connections included."""

from typing import Any, Literal

import jax.numpy as jnp

from vitjax.layerwise.fold import Boundary, Fold, LayerTrace
from vitjax.methods.building_blocks import (
    HeadFusion,
    checked_layer,
    discard_smallest,
    divide_columns_by_row_sums,
    fuse_heads,
    patch_map,
    row_normalise,
    start_at_readout,
)
from vitjax.methods.contract import Method
from vitjax.methods.options import Fraction, Share
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Float, Square

RowOrRows = Float[Array, "*heads n"]
SquareOrSquares = Float[Array, "*heads n m"]


def rollout(
    config: ViTConfig,
    *,
    head_fusion: HeadFusion = "mean",
    alpha: Share = 0.5,
    discard_ratio: Fraction = 0.0,
    start_layer: int = 0,
    per_head: bool = False,
    variant: Literal["canonical", "vit_explain", "first_left"] = "canonical",
) -> Fold:
    """Product over all blocks of attention with its residual connection (Abnar & Zuidema 2020, eq. 1).

    F_l = fuse_h(A_l); Ã_l = rownorm(αF_l + (1 - α)I); map = (Ã_{L-1} ... Ã_1 Ã_0)[class, patches].

    With the default α = 1/2, Ã_l = rownorm(F_l + I).

    Only the class token's row is carried: r <- r Ã_l from the last block down, O(n²) per block. The method is
    class-agnostic.

    Below an attention pooling head (SigLIP) the row starts from its attention, with heads fused in the same way.

    Args:
        head_fusion: mean, maximum or minimum over heads.
        alpha: α in (0, 1], the weight of attention; 1 - α is that of the residual connection. Das & Huddar 2025 print
            this form with α = 1: no residual connection. A row that discarding then empties stays 0.
        discard_ratio: share in [0, 1) of the smallest entries of each F_l that are set to 0, except entry [0, 0], as
            in vit-explain.
        start_layer: number of the lowest block in the product; blocks below it count as the identity.
        per_head: compute the rollout of each head by itself and average the results (the "rollout" of the TAM
            repository); `head_fusion` is then ignored.
        variant: "vit_explain" divides column j of αF_l + (1 - α)I by the sum of ROW j, as in the published code; the
            result is the same for mean fusion without discarding and differs otherwise. "first_left" multiplies in the
            opposite order, Ã_0 Ã_1 ... Ã_{L-1}, as in the code and equation of Joita 2025.

    Spearman correlation with the default on 54 photographs, DeiT-Tiny (median, minimum; benchmarks/variants.py):
    first_left 0.45, -0.03; per_head 1.00, 0.98; head_fusion="max" 0.93, 0.78; "min" 0.84, 0.51; alpha=1 0.63, 0.27.
    vit_explain with head_fusion="max" and discard_ratio=0.9 against "canonical" with the same options: 1.00, 0.98.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values >= 0, which sum to 1 over all tokens, prefix
        included ("canonical").

    Raises:
        ConfigError: the model has no block `start_layer`, `alpha` is outside (0, 1], or `discard_ratio` is outside
            [0, 1).

    Cost: one forward (1F); l·n² numbers of memory for the fused matrices. With discard_ratio > 0, sorting costs more
    than everything else.

    Example:
        >>> both = {"target": ["striped star", "plain ring"], "head_fusion": "max", "discard_ratio": 0.9}
        >>> star, ring = vitjax.explain(model, [image, image], method="rollout", **both).maps
        >>> star.shape, np.allclose(star, ring)  # the same map for every class
        ((8, 8), True)
    """
    start = checked_layer(config, start_layer, "start_layer")
    normalise = divide_columns_by_row_sums if variant == "vit_explain" else row_normalise

    def transition_matrix(square: Square) -> Array:
        identity = jnp.eye(config.tokens, dtype=square.dtype)
        kept = discard_smallest(square, discard_ratio, keep_first=True)
        return normalise(alpha * kept + (1 - alpha) * identity)

    def summarise(trace: LayerTrace) -> Array:
        if not per_head:
            return transition_matrix(fuse_heads(trace.attention, head_fusion))
        return jnp.stack([transition_matrix(head) for head in trace.attention])

    def step(row: RowOrRows, transition: SquareOrSquares, layer: Array) -> Any:
        """Multiplies one row [n], or one row per head [h, n], by the matrix of a block."""
        product = jnp.einsum("...n,...nm->...m", row, transition)
        return jnp.where(layer >= start, product, row)

    def finish(row: RowOrRows, boundary: Boundary) -> Array:
        return patch_map(config, row.mean(axis=0) if per_head else row)

    start_row = start_at_readout(config, lambda head: fuse_heads(head.attention, "mean" if per_head else head_fusion))
    if per_head:
        start_row = _for_each_head(config, start_row)
    return Fold(
        **start_row,
        summarise=summarise,
        step=step,
        finish=finish,
        order="input_to_output" if variant == "first_left" else "output_to_input",
    )


def _for_each_head(config: ViTConfig, start_row: dict[str, Any]) -> dict[str, Any]:
    """The fields of `start_at_readout` for a carry of one row per head."""
    begin = start_row.get("begin")
    rows = {"init": jnp.tile(start_row["init"], (config.heads, 1))}
    return rows if begin is None else rows | {"begin": lambda head: jnp.tile(begin(head), (config.heads, 1))}


METHOD = Method(
    title="Attention rollout",
    cite="Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers",
    cost="1F",
    fold=rollout,
    class_specific=False,
    use_when="one map for all classes is enough: every block's attention at the price of one forward",
)
