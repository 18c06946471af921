"""ATTN_LRP: AttnLRP (Achtibat et al. 2024, AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for
Transformers) as a modified gradient.

LayerNorm's 1/std and the activation's ratio f(z)/z are constants (identity rule); both factors of a product of
activations get half (uniform rule); softmax by its Taylor rule, which is gradient x input. Linear layers: LRP-0.
Promise: every operation but softmax and biases conserves relevance; softmax, whose value at 0 is not 0, does not.
"""

from __future__ import annotations

from vitjax.nn.ops import GRADIENT
from vitjax.rules import modified_gradient
from vitjax.rules.modified_gradient import halved

ATTN_LRP = GRADIENT._replace(
    matmul=lambda a, b: GRADIENT.matmul(halved(a), halved(b)),
    scores=lambda q, k, factor: GRADIENT.scores(halved(q), halved(k), factor),
    layernorm=modified_gradient.layernorm,
    activation=modified_gradient.activation,
    multiply=modified_gradient.multiply,
)
