"""Every method's formula, written with whole n x n matrices in float64 numpy.

A formula is a function (run, **options) -> map. `run` is a `ModelRun`: one image run through one model, with the
activations and gradients that formulas read. `torch_run.TorchRun` computes these with PyTorch's autograd,
tests/methods/test_formulas.py with jax.grad. Matrices of attention are [query, key].
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import networkx
import numpy as np
from scipy.special import expit, roots_legendre, softmax


class Trace(NamedTuple):
    """Activations of all blocks and gradients of one score by them, named as in vitjax.layerwise.fold.LayerTrace.

    The first axis of every array is the layer.
    """

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
    """Gradients of a score by the image, the position embedding and the outputs of all linear layers."""

    image_grad: np.ndarray  # [H, W, 3]
    positions: np.ndarray  # [tokens, c]
    positions_grad: np.ndarray
    biases: list[tuple[np.ndarray, np.ndarray]]  # (bias [o], gradient by the layer's output [tokens, o])


class ModelRun(Protocol):
    """One image run through one model, as formulas read it. Formulas of NEEDS_RULES also call `relevance` and
    `modified_gradient`, which only `torch_run` implements."""

    config: Any  # a ViTConfig
    image: np.ndarray  # [H, W, 3]
    traces: dict[str, Trace]  # by score: "logit" and "probability"

    def trace(self, image: np.ndarray, score: str) -> Trace: ...
    def residual_attention_grad(self) -> np.ndarray: ...
    def local_attention_grad(self, layer: int, pool: str) -> np.ndarray: ...
    def score(self, image: np.ndarray, score: str) -> float: ...
    def image_gradient(self, image: np.ndarray, score: str) -> np.ndarray: ...
    def full_gradient(self, score: str) -> FullGradient: ...
    def projection(self, layer: int) -> np.ndarray: ...
    def layer_scale(self, layer: int) -> np.ndarray: ...


class Reading:
    """The readout, which follows from the configuration alone: which tokens the head reads, and which are patches."""

    config: Any

    def readout(self, square):
        """What the head reads of a matrix [..., n, n]: the class token's row, or the mean over the patches' rows."""
        if self.config.pool == "token":
            return square[..., 0, :]
        return square[..., self.config.prefix :, :].mean(-2)

    def patches(self, row):
        """The patches' entries of a row [..., n]."""
        return row[..., self.config.prefix :]


def discard(square, ratio, keep_first):
    """Set the smallest entries, a share `ratio` of all, to zero; `keep_first`: never the entry [0, 0]."""
    flat = square.flatten()
    smallest = np.argsort(flat, kind="stable")[: int(flat.size * ratio)]
    if keep_first:
        smallest = smallest[smallest != 0]
    flat[smallest] = 0
    return flat.reshape(square.shape)


def normalise_rows(square):
    return square / square.sum(-1, keepdims=True)


def product(matrices, order="last_left"):
    """The product of all layers' matrices, with the last layer's on the left ("last_left") or the first layer's."""
    result = np.eye(matrices[0].shape[0])
    for matrix in matrices:
        result = matrix @ result if order == "last_left" else result @ matrix
    return result


def relu(x):
    return np.maximum(x, 0)


def raw_attention(run, layer, head_fusion):
    fuse = {"mean": np.mean, "max": np.max, "min": np.min}[head_fusion]
    return run.patches(run.readout(fuse(run.traces["logit"].attention[layer], axis=0)))


def rollout(run, head_fusion, discard_ratio, start_layer, per_head, variant):
    attention = run.traces["logit"].attention[start_layer:]
    fuse = {"mean": np.mean, "max": np.max, "min": np.min}[head_fusion]

    def transition(square):
        a = (discard(square, discard_ratio, True) + np.eye(len(square))) / 2
        return a / a.sum(-1) if variant == "vit_explain" else normalise_rows(a)

    order = "first_left" if variant == "first_left" else "last_left"
    if per_head:
        heads = range(attention.shape[1])
        return run.patches(
            run.readout(np.mean([product([transition(a[h]) for a in attention], order) for h in heads], axis=0))
        )
    return run.patches(run.readout(product([transition(fuse(a, axis=0)) for a in attention], order)))


def grad_rollout(run, discard_ratio, score, variant):
    t, as_published = run.traces[score], variant == "vit_explain"
    # The published code pairs attention with gradients in reverse order of the layers.
    gradients = t.scores_grad[::-1] if as_published else t.attention_grad

    def transition(a, g):
        f = (discard(relu((a * g).mean(0)), discard_ratio, False) + np.eye(a.shape[-1])) / 2
        return f / f.sum(-1) if as_published else normalise_rows(f)

    return run.patches(run.readout(product([transition(*pair) for pair in zip(t.attention, gradients, strict=True)])))


