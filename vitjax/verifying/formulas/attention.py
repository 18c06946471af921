"""Formulas of the methods that combine attention matrices over heads and layers, most of them with gradients."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from vitjax.errors import ConfigError
from vitjax.verifying.formulas.matrices import discard, fuse_heads, normalise_queries, positive, product
from vitjax.verifying.model_run import ModelRun


def raw_attention(run: ModelRun, layer: int, head_fusion: str) -> np.ndarray:
    """The attention of one layer."""
    return run.patches(run.pool_queries(fuse_heads(run.traces["logit"].attention[layer], head_fusion)))


def rollout(
    run: ModelRun,
    head_fusion: str,
    alpha: float,
    discard_ratio: float,
    start_layer: int,
    per_head: bool,
    variant: str,
) -> np.ndarray:
    """The product of αA + (1 - α)I over the layers."""
    attention = run.traces["logit"].attention[start_layer:]

    def transition(square: np.ndarray) -> np.ndarray:
        a = alpha * discard(square, discard_ratio, True) + (1 - alpha) * np.eye(len(square))
        return a / a.sum(-1) if variant == "vit_explain" else normalise_queries(a)

    order = "first_left" if variant == "first_left" else "last_left"
    if per_head:
        heads = range(attention.shape[1])
        mean = np.mean([product([transition(a[h]) for a in attention], order) for h in heads], axis=0)
        return run.patches(run.pool_queries(mean))
    fused = [fuse_heads(a, head_fusion) for a in attention]
    return run.patches(run.pool_queries(product([transition(square) for square in fused], order)))


def grad_rollout(run: ModelRun, head_fusion: str, discard_ratio: float, score: str, variant: str) -> np.ndarray:
    """The product over the layers of ((A ∘ G)+ + I) / 2; "das2025": of (A ∘ G)+, where A and G are fused first."""
    t, as_published = run.traces[score], variant == "vit_explain"
    # The published code pairs attention with gradients in reverse order of the layers.
    gradients = t.scores_grad[::-1] if as_published else t.attention_grad

    def transition(a: np.ndarray, g: np.ndarray) -> np.ndarray:
        if variant == "das2025":
            return discard(positive(fuse_heads(a, head_fusion) * fuse_heads(g, head_fusion)), discard_ratio, False)
        f = (discard(positive(fuse_heads(a * g, head_fusion)), discard_ratio, False) + np.eye(a.shape[-1])) / 2
        return f / f.sum(-1) if as_published else normalise_queries(f)

    matrices = [transition(*pair) for pair in zip(t.attention, gradients, strict=True)]
    return run.patches(run.pool_queries(product(matrices)))


def transformer_mm(run: ModelRun, score: str, start_layer: int) -> np.ndarray:
    """The recurrence R = R + (A ∘ G)+ R."""
    t = run.traces[score]
    relevance = np.eye(t.attention.shape[-1])
    for a, g in list(zip(t.attention, t.attention_grad, strict=True))[start_layer:]:
        relevance = relevance + positive(a * g).mean(0) @ relevance
    return run.patches(run.pool_queries(relevance))


def grad_cam(run: ModelRun, layer: int, relu: bool, score: str) -> np.ndarray:
    """One layer's attention, each head weighted by its mean gradient."""
    t = run.traces[score]
    a, g = (run.patches(run.pool_queries(x[layer])) for x in (t.attention, t.attention_grad))
    cam = np.mean([g[h].mean() * a[h] for h in range(len(a))], axis=0)
    return positive(cam) if relu else cam


def ag_cam(run: ModelRun) -> np.ndarray:
    """The sum of G+ ∘ sigmoid(scores) over layers and heads."""
    pairs = zip(run.residual_attention_grad(), run.traces["logit"].scores, strict=True)
    layers = [(positive(run.pool_queries(g)) * expit(run.pool_queries(s))).sum(0) for g, s in pairs]
    return run.patches(np.sum(layers, axis=0))


def gmar(
    run: ModelRun,
    norm: str,
    alpha: float,
    normalize: bool,
    order: str,
    start_layer: int,
    score: str,
    variant: str,
) -> np.ndarray:
    """Rollout with heads weighted by the norms of their gradients."""
    t, as_published = run.traces[score], variant == "joita2025"
    matrices = []
    for a, g in zip(t.attention, t.attention_grad, strict=True):
        sizes = np.array([np.linalg.norm(head.ravel(), 1 if norm == "l1" else 2) for head in g])
        weighted = (sizes / sizes.sum())[:, None, None] * a
        m = (weighted.mean(0) if as_published else weighted.sum(0)) + alpha * np.eye(a.shape[-1])
        matrices.append(normalise_queries(m) if normalize or as_published else m)
    return run.patches(run.pool_queries(product(matrices[start_layer:], "first_left" if as_published else order)))


def legrad(run: ModelRun, pool: str, layers: int | None, variant: str) -> np.ndarray:
    """The sum over layers of the positive gradient of each layer's own score."""
    t, depth = run.traces["logit"], run.config.depth
    if variant == "joita2025":
        p = run.config.prefix
        cams = [positive(g) * a for a, g in zip(t.attention, t.attention_grad, strict=True)]
        return np.mean([cam.mean(0)[p:, p:].mean(1) for cam in cams], axis=0)
    chosen = range(depth - (layers or depth), depth)
    sums = [positive(run.local_attention_grad(layer, pool)).mean((0, 1)) for layer in chosen]
    return run.patches(np.sum(sums, axis=0))


def tam(run: ModelRun, start_layer: int | None, steps: int, integral: bool, score: str) -> np.ndarray:
    """States of a Markov chain over the layers, times the last layer's gradient integrated along the path to 0."""
    a = run.traces[score].attention.mean(1)
    states = run.pool_queries(a[-1])
    highest = run.config.depth - 2
    for layer in range(highest, (min(4, highest) if start_layer is None else start_layer) - 1, -1):
        states = states + states @ a[layer]
    alphas = np.linspace(0, 1, steps) if integral else [1.0]
    gradient = np.mean([run.trace(alpha * run.image, score).attention_grad[-1] for alpha in alphas], axis=0)
    return run.patches(states * run.pool_queries(positive(gradient).mean(0)))


def attention_flow(run: ModelRun) -> np.ndarray:
    """Maximum flow by networkx, with floating-point capacities."""
    try:
        import networkx
    except ImportError as error:
        raise ConfigError("the formula of attention_flow needs networkx: pip install 'vitjax[verify]'") from error

    graph, depth, n = networkx.DiGraph(), run.config.depth, run.config.tokens
    for layer, attention in enumerate(run.traces["logit"].attention):
        square = normalise_queries(attention.mean(0) + np.eye(n))
        for (i, j), capacity in np.ndenumerate(square):
            graph.add_edge((layer + 1, i), (layer, j), capacity=capacity)
    for i, capacity in enumerate(run.pool_queries(np.eye(n))):
        if capacity:
            graph.add_edge("source", (depth, i), capacity=capacity)
    flow = np.array([networkx.maximum_flow_value(graph, "source", (0, j)) for j in range(n)])
    return run.patches(flow / flow.sum())
