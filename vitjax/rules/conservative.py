"""CONSERVATIVE: gradient x input with attention weights and LayerNorm's 1/std held constant (Ali et al. 2022, XAI for
Transformers: Better Explanations through Conservative Propagation).

What remains is linear in the tokens but for the activation, which keeps its gradient; in CONSERVATIVE_IDENTITY its
ratio f(z)/z is held constant, too, as LXT's CP-LRP does. Linear layers: LRP-0, biases absorb.
Promise: with CONSERVATIVE_IDENTITY, the relevance of the tokens sums to the logit less what the biases contributed.
"""

from __future__ import annotations

from jax import lax

from vitjax.nn.ops import GRADIENT
from vitjax.rules import modified_gradient

CONSERVATIVE = GRADIENT._replace(
    softmax=lambda scores: lax.stop_gradient(GRADIENT.softmax(scores)),
    layernorm=modified_gradient.layernorm,
    multiply=modified_gradient.multiply,
)

CONSERVATIVE_IDENTITY = CONSERVATIVE._replace(activation=modified_gradient.activation)