def transformer_mm(run, score, start_layer):
    t = run.traces[score]
    relevance = np.eye(t.attention.shape[-1])
    for a, g in list(zip(t.attention, t.attention_grad, strict=True))[start_layer:]:
        relevance = relevance + relu(a * g).mean(0) @ relevance
    return run.patches(run.readout(relevance))


def grad_cam(run, layer, relu, score):
    t = run.traces[score]
    a, g = (run.patches(run.readout(x[layer])) for x in (t.attention, t.attention_grad))
    cam = np.mean([g[h].mean() * a[h] for h in range(len(a))], axis=0)
    return np.maximum(cam, 0) if relu else cam


def token_grad_cam(run, layer, relu, score):
    t, prefix = run.traces[score], run.config.prefix
    cam = t.normed[layer][prefix:] @ t.normed_grad[layer][prefix:].mean(0)
    return np.maximum(cam, 0) if relu else cam


def ag_cam(run):
    pairs = zip(run.residual_attention_grad(), run.traces["logit"].scores, strict=True)
    return run.patches(sum((relu(run.readout(g)) * expit(run.readout(s))).sum(0) for g, s in pairs))


def gmar(run, norm, alpha, normalize, order, start_layer, score, variant):
    t, as_published = run.traces[score], variant == "joita2025"
    matrices = []
    for a, g in zip(t.attention, t.attention_grad, strict=True):
        sizes = np.array([np.linalg.norm(head.ravel(), 1 if norm == "l1" else 2) for head in g])
        weighted = (sizes / sizes.sum())[:, None, None] * a
        m = (weighted.mean(0) if as_published else weighted.sum(0)) + alpha * np.eye(a.shape[-1])
        matrices.append(normalise_rows(m) if normalize or as_published else m)
    return run.patches(run.readout(product(matrices[start_layer:], "first_left" if as_published else order)))


def legrad(run, pool, layers, variant):
    t, depth = run.traces["logit"], run.config.depth
    if variant == "joita2025":
        p = run.config.prefix
        cams = [relu(g) * a for a, g in zip(t.attention, t.attention_grad, strict=True)]
        return np.mean([cam.mean(0)[p:, p:].mean(1) for cam in cams], axis=0)
    chosen = range(depth - (layers or depth), depth)
    return run.patches(sum(relu(run.local_attention_grad(layer, pool)).mean((0, 1)) for layer in chosen))


def tam(run, start_layer, steps, integral, score):
    a = run.traces[score].attention.mean(1)
    states = run.readout(a[-1])
    for layer in range(run.config.depth - 2, min(start_layer, run.config.depth - 2) - 1, -1):
        states = states + states @ a[layer]
    alphas = np.linspace(0, 1, steps) if integral else [1.0]
    gradient = np.mean([run.trace(alpha * run.image, score).attention_grad[-1] for alpha in alphas], axis=0)
    return run.patches(states * run.readout(relu(gradient).mean(0)))


def attcat(run, weights, hidden, score):
    t = run.traces[score]
    h, g = (t.tokens, t.tokens_grad) if hidden == "input" else (t.output, t.output_grad)
    fused = t.attention.mean(1)
    token_weights = fused.mean(1) if weights == "queries" else run.readout(fused)
    return run.patches((token_weights * (h * g).sum(-1)).sum(0))


def vtranm(run, aggregate, length, necc, score):
    t, config = run.traces[score], run.config
    n = config.tokens

    def weight(before, after):
        sizes = np.linalg.norm(before, axis=-1), np.linalg.norm(after, axis=-1)
        value = sizes[1] / sizes[0] if length else np.ones(n)
        if necc:
            value = value * softmax([before[j] @ after[j] / sizes[0][j] / sizes[1][j] for j in range(n)])
        return value

    positive = relu(t.attention_grad) * t.attention
    if not aggregate:
        return run.patches(run.readout(positive[-1].mean(0)))
    relevance = np.diag(np.linalg.norm(t.tokens[0], axis=-1)) if length else np.eye(n)
    d = config.width // config.heads
    for layer in range(config.depth):
        u = 0
        for h in range(config.heads):
            kernel = run.projection(layer)[h * d : (h + 1) * d]
            moved = t.values[layer, h] @ kernel
            if config.layer_scale:
                moved = moved * run.layer_scale(layer)
            scale = weight(t.tokens[layer], moved) if length or necc else np.ones(n)
            u = u + positive[layer, h] @ np.diag(scale) / config.heads
        relevance = (np.eye(n) + u) @ relevance
        if length or necc:
            ffn = weight(t.middle[layer], t.output[layer] - t.middle[layer])
            relevance = (np.eye(n) + np.diag(ffn)) @ relevance
    return run.patches(run.readout(relevance))


