"""VTranM: attention weighted by how each layer changes the length and direction of tokens, over all layers."""

from typing import Any

import jax
import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import Boundary, Fold, HeadTrace, LayerTrace
from vitjax.layerwise.target import Score
from vitjax.methods.building_blocks import patch_map, single_layer_fold, start_at_readout, sum_over_heads
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Row


def vtranm(
    config: ViTConfig,
    *,
    aggregate: bool = True,
    length: bool = True,
    necc: bool = True,
    score: Score = "probability",
) -> Fold:
    """Relevance of tokens aggregated through all attention and FFN layers (Wu et al. 2024, eqs. 8-20).

    C = U_{2L} ... U_2 U_1 C^0, C^0 = diag(‖E^0_j‖); map = C[class, patches].

    A layer transforms each token E_j to Ẽ_j; the weight of the token is w_j = ‖Ẽ_j‖/‖E_j‖ · NECC_j, where NECC is the
    softmax over all tokens of cos(E_j, Ẽ_j).
    MHSA: Ẽ_{h,j} = (LN1(E)_j W_{V,h} + b_{V,h}) W_{O,h} per head, U = I + E_h[(∂s/∂A_h)+ ∘ (A_h diag(w_h))].
    FFN: E is the residual stream after attention, Ẽ = MLP(LN2(E)), U = I + diag(w).

    Args:
        aggregate: False uses only E_h[(∂s/∂A)+ ∘ A] of the last block, the paper's baseline (eq. 8).
        length: weight tokens by the ratio of lengths; False also drops the initial lengths (C^0 = I).
        necc: weight tokens by NECC, the change of direction. With `length` and `necc` both False there are no FFN
            factors either, and the method equals transformer_mm with this score: the paper's "+AF".
        score: s is the probability (as in the paper) or the logit of the explained class.

    Spearman correlation with the default on 54 photographs, DeiT-Tiny (median, minimum; benchmarks/variants.py):
    necc=False 0.96, 0.86; length=False 0.94, 0.83; both 0.95, 0.84; aggregate=False 0.63, 0.26; score="logit" 0.98,
    0.86.

    Raises:
        ConfigError: the model has a norm between attention and the residual stream (attention_norm, post_norm,
            sandwich_norm).

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values >= 0. NECC divides by about n, so the identity
        and the initial lengths dominate the full method; this is expected.

    Cost: two forwards and one backward (2F + 1B), and one product n x c x c per block. LayerScale counts as part of the
    transformation.

    Differs from reference: no public code was found; maps equal those of an independent float64 oracle.

    Example:
        >>> e = vitjax.explain(model, image, method="vtranm", target="striped star", necc=False)
        >>> divmod(int(e.maps[0].argmax()), 8)  # row and column of the peak: the star's lowest point
        (6, 3)
    """
    if config.attention_norm or config.post_norm or config.sandwich_norm:
        raise ConfigError("vtranm needs heads that transform tokens independently; here a norm follows attention")

    def token_weights(length_before: Array, length_after: Array, product: Array) -> Array:
        """w of every token from ‖E‖ [n], ‖Ẽ‖ [..., n] and E·Ẽ [..., n]."""
        w = length_after / length_before if length else jnp.ones_like(length_after)
        return w * jax.nn.softmax(product / (length_before * length_after), axis=-1) if necc else w

    def attention_factor(trace: LayerTrace) -> Array:
        """E_h[(∂s/∂A_h)+ ∘ (A_h diag(w_h))], the factor U of MHSA without the identity."""
        if not aggregate or not (length or necc):
            return _gradient_weighted(trace)
        positive = jnp.maximum(trace.attention_grad, 0) * trace.attention
        # Ẽ [h, n, c] is never stored: with K_h = W_{O,h}, ‖Ẽ_h‖² = V_h (K_h K_hᵀ) · V_h and E · Ẽ_h = (E K_hᵀ) · V_h
        # need arrays [h, n, d] only.
        heads, n, d = trace.values.shape
        kernel, tokens = trace.params["attn"]["proj"]["kernel"], trace.tokens
        if config.layer_scale:
            kernel = kernel.astype(tokens.dtype) * trace.params["ls1"]["gamma"].astype(tokens.dtype)
        else:
            tokens = tokens.astype(kernel.dtype)  # exact: it is the dtype in which they were computed
        by_head = kernel.astype(trace.values.dtype).reshape(heads, d, -1)
        square = (jnp.matmul(trace.values, by_head @ by_head.mT) * trace.values).sum(axis=-1)
        product = jnp.matmul(tokens, kernel.T, preferred_element_type=trace.values.dtype).reshape(n, heads, d)
        product = (product.transpose(1, 0, 2) * trace.values).sum(axis=-1)
        w = token_weights(jnp.linalg.norm(trace.tokens, axis=-1), jnp.sqrt(jnp.maximum(square, 0)), product)
        return sum_over_heads(positive * w[:, None]) / config.heads

    if not aggregate:
        return single_layer_fold(
            config,
            -1,
            lambda trace: (trace.readout @ attention_factor(trace))[config.prefix :],
            relu=False,
            gradient=score,
        )

    def summarise(trace: LayerTrace) -> tuple[Array, Array]:
        if not (length or necc):
            return attention_factor(trace), jnp.zeros(config.tokens)
        before, after = trace.middle, trace.output - trace.middle
        lengths = jnp.linalg.norm(before, axis=-1), jnp.linalg.norm(after, axis=-1)
        return attention_factor(trace), token_weights(*lengths, (before * after).sum(axis=-1))

    def step(row: Row, summary: Any, layer: Array) -> Any:
        attention, ffn = summary
        row = row + row * ffn
        return row + row @ attention

    def finish(row: Row, boundary: Boundary) -> Array:
        return patch_map(config, row * jnp.linalg.norm(boundary.tokens, axis=-1) if length else row)

    start_row = start_at_readout(config, _gradient_weighted)
    return Fold(**start_row, summarise=summarise, step=step, finish=finish, gradient=score)


def _gradient_weighted(trace: LayerTrace | HeadTrace) -> Array:
    """E_h[(∂s/∂A_h)+ ∘ A_h], [n, m]."""
    return sum_over_heads(jnp.maximum(trace.attention_grad, 0) * trace.attention) / len(trace.attention)


METHOD = Method(
    title="VTranM",
    cite="Wu et al. 2024, Token Transformation Matters: Towards Faithful Post-hoc Explanation for Vision Transformer",
    cost="2F + 1B",
    fold=vtranm,
    needs=frozenset({"head"}),
    use_when="the change of tokens in the MLP and the residual connections is to be counted, not attention alone",
)
