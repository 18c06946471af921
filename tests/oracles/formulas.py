"""Every method's formula, written out with whole n x n matrices in float64 numpy.

A formula works on a `World`: one image of one model and what the model did with it. Where the arrays come from is
the world's business: `torch_world` takes them from PyTorch by autograd, tests/methods/test_formulas.py from jax.grad.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.special import expit, softmax


class Trace(NamedTuple):
    """Arrays lead with the layer; gradients are of one score. Named as in vitjax.trace.LayerTrace."""

    tokens: np.ndarray
    normed: np.ndarray
    middle: np.ndarray
    output: np.ndarray
    values: np.ndarray
    scores: np.ndarray
    attention: np.ndarray
    tokens_grad: np.ndarray
    normed_grad: np.ndarray
    output_grad: np.ndarray
    scores_grad: np.ndarray
    attention_grad: np.ndarray


class FullGradient(NamedTuple):
    image_grad: np.ndarray  # [H, W, 3]
    positions: np.ndarray  # [rows, c]
    positions_grad: np.ndarray
    biases: list[tuple[np.ndarray, np.ndarray]]  # (bias [o], gradient by the layer's result [tokens, o])


class World(Protocol):
    """What a formula may ask."""

    config: Any  # a ViTConfig
    image: np.ndarray  # [H, W, 3]
    traces: dict[str, Trace]  # by score

    def trace(self, image: np.ndarray, score: str) -> Trace: ...
    def residual_attention_grad(self) -> np.ndarray: ...
    def local_attention_grad(self, layer: int, pool: str) -> np.ndarray: ...
    def full_gradient(self, score: str) -> FullGradient: ...
    def projection(self, layer: int) -> np.ndarray: ...
    def layer_scale(self, layer: int) -> np.ndarray: ...


class Reading:
    """The part of a world that follows from its configuration."""

    config: Any

    def read(self, square):
        """The readout row of a whole matrix [..., n, n]."""
        if self.config.pool == "token":
            return square[..., 0, :]
        return square[..., self.config.prefix :, :].mean(-2)

    def patches(self, row):
        return row[..., self.config.prefix :]


def discard(square, ratio, keep_first):
    flat = square.flatten()
    smallest = np.argsort(flat, kind="stable")[: int(flat.size * ratio)]
    if keep_first:
        smallest = smallest[smallest != 0]
    flat[smallest] = 0
    return flat.reshape(square.shape)


def rows(square):
    return square / square.sum(-1, keepdims=True)


def product(matrices, order="last_left"):
    result = np.eye(matrices[0].shape[0])
    for matrix in matrices:
        result = matrix @ result if order == "last_left" else result @ matrix
    return result


def relu(x):
    return np.maximum(x, 0)


def raw_attention(w, layer, head_fusion):
    fuse = {"mean": np.mean, "max": np.max, "min": np.min}[head_fusion]
    return w.patches(w.read(fuse(w.traces["logit"].attention[layer], axis=0)))


def rollout(w, head_fusion, discard_ratio, start_layer, per_head, variant):
    attention = w.traces["logit"].attention[start_layer:]
    fuse = {"mean": np.mean, "max": np.max, "min": np.min}[head_fusion]

    def transition(square):
        a = (discard(square, discard_ratio, True) + np.eye(len(square))) / 2
        return a / a.sum(-1) if variant == "vit_explain" else rows(a)

    order = "first_left" if variant == "first_left" else "last_left"
    if per_head:
        heads = range(attention.shape[1])
        return w.patches(
            w.read(np.mean([product([transition(a[h]) for a in attention], order) for h in heads], axis=0))
        )
    return w.patches(w.read(product([transition(fuse(a, axis=0)) for a in attention], order)))


def grad_rollout(w, discard_ratio, score, variant):
    t, as_published = w.traces[score], variant == "vit_explain"
    gradients = t.scores_grad[::-1] if as_published else t.attention_grad

    def transition(a, g):
        f = (discard(relu((a * g).mean(0)), discard_ratio, False) + np.eye(a.shape[-1])) / 2
        return f / f.sum(-1) if as_published else rows(f)

    return w.patches(w.read(product([transition(*pair) for pair in zip(t.attention, gradients, strict=True)])))


def transformer_mm(w, score, start_layer):
    t = w.traces[score]
    relevance = np.eye(t.attention.shape[-1])
    for a, g in list(zip(t.attention, t.attention_grad, strict=True))[start_layer:]:
        relevance = relevance + relu(a * g).mean(0) @ relevance
    return w.patches(w.read(relevance))


def grad_cam(w, layer, relu, score):
    t = w.traces[score]
    a, g = (w.patches(w.read(x[layer])) for x in (t.attention, t.attention_grad))
    cam = np.mean([g[h].mean() * a[h] for h in range(len(a))], axis=0)
    return np.maximum(cam, 0) if relu else cam


def token_grad_cam(w, layer, relu, score):
    t, prefix = w.traces[score], w.config.prefix
    cam = t.normed[layer][prefix:] @ t.normed_grad[layer][prefix:].mean(0)
    return np.maximum(cam, 0) if relu else cam


def ag_cam(w):
    pairs = zip(w.residual_attention_grad(), w.traces["logit"].scores, strict=True)
    return w.patches(sum((relu(w.read(g)) * expit(w.read(s))).sum(0) for g, s in pairs))


def gmar(w, norm, alpha, normalize, order, start_layer, score, variant):
    t, as_published = w.traces[score], variant == "joita2025"
    matrices = []
    for a, g in zip(t.attention, t.attention_grad, strict=True):
        sizes = np.array([np.linalg.norm(head.ravel(), 1 if norm == "l1" else 2) for head in g])
        weighted = (sizes / sizes.sum())[:, None, None] * a
        m = (weighted.mean(0) if as_published else weighted.sum(0)) + alpha * np.eye(a.shape[-1])
        matrices.append(rows(m) if normalize or as_published else m)
    return w.patches(w.read(product(matrices[start_layer:], "first_left" if as_published else order)))


def legrad(w, pool, layers, variant):
    t, depth = w.traces["logit"], w.config.depth
    if variant == "joita2025":
        p = w.config.prefix
        cams = [relu(g) * a for a, g in zip(t.attention, t.attention_grad, strict=True)]
        return np.mean([cam.mean(0)[p:, p:].mean(1) for cam in cams], axis=0)
    chosen = range(depth - (layers or depth), depth)
    return w.patches(sum(relu(w.local_attention_grad(layer, pool)).mean((0, 1)) for layer in chosen))


def tam(w, start_layer, steps, integral, score):
    a = w.traces[score].attention.mean(1)
    states = w.read(a[-1])
    for layer in range(w.config.depth - 2, min(start_layer, w.config.depth - 2) - 1, -1):
        states = states + states @ a[layer]
    alphas = np.linspace(0, 1, steps) if integral else [1.0]
    gradient = np.mean([w.trace(alpha * w.image, score).attention_grad[-1] for alpha in alphas], axis=0)
    return w.patches(states * w.read(relu(gradient).mean(0)))


def attcat(w, weights, hidden, score):
    t = w.traces[score]
    h, g = (t.tokens, t.tokens_grad) if hidden == "input" else (t.output, t.output_grad)
    fused = t.attention.mean(1)
    seen = fused.mean(1) if weights == "queries" else w.read(fused)
    return w.patches((seen * (h * g).sum(-1)).sum(0))


def vtranm(w, aggregate, length, necc, score):
    t, config = w.traces[score], w.config
    n = config.tokens

    def weight(before, after):
        sizes = np.linalg.norm(before, axis=-1), np.linalg.norm(after, axis=-1)
        value = sizes[1] / sizes[0] if length else np.ones(n)
        if necc:
            value = value * softmax([before[j] @ after[j] / sizes[0][j] / sizes[1][j] for j in range(n)])
        return value

    positive = relu(t.attention_grad) * t.attention
    if not aggregate:
        return w.patches(w.read(positive[-1].mean(0)))
    relevance = np.diag(np.linalg.norm(t.tokens[0], axis=-1)) if length else np.eye(n)
    d = config.width // config.heads
    for layer in range(config.depth):
        u = 0
        for h in range(config.heads):
            kernel = w.projection(layer)[h * d : (h + 1) * d]
            moved = t.values[layer, h] @ kernel
            if config.layer_scale:
                moved = moved * w.layer_scale(layer)
            scale = weight(t.tokens[layer], moved) if length or necc else np.ones(n)
            u = u + positive[layer, h] @ np.diag(scale) / config.heads
        relevance = (np.eye(n) + u) @ relevance
        if length or necc:
            ffn = weight(t.middle[layer], t.output[layer] - t.middle[layer])
            relevance = (np.eye(n) + np.diag(ffn)) @ relevance
    return w.patches(w.read(relevance))


def full_grad(w, score):
    full = w.full_gradient(score)
    (down, across), p = w.config.grid, w.config.patch_size
    total = np.abs(w.image * full.image_grad).reshape(down, p, across, p, 3).sum((1, 3, 4)).ravel()
    total = total + np.abs(full.positions * full.positions_grad).sum(1)[-down * across :]
    for bias, gradient in full.biases:  # gradients of the patches alone, or of all tokens
        total = total + np.abs(bias * gradient[-down * across :]).sum(1)
    return total


FORMULAS = {
    f.__name__: f
    for f in (
        raw_attention,
        rollout,
        grad_rollout,
        transformer_mm,
        grad_cam,
        token_grad_cam,
        ag_cam,
        gmar,
        legrad,
        tam,
        attcat,
        vtranm,
        full_grad,
    )
}
