"""Explainers that evaluate the model many times for one image, independently: perturbed copies, points of a path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.shapes import Array, ceil_div


def layout(size: int, parts: int, together: int) -> tuple[int, int, int]:
    """How one of `parts` equal parts of `size` evaluations is computed: (evaluations, rounds, evaluations in a round).

    A round vmaps at most `together` evaluations. Rounds are equal, so their product may exceed the part's evaluations.
    """
    share = ceil_div(size, parts)
    rounds = ceil_div(share, together)
    return share, rounds, ceil_div(share, rounds)


class MapReduce(NamedTuple):
    """Evaluations of the model that are independent, and how their values become a map.

    size: number of evaluations.
    one: index in 0..size-1 -> that evaluation's value, a tree of arrays.
    finish: values -> the map, or another `MapReduce` whose evaluations depend on them. It receives the sum of all
        values, or with `kept` all of them, [size, ...].
    together: evaluations that are vmapped together, at most.
    kept: values are kept one by one, not summed.
    """

    size: int
    one: Callable[[Array], Any]
    finish: Callable[[Any], Any]
    together: int = 1
    kept: bool = False

    def part(self, number: Array | int, parts: int) -> Any:
        """The sum (with `kept`, the values) of part `number` of equal `parts`.

        Parts may extend beyond `size`: evaluations beyond it add nothing to a sum; kept values beyond it must be
        dropped, as `after` does. Memory: `together` evaluations.
        """
        share, rounds, together = layout(self.size, parts, self.together)
        places = jnp.arange(rounds * together).reshape(rounds, together)

        def evaluate(places: Array) -> Any:
            indices = jnp.minimum(number * share + places, self.size - 1)
            if together == 1:  # XLA's CPU backend compiles better code without a batch axis
                return jax.tree.map(lambda value: value[None], self.one(indices[0]))
            return jax.vmap(self.one)(indices)

        if self.kept:
            values = lax.map(evaluate, places)
            return jax.tree.map(lambda value: value.reshape(-1, *value.shape[2:])[:share], values)

        def add(total: Any, places: Array) -> tuple[Any, None]:
            values = evaluate(places)
            if rounds * together * parts > self.size:
                valid = (places < share) & (number * share + places < self.size)
                values = jax.tree.map(
                    lambda value: jnp.where(jnp.expand_dims(valid, range(1, value.ndim)), value, 0), values
                )
            return jax.tree.map(lambda total, value: total + value.sum(axis=0), total, values), None

        shapes = jax.eval_shape(self.one, places[0, 0])
        zero = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        return lax.scan(add, zero, places)[0]

    def after(self, values: Any) -> Any:
        """The map, or the next `MapReduce`, from the sum or the concatenated values of all parts."""
        return self.finish(jax.tree.map(lambda value: value[: self.size], values) if self.kept else values)


def all_rounds(result: Array | MapReduce) -> Array:
    """The map of a `MapReduce`, every evaluation computed here; a map passes unchanged."""
    while isinstance(result, MapReduce):
        result = result.after(result.part(0, 1))
    return result
