"""A batch in microbatches: in one call on accelerators, image after image on a CPU, whose caches hold one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.shapes import ceil_div


def microbatched_vmap(
    one: Callable[..., Any], in_axes: Sequence[int | None], *, microbatch_size: int | None
) -> Callable[..., Any]:
    """`jax.vmap(one, in_axes)` in a loop over equal microbatches of at most `microbatch_size` images.

    A single image is computed without a batch axis: with an axis of length 1 inside another `vmap`, XLA's CPU backend
    does not fuse the softmax with its matrix product.

    Args:
        in_axes: 0 or None for each argument, as of `jax.vmap`.
        microbatch_size: images computed together; None computes the whole batch in one call. A batch that is not a
            multiple is padded with its last image.

    Memory: one microbatch, and the results.
    """

    def together(count: int, *arguments: Any) -> Any:
        if count > 1:
            return jax.vmap(one, tuple(in_axes))(*arguments)
        pairs = zip(arguments, in_axes, strict=True)
        alone = (argument if axis is None else jax.tree.map(lambda a: a[0], argument) for argument, axis in pairs)
        return jax.tree.map(lambda a: jnp.asarray(a)[None], one(*alone))

    def run(*arguments: Any) -> Any:
        batched = [argument for argument, axis in zip(arguments, in_axes, strict=True) if axis == 0]
        count = jax.tree.leaves(batched)[0].shape[0]
        if microbatch_size is None or count <= microbatch_size:
            return together(count, *arguments)
        microbatches = ceil_div(count, microbatch_size)
        size = ceil_div(count, microbatches)
        places = jnp.minimum(jnp.arange(microbatches * size), count - 1).reshape(microbatches, size)

        def microbatch(indices: jax.Array) -> Any:
            parts = iter(jax.tree.map(lambda array: array[indices], batched))
            mixed = (next(parts) if axis == 0 else argument for argument, axis in zip(arguments, in_axes, strict=True))
            return together(size, *mixed)

        outputs = lax.map(microbatch, places)
        return jax.tree.map(lambda output: output.reshape(microbatches * size, *output.shape[2:])[:count], outputs)

    return run
