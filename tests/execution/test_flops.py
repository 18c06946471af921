"""Counting operations."""

import jax
import jax.numpy as jnp
import pytest

from vitjax.execution.flops import flops
from vitjax.nn.kernels import fused_attention


def test_products_are_counted_as_often_as_they_run_and_where_a_result_needs_them():
    a = jnp.ones((3, 4)), jnp.ones((4, 5))

    def program(x, y):
        def step(total, _):
            _unused = (2 * x) @ y
            return total + x @ y, None

        unused = x.T @ x
        del unused
        return jax.lax.scan(step, jnp.zeros((3, 5)), None, length=7)[0]

    assert flops(jax.jit(program), *a) == 7 * 2 * 3 * 4 * 5


def test_fused_attention_counts_as_its_two_products(monkeypatch):
    """Only a trace of cuDNN's attention; the checks for a GPU are left out."""
    cudnn = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91200)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda capability: True)
    q = jnp.ones((2, 17, 3, 8), jnp.bfloat16)
    counted = flops(jax.jit(jax.vmap(fused_attention)), q, q, q)
    assert counted == 2 * 3 * (2 * 17 * 17 * 8) * 2
