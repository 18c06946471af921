"""GMAR: attention rollout with heads weighted by the norm of their gradients."""

from typing import Literal

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, HeadTrace, LayerTrace
from vitjax.layerwise.target import Score
from vitjax.methods.building_blocks import checked_layer, patch_map, row_normalise, start_at_readout, sum_over_heads
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array


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
    """Attention rollout with each head weighted by its share of the gradient norm (Jo et al. 2025).

    w_h = ‖G_l[h]‖ / Σ_h ‖G_l[h]‖; Â_l = Σ_h w_h A_l[h]; M_l = Â_l + αI; map = (Π_l M_l)[class, patches].

    Below an attention pooling head (SigLIP) the row starts from its attention, with heads fused in the same way.

    Args:
        norm: L1 or L2 norm over all n x n entries of a head's gradient.
        alpha: α, the weight of the identity, which stands for the residual connection.
        normalize: divide each row of M_l by its sum.
        order: "last_left" multiplies M_{L-1} ... M_0, the direction of information flow; "first_left" multiplies
            M_0 ... M_{L-1}, as printed in Joita 2025.
        start_layer: number of the lowest block in the product.
        score: G is the gradient of the logit or of the probability of the explained class.
        variant: "joita2025" is the code of Joita 2025: the mean over heads of w_h A_h instead of the sum, rows
            normalised, order "first_left"; `normalize` and `order` are then ignored.

    Spearman correlation with the default on 54 photographs, DeiT-Tiny (median, minimum; benchmarks/variants.py):
    joita2025 0.55, 0.06; first_left 0.46, -0.05; norm="l2" 1.00, 0.99; normalize=True 1.00, 1.00.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values >= 0.

    Raises:
        ConfigError: the model has no block `start_layer`.

    Cost: two forwards and one backward (2F + 1B). Order "first_left" stores l·n² numbers.

    Example:
        >>> e = vitjax.explain(model, image, method="gmar", norm="l2")
        >>> e.maps.shape, e.label
        ((1, 8, 8), 'gmar(norm=l2)')
    """
    start = checked_layer(config, start_layer, "start_layer")
    joita2025 = variant == "joita2025"

    def fuse(trace: LayerTrace | HeadTrace) -> Array:
        magnitude = jnp.abs(trace.attention_grad) if norm == "l1" else jnp.square(trace.attention_grad)
        norms = magnitude.sum(axis=(1, 2))
        norms = norms if norm == "l1" else jnp.sqrt(norms)
        weights = norms / norms.sum()
        fused = sum_over_heads(weights[:, None, None] * trace.attention)
        return fused / len(trace.attention) if joita2025 else fused

    def summarise(trace: LayerTrace) -> Array:
        fused = fuse(trace)
        transition = fused + alpha * jnp.eye(config.tokens, dtype=fused.dtype)
        return row_normalise(transition) if normalize or joita2025 else transition

    return Fold(
        **start_at_readout(config, fuse),
        summarise=summarise,
        step=lambda row, transition, layer: jnp.where(layer >= start, row @ transition, row),
        finish=lambda row, boundary: patch_map(config, row),
        gradient=score,
        order="input_to_output" if joita2025 or order == "first_left" else "output_to_input",
    )


METHOD = Method(
    title="GMAR",
    cite="Jo et al. 2025, GMAR: Gradient-driven Multi-head Attention Rollout for Vision Transformer Interpretability",
    cost="2F + 1B",
    fold=gmar,
    needs=frozenset({"head"}),
    use_when="rollout is wanted with heads weighted by their importance for the class",
)
