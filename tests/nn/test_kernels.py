"""The kernels of other platforms compute what those of the CPU compute."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import tiny_model
from vitjax.execution.plan import plan_for
from vitjax.explaining.programs import compiled
from vitjax.explaining.requests import request
from vitjax.nn.kernels import PLAIN, Kernels, active_kernels, cudnn_takes, has_cudnn_attention, using
from vitjax.nn.network import network
from vitjax.nn.ops import GRADIENT

ATTENTION = jax.nn.dot_product_attention


def logits(model, images, kernels=PLAIN):
    """Logits and, of their sum, the gradients by the images."""

    def total(x):
        out = jax.vmap(lambda image: network(model.config).apply({"params": model.params}, image))(x)
        return out.astype(jnp.float32).sum(), out

    with using(kernels):
        (_, out), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(images)
        forward = jax.jit(lambda x: total(x)[1])(images)
    return np.asarray(forward, np.float64), np.asarray(out, np.float64), np.asarray(gradients, np.float64)


def deep_model(dtype):
    """A tiny model whose last block is peeled off the loop: its blocks three times."""
    model = tiny_model("plain", dtype)
    blocks = jax.tree.map(lambda a: jnp.concatenate([a, a, a]), model.params["blocks"])
    return replace(model, config=replace(model.config, depth=9), params={**model.params, "blocks": blocks})


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(3, *tiny_model("plain").config.image_size, 3)).astype(np.float32)


GRADIENTS = ["transformer_mm", "attcat", "gmar", "vtranm", "full_grad", "legrad"]
RULES = ["transformer_attribution", "lrp", "partial_lrp", "conservative_lrp", "attn_lrp"]


@pytest.mark.slow
@pytest.mark.unoptimised
@pytest.mark.parametrize(("name", "names"), [("distilled", GRADIENTS), ("position_bias", RULES)])
def test_padded_rows_and_the_separate_softmax_change_no_map(name, names):
    """In one program, in float64: relevance rules and position biases see the padding, too."""
    with jax.enable_x64(True):
        model = tiny_model(name, np.float64)
        config = model.config
        images = np.random.default_rng(0).normal(size=(2, *config.image_size, 3))
        targets, seeds = np.arange(2, dtype=np.int32), np.arange(2, dtype=np.uint32)
        kernels = Kernels(separate_softmax=True, aligned_bytes=64)
        assert kernels.padding(config.tokens, np.float64) > 0
        results = []
        for used in (PLAIN, kernels):
            program = compiled(config, tuple(map(request, names)), plan_for(config)._replace(kernels=used))
            results.append(program(model.params, images, targets, seeds, np.uint32(0)))
        (logits, _, maps), (other_logits, _, other_maps) = results
        np.testing.assert_allclose(other_logits, logits, rtol=1e-12)
        for method, ours, theirs in zip(names, maps, other_maps, strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-11 * np.abs(ours).max(), err_msg=method)


def test_the_derivative_of_the_separate_softmax_reads_the_rounded_softmax():
    scores = jnp.asarray(np.random.default_rng(0).normal(size=(4, 9)), jnp.bfloat16)
    cotangent = jnp.ones_like(scores).at[:, 3:].set(-2)
    with using(Kernels(separate_softmax=True)):
        softmax, vjp = jax.vjp(GRADIENT.softmax, scores)
    assert softmax.dtype == jnp.bfloat16
    s, g = np.asarray(softmax, np.float64), np.asarray(cotangent, np.float64)
    expected = s * (g - (s * g).sum(-1, keepdims=True))
    np.testing.assert_allclose(np.asarray(vjp(cotangent)[0], np.float64), expected, rtol=2**-8)  # its rounding error


@pytest.mark.slow
def test_fused_attention_is_called_by_forward_passes_only(images, monkeypatch):
    """JAX's other implementation of the same function stands for cuDNN's, which needs a GPU."""
    implementations = []

    def attention(q, k, v, *, implementation):
        implementations.append(implementation)
        return ATTENTION(q, k, v, implementation="xla")

    monkeypatch.setattr(jax.nn, "dot_product_attention", attention)
    model = deep_model(jnp.bfloat16)
    images = images.astype(jnp.bfloat16)
    assert model.config.peeled
    plain, fused = logits(model, images), logits(model, images, Kernels(cudnn_attention=True))
    assert set(implementations) == {"cudnn"}
    scale = np.abs(plain[0]).max()
    for ours, theirs in zip(plain[:2], fused[:2], strict=True):
        np.testing.assert_allclose(theirs, ours, atol=2e-2 * scale)
    assert np.corrcoef(plain[2].ravel(), fused[2].ravel())[0, 1] > 0.999
    implementations.clear()
    logits(deep_model(jnp.float32), images.astype(np.float32), Kernels(cudnn_attention=True))
    assert implementations == []  # cuDNN takes half precision only


def test_fused_attention_keeps_a_norm_of_attention_and_serves_the_shared_pass(monkeypatch):
    """The forward pass of transformer_mm reads no attention; its model normalises the output of attention."""
    calls = []

    def attention(q, k, v, *, implementation):
        calls.append(implementation)
        return ATTENTION(q, k, v, implementation="xla")

    monkeypatch.setattr(jax.nn, "dot_product_attention", attention)
    config = replace(tiny_model("plain").config, attention_norm=True)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(*config.image_size, 3)), jnp.bfloat16)
    params = network(config).init(jax.random.key(0), image)["params"]
    norm = params["blocks"]["attn"]["norm"]
    norm["scale"] = jnp.linspace(-1, 2, norm["scale"].size).reshape(norm["scale"].shape)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    results = []
    for kernels in (PLAIN, Kernels(cudnn_attention=True)):
        plan = plan_for(config)._replace(kernels=kernels)
        program = compiled(config, (request("transformer_mm"),), plan)
        results.append(program(params, image[None], np.zeros(1, np.int32), np.zeros(1, np.uint32), np.uint32(0)))
    assert set(calls) == {"cudnn"}
    (logits, _, (expected,)), (fused_logits, _, (found,)) = results
    np.testing.assert_allclose(fused_logits, logits, atol=2e-2 * np.abs(logits).max())
    np.testing.assert_allclose(found, expected, atol=2e-2 * np.abs(expected).max())


def test_kernels_are_active_inside_their_context_only():
    with using(Kernels(separate_softmax=True)):
        assert active_kernels().separate_softmax
    assert active_kernels() == PLAIN


def test_what_cudnn_takes():
    assert cudnn_takes("bfloat16", 64) and cudnn_takes("float16", 128)
    assert not cudnn_takes("float32", 64) and not cudnn_takes("bfloat16", 60) and not cudnn_takes("bfloat16", 136)
    assert not has_cudnn_attention(jax.devices("cpu")[0])
