"""Primitives of the tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from vitjax.nn.ops import GRADIENT
from vitjax.rules import LRP_ORIGINAL, ZPLUS


def test_gelu_is_exact_and_computed_in_float32_for_bfloat16():
    x = np.linspace(-8, 8, 4001).astype(np.float32)
    ours = np.asarray(GRADIENT.activation(x, "gelu"))
    np.testing.assert_allclose(ours, x * ndtr(x.astype(np.float64)), atol=1.2e-6)  # the error of PyTorch is 1.1e-6
    half = jnp.asarray(x, jnp.bfloat16)
    rounded = GRADIENT.activation(half.astype(jnp.float32), "gelu").astype(jnp.bfloat16)
    np.testing.assert_array_equal(GRADIENT.activation(half, "gelu"), rounded)


@pytest.mark.parametrize("table", [GRADIENT, ZPLUS, LRP_ORIGINAL], ids=["GRADIENT", "ZPLUS", "LRP_ORIGINAL"])
def test_scores_equal_scaled_matmul_in_the_forward_and_backward_pass(table):
    """The z-rule adds its stabiliser to q k^T, not to the scaled product, in both forms."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        q, k, relevance = (rng.normal(size=(2, 7, m)) for m in (4, 4, 7))
        k[0, 3] = 1e-7 * q[0, 2]  # makes a product so small that the stabiliser matters
        scores, scores_vjp = jax.vjp(lambda q, k: table.scores(q, k, 0.3), q, k)
        expected, expected_vjp = jax.vjp(lambda q, k: table.scale(table.matmul(q, jnp.swapaxes(k, 1, 2)), 0.3), q, k)
        np.testing.assert_allclose(scores, expected, rtol=1e-12)
        for ours, theirs in zip(scores_vjp(relevance), expected_vjp(relevance), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9)
