"""A batch in microbatches: in one call on accelerators, image after image on a CPU, whose caches hold one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def over_images(one: Callable[..., Any], in_axes: Sequence[int | None], *, at_once: int | None) -> Callable[..., Any]:
    """`jax.vmap(one, in_axes)`, in a loop over equal microbatches of at most `at_once` images; None: all at once.

    One image alone goes through without a batch axis: with one of length 1 inside another `vmap`, XLA's CPU backend no
    longer fuses the softmax with its matrix product.

    in_axes: 0 or None for each argument. Where the batch is not a multiple, the last image fills the last portion up.
    Memory: that of one portion, and the results.
    """

    def together(count, *arguments):
        if count > 1:
            return jax.vmap(one, tuple(in_axes))(*arguments)
        pairs = zip(arguments, in_axes, strict=True)
        alone = (each if axis is None else jax.tree.map(lambda a: a[0], each) for each, axis in pairs)
        return jax.tree.map(lambda a: jnp.asarray(a)[None], one(*alone))

    def run(*arguments):
        batched = [each for each, axis in zip(arguments, in_axes, strict=True) if axis == 0]
        count = jax.tree.leaves(batched)[0].shape[0]
        if at_once is None or count <= at_once:
            return together(count, *arguments)
        portions = -(-count // at_once)
        size = -(-count // portions)
        places = jnp.minimum(jnp.arange(portions * size), count - 1).reshape(portions, size)

        def portion(rows):
            parts = iter(jax.tree.map(lambda each: each[rows], batched))
            mixed = (next(parts) if axis == 0 else each for each, axis in zip(arguments, in_axes, strict=True))
            return together(size, *mixed)

        found = lax.map(portion, places)
        return jax.tree.map(lambda each: each.reshape(portions * size, *each.shape[2:])[:count], found)

    return run
