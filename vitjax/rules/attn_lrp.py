"""ATTN_LRP: AttnLRP (Achtibat et al. 2024, AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for
Transformers) as a modified gradient.

1/std of LayerNorm and GroupNorm, the norm of a similarity head and an activation's ratio f(z)/z are constants (identity
rule); each factor of a product of two activations receives half of the relevance (uniform rule); softmax has the Taylor
rule, which is gradient x input; linear layers and convolutions have LRP-0; max pooling gives relevance to the maximum.

Conservation: every operation except softmax and biases conserves relevance. Softmax does not, because its value at 0 is
not 0.
"""

from __future__ import annotations

from vitjax.nn.ops import GRADIENT
from vitjax.rules import modified_gradient
from vitjax.rules.modified_gradient import halved

ATTN_LRP = GRADIENT._replace(
    matmul=lambda a, b: GRADIENT.matmul(halved(a), halved(b)),
    scores=lambda q, k, factor: GRADIENT.scores(halved(q), halved(k), factor),
    layernorm=modified_gradient.layernorm,
    rmsnorm=modified_gradient.rmsnorm,
    groupnorm=modified_gradient.groupnorm,
    normalise=modified_gradient.normalise,
    activation=modified_gradient.activation,
    multiply=modified_gradient.multiply,
)
