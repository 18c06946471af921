"""`vitjax.rules` in use: relevance as the cotangent of a network, and a table of one's own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import tiny_images, tiny_model
from tests.rules.test_rules import without_biases
from vitjax.layerwise.run import backward_fold
from vitjax.methods.building_blocks import boundary_fold
from vitjax.nn.ops import GRADIENT, OpWithRule
from vitjax.nn.vit import ViT
from vitjax.rules import CONSERVATIVE_IDENTITY, ZPLUS
from vitjax.rules.z_rule import divide

pytestmark = pytest.mark.unoptimised


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def test_with_zplus_the_cotangents_of_everything_that_the_tokens_are_made_of_sum_to_one():
    model = tiny_model("plain", np.float64)
    image = tiny_images(model, 1)[0].astype(np.float64)
    made_of = {name: model.params[name] for name in ("cls_token", "pos_embed")}

    @jax.jit
    def relevance(image, made_of):
        def logits(image, made_of):
            return ViT(model.config, ZPLUS).apply({"params": {**model.params, **made_of}}, image)

        found, vjp = jax.vjp(logits, image, made_of)
        return vjp(jax.nn.one_hot(3, 7, dtype=found.dtype))

    of_pixels, of_params = jax.device_get(relevance(image, made_of))
    assert np.abs(of_pixels).sum() > 0.01
    total = sum(float(part.sum()) for part in jax.tree.leaves((of_pixels, of_params)))
    assert total == pytest.approx(1, abs=1e-4)  # the stabiliser of the rules changes it


def gamma_rule(gamma, cotangent, result, x, kernel, bias):
    """LRP-γ: positive weights count 1 + γ times. Cotangents are relevance divided by the value."""
    weighted = kernel + gamma * jnp.maximum(kernel, 0)
    return (divide(result * cotangent, x @ weighted) @ weighted.T,)


GAMMA = CONSERVATIVE_IDENTITY._replace(linear=OpWithRule(GRADIENT.linear, partial(gamma_rule, 0.25)))


def test_own_rule_conserves_the_relevance_of_a_linear_layer():
    x, kernel, bias, cotangent = (np.random.default_rng(0).normal(size=s) for s in ((5, 64), (64, 6), 6, (5, 6)))
    result, vjp = jax.vjp(lambda x: GAMMA.linear(x, kernel, bias), x)
    by_x = np.asarray(vjp(cotangent)[0])
    np.testing.assert_allclose((x * by_x).sum(), (result * cotangent).sum(), rtol=1e-6)
    assert np.abs(by_x - cotangent @ kernel.T).max() > 0.1  # another than the gradient


def test_a_fold_with_own_table_explains_the_whole_logit_of_a_model_without_biases():
    model = tiny_model("no_qkv_bias", np.float64)
    params, image = without_biases(model.params), tiny_images(model, 1)[0].astype(np.float64)
    fold = boundary_fold(lambda boundary: (boundary.tokens * boundary.tokens_relevance).sum(axis=-1), rules=GAMMA)
    found = jax.jit(lambda params, image: backward_fold(model.config, params, image, jnp.int32(3), [fold]))(
        params, image
    )
    of_tokens = np.asarray(found.results[0])
    assert of_tokens.shape == (model.config.tokens,) and np.abs(of_tokens).min() > 0
    assert of_tokens.sum() == pytest.approx(float(found.logits[3]), rel=1e-4)
