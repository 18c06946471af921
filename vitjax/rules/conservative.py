"""CONSERVATIVE: gradient x input with attention weights and LayerNorm's 1/std held constant (Ali et al. 2022, XAI for
Transformers: Better Explanations through Conservative Propagation).

The norm of a similarity head and the 1/std of a convolutional stem's GroupNorms are held constant, too. The model is
then linear in the tokens except for the activation, which keeps its gradient in CONSERVATIVE. In CONSERVATIVE_IDENTITY
the activation's ratio f(z)/z is held constant as well, as in LXT's CP-LRP. Linear layers and convolutions have LRP-0:
their biases absorb relevance.

Conservation: with CONSERVATIVE_IDENTITY, the relevance of the tokens sums to the logit minus the contribution of the
biases.
"""

from __future__ import annotations

from jax import lax

from vitjax.nn.ops import GRADIENT
from vitjax.rules import modified_gradient

CONSERVATIVE = GRADIENT._replace(
    softmax=lambda scores: lax.stop_gradient(GRADIENT.softmax(scores)),
    layernorm=modified_gradient.layernorm,
    rmsnorm=modified_gradient.rmsnorm,
    groupnorm=modified_gradient.groupnorm,
    normalise=modified_gradient.normalise,
    multiply=modified_gradient.multiply,
)

CONSERVATIVE_IDENTITY = CONSERVATIVE._replace(activation=modified_gradient.activation)
