"""Counting operations."""

import jax
import jax.numpy as jnp

from vitjax.execution.flops import flops


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
