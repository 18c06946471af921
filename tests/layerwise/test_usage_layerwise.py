"""`vitjax.layerwise` in use: a recurrence over layers as a `Fold`, and the arrays that it reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import tiny_images, tiny_model
from vitjax.layerwise.collect import collect
from vitjax.layerwise.fold import Fold
from vitjax.layerwise.run import backward_fold
from vitjax.layerwise.target import PREDICTED

pytestmark = pytest.mark.unoptimised

MODEL = tiny_model("registers")
CONFIG, IMAGE = MODEL.config, tiny_images(MODEL, 1)[0]


def flow(config):
    """Relevance from the class token to the patches through the positive part of attention x gradient."""
    return Fold(
        init=config.readout_weights(),
        summarise=lambda trace: jnp.maximum(trace.attention * trace.attention_grad, 0).mean(axis=0),
        step=lambda row, cam, layer: row + row @ cam,
        finish=lambda row, boundary: row[config.prefix :].reshape(config.grid),
        gradient="logit",
    )


def loudest_token(config):
    """The token with the largest residual stream in each block; `stacked` keeps the summaries of all layers."""
    return Fold(
        init=(),
        summarise=lambda trace: jnp.linalg.norm(trace.output, axis=-1).argmax(),
        step=lambda carry, summary, layer: carry,
        finish=lambda tokens, boundary: tokens,
        order="stacked",
    )


@pytest.fixture(scope="module")
def found():
    """One shared pass of both folds, and everything that it reads of the layers."""

    @jax.jit
    def run(params, image):
        folds = [flow(CONFIG), loudest_token(CONFIG)]
        shared = backward_fold(CONFIG, params, image, jnp.int32(PREDICTED), folds)
        _, trace = collect(CONFIG, params, image, jnp.int32(PREDICTED))
        return shared, trace

    return jax.device_get(run(MODEL.params, IMAGE))


def test_a_fold_of_ten_lines_is_a_method(found):
    shared, trace = found
    matrices = np.eye(21) + np.maximum(trace.attention * trace.attention_grad, 0).mean(axis=1)
    expected = matrices[2] @ matrices[1] @ matrices[0]
    np.testing.assert_allclose(shared.results[0], expected[0, 5:].reshape(4, 4), rtol=1e-4)
    assert shared.target == shared.logits.argmax()


def test_folds_of_any_order_share_a_pass(found):
    shared, trace = found
    assert shared.results[1].tolist() == np.linalg.norm(trace.output, axis=-1).argmax(-1).tolist()


def test_a_collected_trace_is_what_every_layer_computed(found):
    _, trace = found
    np.testing.assert_array_equal(trace.layer, [0, 1, 2])
    np.testing.assert_allclose(trace.attention.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(trace.tokens[1:], trace.output[:-1], atol=1e-6)
    np.testing.assert_allclose(trace.tokens_grad[1:], trace.output_grad[:-1], atol=1e-6)
