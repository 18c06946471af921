"""Probabilities of classes: a softmax of the logits, or a sigmoid for a model with one output."""

from __future__ import annotations

import jax

from vitjax.shapes import Array


def probabilities(logits: Array) -> Array:
    """[..., k] logits -> probabilities. The softmax of a single logit would be 1 for every image."""
    return jax.nn.sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.softmax(logits)


def log_probabilities(logits: Array) -> Array:
    """[..., k] logits -> logarithms of the probabilities."""
    return jax.nn.log_sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.log_softmax(logits)
