"""Formulas of the methods that read relevance, or gradients of a model with modified backward passes."""

from __future__ import annotations

import numpy as np

from vitjax.verifying.formulas.matrices import positive, product
from vitjax.verifying.model_run import ModelRun


def transformer_attribution(run: ModelRun, start_layer: int) -> np.ndarray:
    """Rollout of gradient times relevance of attention."""
    relevance = run.relevance("zplus")
    return _attribution(run, relevance.attention_grad * relevance.attention, start_layer)


def lrp_rollout(run: ModelRun, start_layer: int) -> np.ndarray:
    """Rollout of the relevance of attention."""
    return _attribution(run, run.relevance("zplus").attention, start_layer)


def partial_lrp(run: ModelRun, layer: int, rules: str, gradient: bool) -> np.ndarray:
    """The relevance of one layer's attention."""
    relevance = run.relevance(rules)
    cam = relevance.attention[layer]
    if gradient:
        cam = cam * relevance.attention_grad[layer]
    return run.patches(run.pool_queries(positive(cam).mean(0)))


def lrp(run: ModelRun, rules: str) -> np.ndarray:
    """The relevance of the pixels."""
    return run.relevance(rules).pixels.sum(-1).ravel()


def conservative_lrp(run: ModelRun, at: str, gelu: str) -> np.ndarray:
    """Gradient x input with LayerNorm and attention held constant."""
    return _modified(run, "conservative" if gelu == "gradient" else "conservative_identity", at)


def attn_lrp(run: ModelRun, at: str) -> np.ndarray:
    """Gradient x input with products that give half of the gradient to each factor."""
    return _modified(run, "attn_lrp", at)


def _attribution(run: ModelRun, cams: np.ndarray, start_layer: int) -> np.ndarray:
    matrices = [np.eye(cam.shape[-1]) + positive(cam).mean(0) for cam in cams[start_layer:]]
    return run.patches(run.pool_queries(product(matrices)))


def _modified(run: ModelRun, rule: str, at: str) -> np.ndarray:
    by_tokens, by_pixels = run.modified_gradient(rule)
    tokens = run.traces["logit"].tokens[0]
    return (run.image * by_pixels).sum(-1).ravel() if at == "pixels" else run.patches((tokens * by_tokens).sum(-1))
