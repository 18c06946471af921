"""Every method's formula, written out with whole n x n matrices in float64 numpy.

A formula works on a `World`: one image of one model and what the model did with it. Where the arrays come from is
the world's business: `torch_world` takes them from PyTorch by autograd, tests/methods/test_formulas.py from jax.grad.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import networkx
import numpy as np
from scipy.special import expit, roots_legendre, softmax


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
    def score(self, image: np.ndarray, score: str) -> float: ...
    def image_gradient(self, image: np.ndarray, score: str) -> np.ndarray: ...
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


def _attribution(w, cams, start_layer):
    return w.patches(w.read(product([np.eye(cam.shape[-1]) + relu(cam).mean(0) for cam in cams[start_layer:]])))


def transformer_attribution(w, start_layer):
    seen = w.relevance("zplus")
    return _attribution(w, seen.attention_grad * seen.attention, start_layer)


def lrp_rollout(w, start_layer):
    return _attribution(w, w.relevance("zplus").attention, start_layer)


def partial_lrp(w, layer, rules, gradient):
    seen = w.relevance(rules)
    cam = seen.attention[layer] * seen.attention_grad[layer] if gradient else seen.attention[layer]
    return w.patches(w.read(relu(cam).mean(0)))


def lrp(w, rules):
    return w.relevance(rules).pixels.sum(-1).ravel()


def _modified(w, rule, at):
    by_tokens, by_pixels = w.modified_gradient(rule)
    tokens = w.traces["logit"].tokens[0]
    return (w.image * by_pixels).sum(-1).ravel() if at == "pixels" else w.patches((tokens * by_tokens).sum(-1))


def conservative_lrp(w, at, gelu):
    return _modified(w, "conservative" if gelu == "gradient" else "conservative_identity", at)


def attn_lrp(w, at):
    return _modified(w, "attn_lrp", at)


def gradient_x_input(w, at, score):
    if at == "pixels":
        return (w.image * w.image_gradient(w.image, score)).sum(-1).ravel()
    return w.patches((w.traces[score].tokens[0] * w.traces[score].tokens_grad[0]).sum(-1))


def saliency(w, score):
    return np.abs(w.image_gradient(w.image, score)).max(-1).ravel()


def integrated_gradients(w, steps, quadrature, score):
    if quadrature == "gausslegendre":
        nodes, weights = roots_legendre(steps)
        nodes, weights = (nodes + 1) / 2, weights / 2
    elif quadrature == "riemann_middle":
        nodes, weights = np.linspace(1 / (2 * steps), 1 - 1 / (2 * steps), steps), np.full(steps, 1 / steps)
    else:
        nodes, weights = np.linspace(0, 1, steps), np.array([0.5, *[1] * (steps - 2), 0.5]) / steps
    mean = sum(weight * w.image_gradient(node * w.image, score) for node, weight in zip(nodes, weights, strict=True))
    return (w.image * mean).sum(-1).ravel()


def occlusion(w, window, stride, score):
    window = window or w.config.patch_size
    stride = stride or window
    height, width, _ = w.image.shape
    total, count = np.zeros((2, height, width))
    for top in range(0, height - window + stride, stride):
        for left in range(0, width - window + stride, stride):
            place = np.s_[top : top + window, left : left + window]
            covered = w.image.copy()
            covered[place] = 0
            total[place] += w.score(w.image, score) - w.score(covered, score)
            count[place] += 1
    return (total / count).ravel()


def attention_flow(w):
    """networkx on floating-point capacities."""
    graph, depth, n = networkx.DiGraph(), w.config.depth, w.config.tokens
    for layer, attention in enumerate(w.traces["logit"].attention):
        square = rows(attention.mean(0) + np.eye(n))
        for (i, j), capacity in np.ndenumerate(square):
            graph.add_edge((layer + 1, i), (layer, j), capacity=capacity)
    for i, capacity in enumerate(w.read(np.eye(n))):
        if capacity:
            graph.add_edge("source", (depth, i), capacity=capacity)
    flow = np.array([networkx.maximum_flow_value(graph, "source", (0, j)) for j in range(n)])
    return w.patches(flow / flow.sum())


def centre(w):
    y, x = ((np.arange(cells) - (cells - 1) / 2) / cells for cells in w.config.grid)
    distance = np.sqrt(y[:, None] ** 2 + x**2)
    return (1 - distance / distance.max()).ravel()


RANDOM = ("smooth_grad", "rise", "vit_cx", "random", "meaningful_perturbation")
"""What draws or optimises: tests/methods/test_perturbation.py."""

NEEDS_RULES = ("transformer_attribution", "lrp_rollout", "partial_lrp", "lrp", "conservative_lrp", "attn_lrp")
"""Formulas of worlds that have `relevance` and `modified_gradient`, too: PyTorch's."""

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
        transformer_attribution,
        lrp_rollout,
        partial_lrp,
        lrp,
        conservative_lrp,
        attn_lrp,
        gradient_x_input,
        saliency,
        integrated_gradients,
        occlusion,
        attention_flow,
        centre,
    )
}
