"""Formulas of the methods that read token vectors and their gradients."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from vitjax.verifying.formulas.matrices import positive
from vitjax.verifying.model_run import ModelRun


def token_grad_cam(run: ModelRun, layer: int, relu: bool, score: str) -> np.ndarray:
    """One layer's normed tokens, each channel weighted by its mean gradient."""
    t, prefix = run.traces[score], run.config.prefix
    cam = t.normed[layer][prefix:] @ t.normed_grad[layer][prefix:].mean(0)
    return positive(cam) if relu else cam


def attcat(run: ModelRun, weights: str, hidden: str, score: str) -> np.ndarray:
    """Tokens times gradients, weighted by attention, summed over layers."""
    t = run.traces[score]
    h, g = (t.tokens, t.tokens_grad) if hidden == "input" else (t.output, t.output_grad)
    fused = t.attention.mean(1)
    token_weights = fused.mean(1) if weights == "queries" else run.pool_queries(fused)
    return run.patches((token_weights * (h * g).sum(-1)).sum(0))


def vtranm(run: ModelRun, aggregate: bool, length: bool, necc: bool, score: str) -> np.ndarray:
    """Positive attention times gradient, weighted by how far each layer lengthens and turns its tokens."""
    t, config = run.traces[score], run.config
    n = config.tokens

    def weight(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        sizes = np.linalg.norm(before, axis=-1), np.linalg.norm(after, axis=-1)
        value = sizes[1] / sizes[0] if length else np.ones(n)
        if necc:
            value = value * softmax([before[j] @ after[j] / sizes[0][j] / sizes[1][j] for j in range(n)])
        return value

    weighted = positive(t.attention_grad) * t.attention
    if not aggregate:
        return run.patches(run.pool_queries(weighted[-1].mean(0)))
    relevance = np.diag(np.linalg.norm(t.tokens[0], axis=-1)) if length else np.eye(n)
    d = config.width // config.heads
    for layer in range(config.depth):
        u = np.zeros((n, n))
        for h in range(config.heads):
            kernel = run.projection(layer)[h * d : (h + 1) * d]
            moved = t.values[layer, h] @ kernel
            if config.layer_scale:
                moved = moved * run.layer_scale(layer)
            scale = weight(t.tokens[layer], moved) if length or necc else np.ones(n)
            u = u + weighted[layer, h] @ np.diag(scale) / config.heads
        relevance = (np.eye(n) + u) @ relevance
        if length or necc:
            ffn = weight(t.middle[layer], t.output[layer] - t.middle[layer])
            relevance = (np.eye(n) + np.diag(ffn)) @ relevance
    return run.patches(run.pool_queries(relevance))