def full_grad(run, score):
    full = run.full_gradient(score)
    (down, across), p = run.config.grid, run.config.patch_size
    total = np.abs(run.image * full.image_grad).reshape(down, p, across, p, 3).sum((1, 3, 4)).ravel()
    total = total + np.abs(full.positions * full.positions_grad).sum(1)[-down * across :]
    for bias, gradient in full.biases:  # gradients at the patches only, or at all tokens
        total = total + np.abs(bias * gradient[-down * across :]).sum(1)
    return total


def _attribution(run, cams, start_layer):
    return run.patches(run.readout(product([np.eye(cam.shape[-1]) + relu(cam).mean(0) for cam in cams[start_layer:]])))


def transformer_attribution(run, start_layer):
    relevance = run.relevance("zplus")
    return _attribution(run, relevance.attention_grad * relevance.attention, start_layer)


def lrp_rollout(run, start_layer):
    return _attribution(run, run.relevance("zplus").attention, start_layer)


def partial_lrp(run, layer, rules, gradient):
    relevance = run.relevance(rules)
    cam = relevance.attention[layer]
    if gradient:
        cam = cam * relevance.attention_grad[layer]
    return run.patches(run.readout(relu(cam).mean(0)))


def lrp(run, rules):
    return run.relevance(rules).pixels.sum(-1).ravel()


def _modified(run, rule, at):
    by_tokens, by_pixels = run.modified_gradient(rule)
    tokens = run.traces["logit"].tokens[0]
    return (run.image * by_pixels).sum(-1).ravel() if at == "pixels" else run.patches((tokens * by_tokens).sum(-1))


def conservative_lrp(run, at, gelu):
    return _modified(run, "conservative" if gelu == "gradient" else "conservative_identity", at)


def attn_lrp(run, at):
    return _modified(run, "attn_lrp", at)


def gradient_x_input(run, at, score):
    if at == "pixels":
        return (run.image * run.image_gradient(run.image, score)).sum(-1).ravel()
    return run.patches((run.traces[score].tokens[0] * run.traces[score].tokens_grad[0]).sum(-1))


def saliency(run, score):
    return np.abs(run.image_gradient(run.image, score)).max(-1).ravel()


def integrated_gradients(run, steps, quadrature, score):
    if quadrature == "gausslegendre":
        nodes, weights = roots_legendre(steps)
        nodes, weights = (nodes + 1) / 2, weights / 2
    elif quadrature == "riemann_middle":
        nodes, weights = np.linspace(1 / (2 * steps), 1 - 1 / (2 * steps), steps), np.full(steps, 1 / steps)
    else:
        nodes, weights = np.linspace(0, 1, steps), np.array([0.5, *[1] * (steps - 2), 0.5]) / steps
    mean = sum(
        weight * run.image_gradient(node * run.image, score) for node, weight in zip(nodes, weights, strict=True)
    )
    return (run.image * mean).sum(-1).ravel()


def occlusion(run, window, stride, score):
    window = window or run.config.patch_size
    stride = stride or window
    height, width, _ = run.image.shape
    total, count = np.zeros((2, height, width))
    for top in range(0, height - window + stride, stride):
        for left in range(0, width - window + stride, stride):
            covered = np.s_[top : top + window, left : left + window]
            occluded = run.image.copy()
            occluded[covered] = 0
            total[covered] += run.score(run.image, score) - run.score(occluded, score)
            count[covered] += 1
    return (total / count).ravel()


def attention_flow(run):
    """Maximum flow by networkx, with floating-point capacities."""
    graph, depth, n = networkx.DiGraph(), run.config.depth, run.config.tokens
    for layer, attention in enumerate(run.traces["logit"].attention):
        square = normalise_rows(attention.mean(0) + np.eye(n))
        for (i, j), capacity in np.ndenumerate(square):
            graph.add_edge((layer + 1, i), (layer, j), capacity=capacity)
    for i, capacity in enumerate(run.readout(np.eye(n))):
        if capacity:
            graph.add_edge("source", (depth, i), capacity=capacity)
    flow = np.array([networkx.maximum_flow_value(graph, "source", (0, j)) for j in range(n)])
    return run.patches(flow / flow.sum())


def centre(run):
    y, x = ((np.arange(cells) - (cells - 1) / 2) / cells for cells in run.config.grid)
    distance = np.sqrt(y[:, None] ** 2 + x**2)
    return (1 - distance / distance.max()).ravel()


RANDOM = ("smooth_grad", "rise", "vit_cx", "random", "meaningful_perturbation")
"""Methods that sample or optimise; tests/methods/test_perturbation.py tests them."""

NEEDS_RULES = ("transformer_attribution", "lrp_rollout", "partial_lrp", "lrp", "conservative_lrp", "attn_lrp")
"""Methods whose formulas need `relevance` or `modified_gradient`, which only `torch_run` implements."""

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
