"""How many images a program computes together: all that it is given, or a few at a time where that is faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

SWEEP_IMAGES, FORWARD_IMAGES = 2, 4
"""On a CPU, of a sweep and of what only runs forward: one block's intermediates of so few stay in its cache. Measured
on DeiT-Tiny, DeiT-Small and ViT-B/16; on other devices a program computes the whole batch at once."""


def over_images(one: Callable[..., Any], in_axes: Sequence[int | None], *, at_once: int) -> Callable[..., Any]:
    """`jax.vmap(one, in_axes)`; on a CPU in a loop over equal portions of at most `at_once` images.

    in_axes: 0 or None for each argument. Where the batch is not a multiple, the last image fills the last portion up.
    Memory: that of one portion, and the results.
    """
    whole = jax.vmap(one, tuple(in_axes))

    def run(*arguments):
        batched = [each for each, axis in zip(arguments, in_axes, strict=True) if axis == 0]
        count = jax.tree.leaves(batched)[0].shape[0]
        if jax.default_backend() != "cpu" or count <= at_once:
            return whole(*arguments)
        portions = -(-count // at_once)
        size = -(-count // portions)
        places = jnp.minimum(jnp.arange(portions * size), count - 1).reshape(portions, size)

        def portion(rows):
            parts = iter(jax.tree.map(lambda each: each[rows], batched))
            return whole(*(next(parts) if axis == 0 else each for each, axis in zip(arguments, in_axes, strict=True)))

        found = lax.map(portion, places)
        return jax.tree.map(lambda each: each.reshape(portions * size, *each.shape[2:])[:count], found)

    return run
