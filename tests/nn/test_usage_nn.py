"""`vitjax.nn` in use: apply a network, read what it stores, perturb it, replace a primitive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from tests.cases import tiny_images, tiny_model
from vitjax.nn.network import network
from vitjax.nn.ops import GRADIENT
from vitjax.nn.vit import ViT

pytestmark = pytest.mark.unoptimised

MODEL = tiny_model("plain")
IMAGE = tiny_images(MODEL, 1)[0]


def test_a_forward_pass_stores_attention_and_tokens_of_every_block():
    module = network(MODEL.config)

    @jax.jit
    def run(params, image):
        logits, state = module.apply({"params": params}, image, mutable=["intermediates"])
        blocks = state["intermediates"]["blocks"]
        return logits, blocks, module.apply({"params": params}, blocks["output"][-1], method="classify")

    logits, blocks, again = jax.device_get(run(MODEL.params, IMAGE))
    assert blocks["attn"]["attention"].shape == (3, 3, 17, 17)  # block, head, query, key
    np.testing.assert_allclose(blocks["attn"]["attention"], softmax(blocks["attn"]["scores"], axis=-1), atol=1e-6)
    np.testing.assert_array_equal(blocks["input"][1:], blocks["output"][:-1])
    np.testing.assert_allclose(again, logits, rtol=1e-5)


def test_the_gradient_by_a_perturbation_is_the_gradient_by_attention():
    with jax.enable_x64(True):
        model = tiny_model("plain", np.float64)
        module, image = network(model.config), jnp.asarray(IMAGE, jnp.float64)
        shapes = jax.eval_shape(module.init, jax.random.key(0), image)["perturbations"]
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        @jax.jit
        def value_and_gradient(attention):
            def logit(attention):
                attn = {**zeros["blocks"]["attn"], "attention": attention}
                perturbations = {**zeros, "blocks": {**zeros["blocks"], "attn": attn}}
                return module.apply({"params": model.params, "perturbations": perturbations}, image)[3]

            return jax.value_and_grad(logit)(attention)

        nothing = np.zeros((3, 3, 17, 17))
        gradient = np.asarray(value_and_gradient(nothing)[1])
        step = 1e-6 * np.sign(gradient)
        difference = (value_and_gradient(step)[0] - value_and_gradient(-step)[0]) / 2e-6
    assert float(difference) == pytest.approx(np.abs(gradient).sum(), rel=1e-6)


def test_another_table_of_primitives_is_another_network_with_the_same_parameters():
    uniform = GRADIENT._replace(softmax=lambda scores: jnp.full_like(scores, 1 / scores.shape[-1]))

    @jax.jit
    def run(params, image):
        logits, state = ViT(MODEL.config, uniform).apply({"params": params}, image, mutable=["intermediates"])
        return logits, state["intermediates"]["blocks"], ViT(MODEL.config).apply({"params": params}, image)

    logits, blocks, ordinary = jax.device_get(run(MODEL.params, IMAGE))
    attn = blocks["attn"]
    np.testing.assert_allclose(attn["attention"], 1 / 17, rtol=1e-6)
    kernel, bias = (np.asarray(MODEL.params["blocks"]["attn"]["proj"][name])[0] for name in ("kernel", "bias"))
    # Every token then receives the same: the mean value of all tokens, projected.
    moved = blocks["middle"][0] - blocks["input"][0]
    expected = attn["values"][0].mean(axis=1).reshape(-1) @ kernel + bias
    np.testing.assert_allclose(moved, np.tile(expected, (17, 1)), atol=1e-5)
    assert np.abs(logits - ordinary).max() > 0.01
