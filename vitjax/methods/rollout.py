"""Attention rollout: attention followed through all layers, residual connections included."""

from typing import Literal

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import (
    HeadFusion,
    checked_layer,
    checked_ratio,
    discard_smallest,
    divide_columns_by_row_sums,
    fuse_heads,
    patch_map,
    row_normalise,
)
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig


def rollout(
    config: ViTConfig,
    *,
    head_fusion: HeadFusion = "mean",
    discard_ratio: float = 0.0,
    start_layer: int = 0,
    per_head: bool = False,
    variant: Literal["canonical", "vit_explain", "first_left"] = "canonical",
) -> Fold:
    """Ã_l = rownorm(fuse_h(A_l) + I); map = (Ã_{L-1} ... Ã_1 Ã_0)[class, patches] (Abnar & Zuidema 2020, eq. 1).

    Only the class token's row is carried: r <- r Ã_l from the last block down, O(n²) a block.

    Args:
        head_fusion: how heads become one matrix.
        discard_ratio: share d in [0, 1) of the smallest entries of each fused matrix that are set to 0 (entry
            [0, 0] excepted), as vit-explain introduced it.
        start_layer: first block of the product; blocks below it count as identity.
        per_head: roll each head out alone and average the results (the TAM repository's "rollout");
            `head_fusion` is then not used.
        variant: "vit_explain" divides column j of (F + I)/2 by the sum of ROW j, as that code does: a no-op
            difference for mean fusion without discarding, visible otherwise. "first_left" multiplies in the
            opposite order, Ã_0 Ã_1 ... Ã_{L-1}, as the code and equation of paper 001 do.

    Spearman's correlation with the default on 54 photographs, DeiT-Tiny (median, smallest; benchmarks/variants.py):
    first_left 0.45, -0.03; per_head 1.00, 0.98; head_fusion="max" 0.93, 0.78; "min" 0.84, 0.51; vit_explain with max
    fusion and discard_ratio 0.9 against the same without it 1.00, 0.98.

    Returns values >= 0; over all tokens they sum to 1 (canonical). Class-agnostic.

    Cost: one forward; memory l·n² for the fused matrices. Sorting for discard_ratio > 0 costs more than the rest.

    Example: `vitjax.explain(model, "cat.jpg", method="rollout", head_fusion="max", discard_ratio=0.9)`
    """
    start = checked_layer(config, start_layer, "start_layer")
    ratio = checked_ratio(discard_ratio)
    readout = config.readout_weights()
    identity = jnp.eye(config.tokens)
    normalise = divide_columns_by_row_sums if variant == "vit_explain" else row_normalise

    def transition(square):
        return normalise((discard_smallest(square, ratio, keep_first=True) + identity) / 2)

    def summarise(trace):
        if not per_head:
            return transition(fuse_heads(trace.attention, head_fusion))
        return jnp.stack([transition(head) for head in trace.attention])

    def step(row, moves, layer):
        # One row [n], or one per head [h, n].
        moved = jnp.einsum("...n,...nm->...m", row, moves)
        return jnp.where(layer >= start, moved, row)

    def finish(row, boundary):
        return patch_map(config, row.mean(axis=0) if per_head else row)

    return Fold(
        init=jnp.tile(readout, (config.heads, 1)) if per_head else readout,
        summarise=summarise,
        step=step,
        finish=finish,
        order="first_left" if variant == "first_left" else "last_left",
    )


METHOD = Method(
    title="Attention rollout",
    cite="Abnar & Zuidema 2020, Quantifying Attention Flow in Transformers",
    cost="1F",
    fold=rollout,
    class_specific=False,
)
