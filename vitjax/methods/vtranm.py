"""VTranM: token transformations measured by length and direction, aggregated through attention and MLP layers."""

import jax
import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, Score
from vitjax.methods.building_blocks import at_layer, over_heads, patch_map
from vitjax.methods.contract import Method
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array


def vtranm(
    config: ViTConfig,
    *,
    aggregate: bool = True,
    length: bool = True,
    necc: bool = True,
    score: Score = "probability",
) -> Fold:
    """Relevance C = U_{2L} ... U_2 U_1 C^0, map = C[class, patches] (paper 003, eqs. 8-20; Wu et al. 2024).

    Each token E_j is transformed to Ẽ_j by a layer; its weight is w_j = ‖Ẽ_j‖/‖E_j‖ · NECC_j, where NECC is the
    softmax over all tokens of cos(E_j, Ẽ_j).
    MHSA: Ẽ_{h,j} = (LN1(E)_j W_{V,h} + b_{V,h}) W_{O,h} per head, U = I + E_h[(∂s/∂A_h)+ ∘ (A_h diag(w_h))].
    FFN: E is the stream after attention, Ẽ = MLP(LN2(E)), U = I + diag(w). C^0 = diag(‖E^0_j‖).

    Args:
        aggregate: False explains by the last block's E_h[(∂s/∂A)+ ∘ A] alone, the paper's baseline (eq. 8).
        length: weigh by lengths; False also drops the initial lengths (C^0 = I).
        necc: weigh by direction. With length and necc both False there are no FFN maps either, and what is left is
            transformer_mm with this score: the paper's "+AF".
        score: s is the probability (as the paper writes) or the logit of the explained class.

    Spearman's correlation with the default on 54 photographs, DeiT-Tiny (median, smallest; benchmarks/variants.py):
    necc=False 0.96, 0.86; length=False 0.94, 0.83; both 0.95, 0.84; aggregate=False 0.63, 0.26; score="logit" 0.98,
    0.86.

    Returns values >= 0. NECC divides by about n, so identity and initial lengths dominate the full method: expected.

    Cost: two forwards and one backward, and a product n x c x c a block. LayerScale counts as part of the
    transformation. Differs from reference: no public code was found; equal to an independent float64 oracle.

    Example: `vitjax.explain(model, "cat.jpg", method="vtranm", necc=False)`
    """
    readout = config.readout_weights()

    def weights(before: Array, after: Array, product: Array) -> Array:
        """w over tokens from ‖E‖ [n], ‖Ẽ‖ [..., n] and E·Ẽ [..., n]."""
        w = after / before if length else jnp.ones_like(after)
        return w * jax.nn.softmax(product / (before * after), axis=-1) if necc else w

    def attended(trace):
        positive = jnp.maximum(trace.attention_grad, 0) * trace.attention
        if not aggregate or not (length or necc):
            return over_heads(positive) / config.heads
        # Ẽ_h = V_h W_h is never formed, [h, n, c]: its length and its product with E need [h, n, d] alone.
        heads, n, d = trace.values.shape
        kernel = trace.params["attn"]["proj"]["kernel"].astype(trace.values.dtype)
        if config.layer_scale:
            kernel = kernel * trace.params["ls1"]["gamma"].astype(kernel.dtype)
        by_head = kernel.reshape(heads, d, -1)
        square = (jnp.matmul(trace.values, by_head @ by_head.mT) * trace.values).sum(axis=-1)
        product = ((trace.tokens @ kernel.T).reshape(n, heads, d).transpose(1, 0, 2) * trace.values).sum(axis=-1)
        w = weights(jnp.linalg.norm(trace.tokens, axis=-1), jnp.sqrt(jnp.maximum(square, 0)), product)
        return over_heads(positive * w[:, None]) / config.heads

    if not aggregate:
        return at_layer(
            config,
            -1,
            lambda trace: (readout @ attended(trace))[config.prefix :],
            relu=False,
            gradient=score,
        )

    def summarise(trace):
        if not (length or necc):
            return attended(trace), jnp.zeros(config.tokens)
        before, after = trace.middle, trace.output - trace.middle
        sizes = jnp.linalg.norm(before, axis=-1), jnp.linalg.norm(after, axis=-1)
        return attended(trace), weights(*sizes, (before * after).sum(axis=-1))

    def step(row, summary, layer):
        attention, ffn = summary
        row = row + row * ffn
        return row + row @ attention

    def finish(row, boundary):
        return patch_map(config, row * jnp.linalg.norm(boundary.tokens, axis=-1) if length else row)

    return Fold(init=readout, summarise=summarise, step=step, finish=finish, gradient=score)


METHOD = Method(
    title="VTranM",
    cite="Wu et al. 2024, Token Transformation Matters: Towards Faithful Post-hoc Explanation for Vision Transformer",
    cost="2F + 1B",
    fold=vtranm,
    needs=frozenset({"head"}),
)
