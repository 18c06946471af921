"""GMAR: rollout with heads weighted by the norm of their gradients."""

from typing import Literal

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, Score
from vitjax.methods.building_blocks import checked_layer, over_heads, patch_map, row_normalise
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig


def gmar(
    config: ViTConfig,
    *,
    norm: Literal["l1", "l2"] = "l1",
    alpha: float = 1.0,
    normalize: bool = False,
    order: Literal["last_left", "first_left"] = "last_left",
    start_layer: int = 0,
    score: Score = "logit",
    variant: Literal["canonical", "joita2025"] = "canonical",
) -> Fold:
    """w_h = ‖G_l[h]‖ / Σ_h ‖G_l[h]‖; Â_l = Σ_h w_h A_l[h]; M_l = Â_l + αI; map = (Π M_l)[class, patches].

    Args:
        norm: L1 or L2 norm over all n x n entries of a head's gradient.
        alpha: weight of the identity, the residual connection.
        normalize: divide the rows of M_l by their sums.
        order: "last_left" is M_{L-1} ... M_0, information flow; "first_left" M_0 ... M_{L-1}, as paper 001 prints it.
        start_layer: blocks below it are left out.
        score: G is the gradient of the logit or of the probability.
        variant: "joita2025" is the code behind paper 001: mean over heads of w_h A_h instead of the sum, rows
            normalised, first_left (`normalize` and `order` are then not used).

    Spearman's correlation with the default on 54 photographs, DeiT-Tiny (median, smallest; benchmarks/variants.py):
    joita2025 0.55, 0.06; first_left 0.46, -0.05; norm="l2" 1.00, 0.99; normalize=True 1.00, 1.00.

    Returns values >= 0.

    Cost: two forwards and one backward; first_left stores l·n².

    Example: `vitjax.explain(model, "cat.jpg", method="gmar", norm="l2")`
    """
    start = checked_layer(config, start_layer, "start_layer")
    readout = config.readout_weights()
    identity = alpha * jnp.eye(config.tokens)
    as_published = variant == "joita2025"

    def summarise(trace):
        size = jnp.abs(trace.attention_grad) if norm == "l1" else jnp.square(trace.attention_grad)
        per_head = size.sum(axis=(1, 2))
        per_head = per_head if norm == "l1" else jnp.sqrt(per_head)
        weights = per_head / per_head.sum()
        fused = over_heads(weights[:, None, None] * trace.attention)
        moves = (fused / config.heads if as_published else fused) + identity
        return row_normalise(moves) if normalize or as_published else moves

    return Fold(
        init=readout,
        summarise=summarise,
        step=lambda row, moves, layer: jnp.where(layer >= start, row @ moves, row),
        finish=lambda row, boundary: patch_map(config, row),
        gradient=score,
        order="first_left" if as_published else order,
    )


METHOD = Method(
    title="GMAR",
    cite="Jo et al. 2025, GMAR: Gradient-driven Multi-head Attention Rollout for Vision Transformer Interpretability",
    cost="2F + 1B",
    fold=gmar,
    needs=frozenset({"head"}),
)
