"""Primitives of the tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from vitjax.nn.ops import GRADIENT
from vitjax.rules import ATTN_LRP, CONSERVATIVE, CONSERVATIVE_IDENTITY, LRP_ORIGINAL, ZPLUS


def test_gelu_is_exact_and_computed_in_float32_for_bfloat16():
    x = np.linspace(-8, 8, 4001).astype(np.float32)
    ours = np.asarray(GRADIENT.activation(x, "gelu"))
    np.testing.assert_allclose(ours, x * ndtr(x.astype(np.float64)), atol=1.2e-6)  # the error of PyTorch is 1.1e-6
    half = jnp.asarray(x, jnp.bfloat16)
    rounded = GRADIENT.activation(half.astype(jnp.float32), "gelu").astype(jnp.bfloat16)
    np.testing.assert_array_equal(GRADIENT.activation(half, "gelu"), rounded)


def test_normalise_is_of_unit_length_and_finite_at_zero():
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    np.testing.assert_allclose(
        GRADIENT.normalise(x), x / np.linalg.norm(x, axis=-1, keepdims=True), rtol=1e-6, atol=1e-7
    )
    value, gradient = jax.value_and_grad(lambda x: GRADIENT.normalise(x).sum())(jnp.zeros(4))
    assert value == 0 and np.isfinite(gradient).all()


def test_rules_of_normalise_hold_the_norm_constant_or_pass_relevance_on():
    """By hand, at x = (3, 4): the norm is 5, so that the constant-norm gradient is g / 5 and the true one less."""
    x, cotangent = jnp.array([3.0, 4.0]), jnp.array([1.0, 2.0])

    def pulled(table):
        return jax.vjp(table.normalise, x)[1](cotangent)[0]

    np.testing.assert_allclose(pulled(GRADIENT), [0.2 - 3 * 11 / 125, 0.4 - 4 * 11 / 125], rtol=1e-6)
    for table in (CONSERVATIVE, CONSERVATIVE_IDENTITY, ATTN_LRP):
        np.testing.assert_allclose(pulled(table), [0.2, 0.4], rtol=1e-6)
    for table in (ZPLUS, LRP_ORIGINAL):
        np.testing.assert_array_equal(pulled(table), cotangent)


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
