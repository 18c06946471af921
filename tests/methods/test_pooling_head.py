"""Methods on a model with an attention pooling head, against formulas written by hand from plain gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests.cases import tiny_images, tiny_model
from vitjax.errors import ConfigError
from vitjax.methods import METHODS
from vitjax.nn.vit import ViT

TARGET = 3
NAMES = ("pooling_head", "pooling_head_all")


@pytest.fixture(scope="module", params=NAMES)
def run(request):
    """A model in float64 with one image, and attention and gradients of its blocks [l, h, n, n] and head [h, n]."""
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        model = tiny_model(request.param, np.float64)
        images = tiny_images(model, 1).astype(np.float64)
        module = ViT(model.config)
        shapes = jax.eval_shape(module.init, jax.random.key(0), images[0])["perturbations"]
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes)

        def logit(zeros):
            variables = {"params": model.params, "perturbations": zeros}
            logits, state = module.apply(variables, images[0], mutable=["intermediates"])
            return logits[TARGET], state["intermediates"]

        grads, sown = jax.grad(logit, has_aux=True)(zeros)
    unseen = model.config.tokens - sown["attn_pool"]["attention"].shape[-1]

    def padded(a):
        return np.pad(np.asarray(a)[:, 0], ((0, 0), (unseen, 0)))

    return {
        "model": model,
        "images": images,
        "attention": np.asarray(sown["blocks"]["attn"]["attention"]),
        "gradient": np.asarray(grads["blocks"]["attn"]["attention"]),
        "head": padded(sown["attn_pool"]["attention"]),
        "head_gradient": padded(grads["attn_pool"]["attention"]),
    }


def explained(run, method, **options):
    with jax.enable_x64(True):
        return vitjax.explain(run["model"], run["images"], method=method, target=TARGET, **options).maps[0]


def assert_map(run, ours, row):
    expected = row[run["model"].config.prefix :].reshape(run["model"].config.grid)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def product(row, matrices):
    for matrix in matrices[::-1]:
        row = row @ matrix
    return row


@pytest.mark.slow
def test_the_heads_attention_is_the_readout(run):
    assert run["head"].sum(-1) == pytest.approx(1)
    with jax.enable_x64(True):
        trace = vitjax.trace(run["model"], run["images"], target=TARGET)
    np.testing.assert_allclose(trace.readout[0, 0], run["head"].mean(0), rtol=1e-10)


def test_rollout_starts_from_the_heads_attention(run):
    n = run["model"].config.tokens
    matrices = (run["attention"].mean(1) + np.eye(n)) / 2
    assert_map(run, explained(run, "rollout"), product(run["head"].mean(0), matrices))


def test_transformer_mm_starts_from_the_heads_gradient_weighted_attention(run):
    cams = np.maximum(run["attention"] * run["gradient"], 0).mean(1)
    row = np.maximum(run["head"] * run["head_gradient"], 0).mean(0)
    assert_map(run, explained(run, "transformer_mm"), product(row, cams + np.eye(len(row))))


def test_gmar_weights_the_heads_of_the_pooling_head(run):
    def fused(attention, gradient):
        norms = np.abs(gradient).sum(axis=tuple(range(1, gradient.ndim)))
        return np.tensordot(norms / norms.sum(), attention, 1)

    matrices = [fused(*layer) + np.eye(run["model"].config.tokens) for layer in _layers(run)]
    assert_map(run, explained(run, "gmar"), product(fused(run["head"], run["head_gradient"]), matrices))


def test_methods_of_one_block_weight_its_rows_by_the_heads_attention(run):
    readout = run["head"].mean(0)
    assert_map(run, explained(run, "raw_attention"), readout @ run["attention"][-1].mean(0))
    attention, gradient = (np.einsum("q,hqk->hk", readout, run[name][-1]) for name in ("attention", "gradient"))
    weights = gradient[:, run["model"].config.prefix :].mean(1, keepdims=True)
    assert_map(run, explained(run, "grad_cam", relu=False), (weights * attention).mean(0))


def test_gradient_rollout_starts_from_the_normalised_positive_row(run):
    row = np.maximum((run["head"] * run["head_gradient"]).mean(0), 0)
    fused = [np.maximum((a * g).mean(0), 0) for a, g in _layers(run)]
    matrices = [(f + np.eye(len(row))) / (f.sum(-1, keepdims=True) + 1) for f in fused]
    assert_map(run, explained(run, "grad_rollout"), product(row / row.sum(), matrices))


def test_printed_gradient_rollout_starts_from_the_product_of_the_fused_rows(run):
    row = np.maximum(run["head"].mean(0) * run["head_gradient"].mean(0), 0)
    matrices = [np.maximum(a.mean(0) * g.mean(0), 0) for a, g in _layers(run)]
    assert_map(run, explained(run, "grad_rollout", variant="das2025"), product(row, matrices))


@pytest.mark.slow
def test_every_method_runs_or_says_why_not(run):
    refused = {"legrad:pool=mean", "grad_rollout:variant=vit_explain"}
    names = [name for name, method in METHODS.items() if not method.slow and not method.needs & {"class_token"}]
    explanations = vitjax.explain_many(tiny_model("pooling_head"), run["images"].astype(np.float32), names, TARGET)
    for label, explanation in explanations.items():
        assert np.isfinite(explanation.maps).all(), label
    for method in refused:
        with pytest.raises(ConfigError):
            vitjax.explain(run["model"], run["images"], method=method)


def _layers(run):
    return list(zip(run["attention"], run["gradient"], strict=True))
