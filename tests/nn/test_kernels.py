"""The kernels of other platforms compute what those of the CPU compute."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import tiny_model
from vitjax.nn.kernels import PLAIN, Kernels, active_kernels, cudnn_takes, has_cudnn_attention, using
from vitjax.nn.network import network

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


def test_softmax_of_rows_changes_no_bit(images):
    model = tiny_model("plain")
    for ours, theirs in zip(logits(model, images), logits(model, images, Kernels(softmax_of_rows=True)), strict=True):
        assert np.array_equal(ours, theirs)


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


def test_kernels_are_active_inside_their_context_only():
    with using(Kernels(softmax_of_rows=True)):
        assert active_kernels().softmax_of_rows
    assert active_kernels() == PLAIN


def test_what_cudnn_takes():
    assert cudnn_takes("bfloat16", 64) and cudnn_takes("float16", 128)
    assert not cudnn_takes("float32", 64) and not cudnn_takes("bfloat16", 60) and not cudnn_takes("bfloat16", 136)
    assert not has_cudnn_attention(jax.devices("cpu")[0])
