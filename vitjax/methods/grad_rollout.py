"""Gradient rollout: attention rollout with attention weighted by its gradient."""

from typing import Any, Literal

import jax.numpy as jnp
from jax import lax

from vitjax.layerwise.fold import Boundary, Fold, HeadTrace, LayerTrace
from vitjax.layerwise.target import Score
from vitjax.methods.building_blocks import (
    HeadFusion,
    discard_smallest,
    divide_columns_by_row_sums,
    fuse_heads,
    patch_map,
    row_normalise,
    start_at_readout,
)
from vitjax.methods.contract import Method
from vitjax.methods.options import Fraction
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Attention, Row, Square


def grad_rollout(
    config: ViTConfig,
    *,
    head_fusion: HeadFusion = "mean",
    discard_ratio: Fraction = 0.0,
    score: Score = "logit",
    variant: Literal["canonical", "vit_explain", "das2025"] = "canonical",
) -> Fold:
    """Attention rollout with each block's attention weighted by its gradient (Gildenblat 2020).

    F_l = (fuse_h(A_l ∘ G_l))+; map = (Π_l rownorm((F_l + I)/2))[class, patches], last block leftmost.

    Args:
        head_fusion: mean, maximum or minimum over heads; the published code has the mean only.
        discard_ratio: share in [0, 1) of the smallest entries of each F_l that are set to 0.
        score: G is the gradient of the logit or of the probability of the explained class.
        variant: "vit_explain" is the published code, which produced the tables of Das & Huddar 2025. It differs in
            three points: the attention of block l is multiplied by the gradient of block L-1-l, the gradient is taken
            with respect to the scaled scores before the softmax, and column j is divided by the sum of row j.
            "das2025" is the formula that they print: attention and gradient are fused over heads each by itself,
            F_l = (fuse_h(A_l) ∘ fuse_h(G_l))+, and map = (F_{L-1} ... F_1 F_0)[class, patches], without the identity
            and without normalisation.

    Spearman correlation with the default on 54 photographs, DeiT-Tiny (median, minimum; benchmarks/variants.py):
    vit_explain 0.91, 0.82; das2025 0.14, -0.38; head_fusion="max" 0.88, 0.78; "min" 0.55, 0.26; discard_ratio=0.9 1.00,
    1.00.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values >= 0, which sum to 1 over all tokens, prefix
        included ("canonical"). The values of "das2025" are products of L small numbers; a map whose maximum is below
        2^-110, where float32 would lose its values, is multiplied by a power of two.

    Raises:
        ConfigError: `discard_ratio` is outside [0, 1).

    Cost: two forwards and one backward (2F + 1B). "vit_explain" also stores 2·l·h·n·m numbers.

    Example:
        >>> e = vitjax.explain(model, image, method="grad_rollout", target="striped star", discard_ratio=0.9)
        >>> divmod(int(e.maps[0].argmax()), 8)  # row and column of the peak: the star's lowest point
        (6, 3)
    """

    def fuse(attention: Attention, gradient: Attention) -> Array:
        return jnp.maximum(fuse_heads(attention * gradient, head_fusion), 0)

    def transition_matrix(attention: Attention, gradient: Attention) -> Array:
        fused = fuse(attention, gradient)
        return (
            discard_smallest(fused, discard_ratio, keep_first=False) + jnp.eye(config.tokens, dtype=fused.dtype)
        ) / 2

    if variant == "das2025":
        return _as_printed(config, head_fusion, discard_ratio, score)
    if variant == "canonical":
        return Fold(
            **start_at_readout(config, lambda head: row_normalise(fuse(head.attention, head.attention_grad))),
            summarise=lambda trace: row_normalise(transition_matrix(trace.attention, trace.attention_grad)),
            step=lambda row, transition, layer: row @ transition,
            finish=lambda row, boundary: patch_map(config, row),
            gradient=score,
        )

    readout = config.readout_weights()

    def finish_vit_explain(stacked: Any, boundary: Boundary) -> Array:
        attentions, gradients = stacked

        def step(row: Row, attention_and_gradient: Any) -> Any:
            return row @ divide_columns_by_row_sums(transition_matrix(*attention_and_gradient)), None

        row, _ = lax.scan(step, readout.astype(attentions.dtype), (attentions, gradients[::-1]), reverse=True)
        return patch_map(config, row)

    return Fold(
        init=(),
        summarise=lambda trace: (trace.attention, trace.scores_grad),
        step=lambda carry, summary, layer: carry,
        finish=finish_vit_explain,
        gradient=score,
        order="stacked",
    )


def _as_printed(config: ViTConfig, head_fusion: HeadFusion, discard_ratio: float, score: Score) -> Fold:
    """The variant "das2025". Its carry is a row, scaled to a maximum below 1, and the power of two that was taken out.

    Scaling by powers of two is exact: the map is the product itself wherever that can be represented.
    """

    def fuse(trace: LayerTrace | HeadTrace) -> Square:
        both = (fuse_heads(matrices, head_fusion) for matrices in (trace.attention, trace.attention_grad))
        attention, gradient = both
        return discard_smallest(jnp.maximum(attention * gradient, 0), discard_ratio, keep_first=False)

    def scaled(row: Row, exponent: Array) -> Any:
        _, shift = jnp.frexp(row.max())
        return jnp.ldexp(row, -shift), exponent + shift

    def finish(carry: Any, boundary: Boundary) -> Array:
        row, exponent = carry
        return patch_map(config, jnp.ldexp(row, jnp.maximum(exponent, jnp.finfo(row.dtype).minexp + 16)))

    start = start_at_readout(config, fuse)
    begin, none = start.pop("begin", None), jnp.int32(0)
    if begin is not None:
        start["begin"] = lambda head: scaled(begin(head), none)
    return Fold(
        **start | {"init": (start["init"], none)},
        summarise=fuse,
        step=lambda carry, fused, layer: scaled(carry[0] @ fused, carry[1]),
        finish=finish,
        gradient=score,
    )


METHOD = Method(
    title="Gradient rollout",
    cite="Gildenblat 2020, vit-explain (gradient attention rollout)",
    cost="2F + 1B",
    fold=grad_rollout,
    needs=frozenset({"head"}),
    use_when="the idea of rollout is wanted by class: the attention of each block, weighted by its gradient",
)
