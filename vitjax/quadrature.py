"""Points and weights for the integral of a derivative along [0, 1]."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitjax.errors import ConfigError
from vitjax.shapes import Array

Fixed = Literal["gausslegendre", "riemann_trapezoid", "riemann_middle"]

PROBES = 1025
"""Equal steps at which the adaptive rule looks at the function itself before it places its points."""
LEAST = 0.05
"""Density of panels where the function is straight, as a share of that where it bends most."""
_PLACES = 32
"""Of a panel, at which its point is looked for."""


def fixed_nodes(quadrature: Fixed, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in [0, 1] and their weights, float64 [steps]."""
    if steps < 1:
        raise ConfigError(f"steps={steps}: must be at least 1")
    if quadrature == "gausslegendre":
        points, weights = np.polynomial.legendre.leggauss(steps)
        return (1 + points) / 2, weights / 2
    weights = np.full(steps, 1 / steps)
    if quadrature == "riemann_middle":
        return (np.arange(steps) + 0.5) / steps, weights
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


def adaptive_nodes(values: Float[Array, " probes"], steps: int) -> tuple[Array, Array]:
    """One point in each of `steps` panels, narrow where the function bends: where its slope is the panel's mean slope.

    By the mean value theorem every panel has such a point, and with all of them the sum is exact. They are as good as
    the cubic Hermite interpolant of the probes (slopes by central differences) that they are found on. The density of
    panels at α is sqrt|f''(α)|, the second difference of `values` taken as the largest of three neighbours, but at
    least LEAST of its maximum.

    Args: values: f at equal steps over [0, 1].
    Returns points in [0, 1], ascending, and their weights, the panels' widths, which sum to 1; [steps] each. Of a
    straight line the panels are equal.
    """
    if steps < 1:
        raise ConfigError(f"steps={steps}: must be at least 1")
    curve = _Hermite(values)
    edges = _panels(values, steps)
    widths = jnp.diff(edges)
    places = edges[:-1, None] + widths[:, None] * jnp.linspace(0, 1, _PLACES + 1)
    excess = curve.slope(places) - (jnp.diff(curve(edges)) / widths)[:, None]
    left, right = excess[:, :-1], excess[:, 1:]
    # Of several crossings the one next to the middle; where rounding leaves none, the least excess.
    from_middle = jnp.abs(jnp.arange(_PLACES) + 0.5 - _PLACES / 2)
    crosses = left * right <= 0
    chosen = jnp.where(crosses, from_middle, jnp.inf).argmin(axis=1)
    nearest = jnp.abs(excess).argmin(axis=1)

    def at(array, column):
        return jnp.take_along_axis(array, column[:, None], axis=1)[:, 0]

    before, after = at(left, chosen), at(right, chosen)
    share = jnp.where(before == after, 0.5, before / jnp.where(before == after, 1, before - after))
    crossing = at(places, chosen) + share * widths / _PLACES
    return jnp.where(crosses.any(axis=1), crossing, at(places, nearest)), widths


def _panels(values: Array, count: int) -> Array:
    """Edges of panels of equal mass of density, [count + 1]."""
    bend = jnp.pad(jnp.abs(jnp.diff(values, 2)), 1, mode="edge")
    wider = jnp.pad(bend, 1, mode="edge")
    bend = jnp.maximum(bend, jnp.maximum(wider[:-2], wider[2:]))
    most = bend.max()
    density = jnp.sqrt(bend / jnp.where(most > 0, most, 1)) + LEAST
    mass = jnp.concatenate([jnp.zeros(1), jnp.cumsum((density[1:] + density[:-1]) / 2)])
    return jnp.interp(jnp.linspace(0, 1, count + 1), mass / mass[-1], jnp.linspace(0, 1, len(values)))


class _Hermite:
    """Piecewise cubic through `values` at equal steps over [0, 1], with central differences as its slopes."""

    def __init__(self, values: Array) -> None:
        self.values, self.step = values, 1 / (len(values) - 1)
        ends = (-3 * values[0] + 4 * values[1] - values[2]) / 2, (3 * values[-1] - 4 * values[-2] + values[-3]) / 2
        inner = (values[2:] - values[:-2]) / 2
        self.slopes = jnp.concatenate([ends[0][None], inner, ends[1][None]])  # by step

    def _around(self, at: Array) -> tuple[Array, Array, Array, Array, Array]:
        place = jnp.clip((at / self.step).astype(int), 0, len(self.values) - 2)
        u = at / self.step - place
        return u, self.values[place], self.values[place + 1], self.slopes[place], self.slopes[place + 1]

    def __call__(self, at: Array) -> Array:
        u, low, high, rise, next_rise = self._around(at)
        ends = low + u * u * (3 - 2 * u) * (high - low)
        return ends + u * (1 - u) ** 2 * rise - u * u * (1 - u) * next_rise

    def slope(self, at: Array) -> Array:
        u, low, high, rise, next_rise = self._around(at)
        return (6 * u * (1 - u) * (high - low) + (1 - u) * (1 - 3 * u) * rise + u * (3 * u - 2) * next_rise) / self.step
