"""Maps made of many queries to the model that know nothing of one another: perturbed copies, points of a path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.shapes import Array, ceil_div


class MapReduce(NamedTuple):
    """A round of queries for one image, and what comes of them. Any part of it can be computed by itself.

    size: how many there are.
    one: number in 0..size-1 -> what that query contributes, a tree of arrays.
    finish: the sum of all contributions, or where they are `kept` all of them, [size, ...] -> the map, or a round
        that needs to know them.
    together: how many go through the model at once, at most.
    """

    size: int
    one: Callable[[Array], Any]
    finish: Callable[[Any], Any]
    together: int = 1
    kept: bool = False

    def part(self, number: Array | int, parts: int) -> Any:
        """The sum of part `number` of equal `parts`, or its contributions; the last ones may go beyond `size`: they
        add nothing to a sum, and are to be cut off what is kept.

        Memory: that of the queries that are made together.
        """
        share = ceil_div(self.size, parts)
        rounds = ceil_div(share, self.together)
        together = ceil_div(share, rounds)
        places = jnp.arange(rounds * together).reshape(rounds, together)

        def several(places):
            numbers = jnp.minimum(number * share + places, self.size - 1)
            if together == 1:  # XLA's CPU backend has better code for what has no batch axis
                return jax.tree.map(lambda each: each[None], self.one(numbers[0]))
            return jax.vmap(self.one)(numbers)

        if self.kept:
            found = lax.map(several, places)
            return jax.tree.map(lambda each: each.reshape(-1, *each.shape[2:])[:share], found)

        def add(total, places):
            here = several(places)
            if rounds * together * parts > self.size:
                counts = (places < share) & (number * share + places < self.size)
                here = jax.tree.map(lambda each: jnp.where(jnp.expand_dims(counts, range(1, each.ndim)), each, 0), here)
            return jax.tree.map(lambda total, each: total + each.sum(axis=0), total, here), None

        zero = jax.tree.map(lambda each: jnp.zeros(each.shape, each.dtype), jax.eval_shape(self.one, places[0, 0]))
        return lax.scan(add, zero, places)[0]

    def after(self, found: Any) -> Any:
        """What comes of the sums, or the contributions, of all parts."""
        return self.finish(jax.tree.map(lambda each: each[: self.size], found) if self.kept else found)


def all_rounds(found: Array | MapReduce) -> Array:
    """The map itself, every round computed here; a map passes through."""
    while isinstance(found, MapReduce):
        found = found.after(found.part(0, 1))
    return found
