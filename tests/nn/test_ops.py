"""The tables' primitives by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from vitjax.nn.ops import GRADIENT
from vitjax.rules import LRP_ORIGINAL, ZPLUS


def test_gelu_is_the_exact_one_and_half_precision_keeps_its_tail():
    x = np.linspace(-8, 8, 4001).astype(np.float32)
    found = np.asarray(GRADIENT.activation(x, "gelu"))
    np.testing.assert_allclose(found, x * ndtr(x.astype(np.float64)), atol=1.2e-6)  # PyTorch's own error here is 1.1e-6
    half = jnp.asarray(x, jnp.bfloat16)
    rounded = GRADIENT.activation(half.astype(jnp.float32), "gelu").astype(jnp.bfloat16)
    np.testing.assert_array_equal(GRADIENT.activation(half, "gelu"), rounded)


@pytest.mark.parametrize("table", [GRADIENT, ZPLUS, LRP_ORIGINAL], ids=["GRADIENT", "ZPLUS", "LRP_ORIGINAL"])
def test_scores_are_the_scaled_product_forth_and_back(table):
    """The z-rule's stabiliser goes with q k^T, whatever the constant: relevance is that of the two operations."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        q, k, relevance = (rng.normal(size=(2, 7, m)) for m in (4, 4, 7))
        k[0, 3] = 1e-7 * q[0, 2]  # a product as small as the stabiliser matters for
        in_one, back_in_one = jax.vjp(lambda q, k: table.scores(q, k, 0.3), q, k)
        in_two, back_in_two = jax.vjp(lambda q, k: table.scale(table.matmul(q, jnp.swapaxes(k, 1, 2)), 0.3), q, k)
        np.testing.assert_allclose(in_one, in_two, rtol=1e-12)
        for ours, theirs in zip(back_in_one(relevance), back_in_two(relevance), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9)
