"""Each method against its formula written out with whole n x n matrices in float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax

import vitjax
from tests.cases import CASES, CONFIGS, case_id, tiny_images, tiny_model
from vitjax.api import request
from vitjax.vit import Block, ViT

TARGETS = [1, 4]


class World:
    """One image of one model, its trace for both scores, and what a formula may ask of the model."""

    def __init__(self, model, image, target):
        self.model, self.config, self.image, self.target = model, model.config, image, target
        self.traces = {score: self.trace(image, score) for score in ("logit", "probability")}

    def trace(self, image, score="logit"):
        stacked = vitjax.trace(self.model, image[None], target=self.target, score=score)
        return stacked._replace(
            **{name: value[0] for name, value in stacked._asdict().items() if isinstance(value, np.ndarray)}
        )

    def read(self, square):
        """The readout row of a whole matrix [n, n] or [..., n, n]."""
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
    """By the authors' device: detach the input of every attention and differentiate the whole model."""
    config, params = w.config, w.model.params
    zeros = {"attention": jnp.zeros((config.depth, config.heads, config.tokens, config.tokens))}

    def logit(zeros):
        vit = ViT(config)
        x = vit.apply({"params": params}, w.image, method="embed")
        for layer in range(config.depth):
            block = jax.tree.map(lambda a, layer=layer: a[layer], params["blocks"])
            taps = jax.tree.map(jnp.zeros_like, Block(config).init(jax.random.key(0), x)["perturbations"])

            def attend(x, a, block=block, taps=taps):
                taps = {**taps, "attn": {**taps["attn"], "attention": a}}
                _, sown = Block(config).apply({"params": block, "perturbations": taps}, x, mutable=["intermediates"])
                return sown["intermediates"]["middle"]

            branch = attend(jax.lax.stop_gradient(x), zeros["attention"][layer]) - jax.lax.stop_gradient(x)
            middle = x + branch
            # The MLP half of the block: run the block on a stream whose attention branch is switched off.
            off = jax.tree.map(jnp.asarray, block)
            off = {**off, "attn": {**off["attn"], "proj": jax.tree.map(jnp.zeros_like, off["attn"]["proj"])}}
            x = Block(config).apply({"params": off}, middle)
        return vit.apply({"params": params}, x, method="classify")[w.target]

    with jax.enable_x64(True):
        gradient = np.asarray(jax.jit(jax.grad(logit))(zeros)["attention"])
    scores = w.traces["logit"].scores
    return w.patches(sum((relu(w.read(g)) * expit(w.read(s))).sum(0) for g, s in zip(gradient, scores, strict=True)))


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
    config, params, t = w.config, w.model.params, w.traces["logit"]
    if variant == "joita2025":
        p = config.prefix
        cams = [relu(g) * a for a, g in zip(t.attention, t.attention_grad, strict=True)]
        return np.mean([cam.mean(0)[p:, p:].mean(1) for cam in cams], axis=0)
    total = 0
    for layer in range(config.depth - (layers or config.depth), config.depth):
        block = jax.tree.map(lambda a, layer=layer: a[layer], params["blocks"])

        def score(a, block=block, layer=layer):
            taps = jax.tree.map(jnp.zeros_like, Block(config).init(jax.random.key(0), t.tokens[layer])["perturbations"])
            taps = {**taps, "attn": {**taps["attn"], "attention": a}}
            out = Block(config).apply({"params": block, "perturbations": taps}, t.tokens[layer])
            weights = [] if pool == "cls" else [jnp.full(config.tokens, 1 / config.tokens)]
            return ViT(config).apply({"params": params}, out, *weights, method="classify")[w.target]

        with jax.enable_x64(True):
            total = total + relu(np.asarray(jax.jit(jax.grad(score))(jnp.zeros(t.attention.shape[1:])))).mean((0, 1))
    return w.patches(total)


def tam(w, start_layer, steps, integral, score):
    a = w.traces[score].attention.mean(1)
    states = w.read(a[-1])
    for layer in range(w.config.depth - 2, min(start_layer, w.config.depth - 2) - 1, -1):
        states = states + states @ a[layer]
    alphas = np.linspace(0, 1, steps) if integral else [1.0]
    with jax.enable_x64(True):
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
            kernel = np.asarray(t.params["attn"]["proj"]["kernel"][layer])[h * d : (h + 1) * d]
            moved = t.values[layer, h] @ kernel
            if config.layer_scale:
                moved = moved * np.asarray(t.params["ls1"]["gamma"][layer])
            scale = weight(t.tokens[layer], moved) if length or necc else np.ones(n)
            u = u + positive[layer, h] @ np.diag(scale) / config.heads
        relevance = (np.eye(n) + u) @ relevance
        if length or necc:
            ffn = weight(t.middle[layer], t.output[layer] - t.middle[layer])
            relevance = (np.eye(n) + np.diag(ffn)) @ relevance
    return w.patches(w.read(relevance))


def full_grad(w, score):
    """By jax.grad of the whole scanned model, by its input, its positions and every linear layer's result."""
    config, params = w.config, w.model.params
    module = ViT(config)
    with jax.enable_x64(True):
        shapes = jax.eval_shape(module.init, jax.random.key(0), w.image)["perturbations"]
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes)

        def value(image, position, zeros):
            variables = {"params": {**params, "pos_embed": position}, "perturbations": zeros}
            logits = module.apply(variables, image)
            return (logits if score == "logit" else jax.nn.softmax(logits))[w.target]

        gradient = jax.jit(jax.grad(value, argnums=(0, 1, 2)))(jnp.asarray(w.image), params["pos_embed"], zeros)
    by_image, by_position, by_result = jax.tree.map(np.asarray, gradient)
    (down, across), p = config.grid, config.patch_size
    total = np.abs(w.image * by_image).reshape(down, p, across, p, 3).sum((1, 3, 4)).ravel()
    total = total + np.abs(np.asarray(params["pos_embed"]) * by_position).sum(1)[-down * across :]
    if config.patch_bias:
        bias = np.asarray(params["patch_embed"]["proj"]["bias"])
        total = total + np.abs(bias * by_result["patch_embed"]["proj"]["result"]).sum(1)
    for part, layer in (("attn", "qkv"), ("attn", "proj"), ("mlp", "fc1"), ("mlp", "fc2")):
        linear = params["blocks"][part][layer]
        if "bias" in linear:
            effect = np.asarray(linear["bias"])[:, None] * by_result["blocks"][part][layer]["result"]
            total = total + np.abs(effect).sum((0, 2))[config.prefix :]
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


@pytest.mark.parametrize("name", CONFIGS)
def test_methods_equal_their_formulas(name):
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        model = tiny_model(name, np.float64)
        images = tiny_images(model, 2).astype(np.float64)
        found = vitjax.explain_many(model, images, CASES, target=TARGETS)
        worlds = [World(model, image, target) for image, target in zip(images, TARGETS, strict=True)]
        for case in CASES:
            wanted = request(case)
            for i, world in enumerate(worlds):
                expected = FORMULAS[wanted.name](world, **dict(wanted.options))
                ours = found[wanted.label].maps[i].ravel()
                scale = np.abs(expected).max()
                np.testing.assert_allclose(ours, expected, atol=1e-9 * scale, rtol=0, err_msg=case_id(case))
