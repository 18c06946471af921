"""Points and weights for the integral of a derivative along [0, 1]."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError
from vitjax.shapes import Array

Fixed = Literal["gausslegendre", "riemann_trapezoid", "riemann_middle"]

COARSE, FINE = 513, 8
"""Where the adaptive rule looks at the function itself: equal steps over the whole, then steps of every panel."""
LEAST = 0.05
"""Density of panels where the function is straight, as a share of that where it bends most."""
_PLACES = 32
"""Of a panel, between which its point is looked for."""


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


class AdaptiveNodes:
    """One point in each of `steps` panels, narrow where a function bends: where its slope is the panel's mean slope.

    By the mean value theorem every panel has such a point, and with all of them the sum is exact: what the points miss
    is what cubic interpolation between the FINE steps of a panel misses. The density of panels at α is sqrt|f''(α)|,
    the largest of three neighbouring second differences at COARSE equal steps, but at least LEAST of its maximum.

    The function is looked at twice, COARSE times and FINE * steps + 1 times: `everywhere`, its values there through
    `panels` to `places`, its values there through `nodes`.
    """

    def __init__(self, steps: int) -> None:
        if steps < 1:
            raise ConfigError(f"steps={steps}: must be at least 1")
        self.steps = steps

    def everywhere(self) -> Array:
        """Where to look first, [COARSE] points in [0, 1]."""
        return jnp.linspace(0, 1, COARSE)

    def panels(self, values: Array) -> Array:
        """Values `everywhere` -> edges of the panels [steps + 1]; of a straight line they are equal."""
        return _panels(values, self.steps)

    def places(self, edges: Array) -> Array:
        """Where to look then, [FINE * steps + 1] points in [0, 1]."""
        inner = edges[:-1, None] + jnp.diff(edges)[:, None] * jnp.arange(FINE) / FINE
        return jnp.append(inner.reshape(-1), 1.0)

    def nodes(self, edges: Array, values: Array) -> tuple[Array, Array]:
        """Edges and the values at their `places` -> points, ascending, and their weights, the panels' widths, which sum
        to 1; [steps] each."""
        widths = jnp.diff(edges)
        inner, after = values[:-1].reshape(self.steps, FINE), values[FINE::FINE]
        shares = jax.vmap(_mean_slope)(jnp.concatenate([inner, after[:, None]], axis=1))
        return edges[:-1] + widths * shares, widths


def _panels(values: Array, count: int) -> Array:
    """Edges of panels of equal mass of density, [count + 1]."""
    bend = jnp.pad(jnp.abs(jnp.diff(values, 2)), 1, mode="edge")
    wider = jnp.pad(bend, 1, mode="edge")
    bend = jnp.maximum(bend, jnp.maximum(wider[:-2], wider[2:]))
    most = bend.max()
    density = jnp.sqrt(bend / jnp.where(most > 0, most, 1)) + LEAST
    mass = jnp.concatenate([jnp.zeros(1), jnp.cumsum((density[1:] + density[:-1]) / 2)])
    return jnp.interp(jnp.linspace(0, 1, count + 1), mass / mass[-1], jnp.linspace(0, 1, len(values)))


def _mean_slope(values: Array) -> Array:
    """Where in [0, 1] the slope of what has these values at equal steps is its mean slope; next to the middle."""
    places = jnp.linspace(0, 1, _PLACES + 1)
    excess = _slope(values, places) - (values[-1] - values[0])
    left, right = excess[:-1], excess[1:]
    crosses = left * right <= 0
    from_middle = jnp.abs(jnp.arange(_PLACES) + 0.5 - _PLACES / 2)
    chosen = jnp.where(crosses, from_middle, jnp.inf).argmin()
    before, after = left[chosen], right[chosen]
    share = jnp.where(before == after, 0.5, before / jnp.where(before == after, 1, before - after))
    # Where interpolation leaves no crossing, the least excess.
    return jnp.where(crosses.any(), (chosen + share) / _PLACES, places[jnp.abs(excess).argmin()])


def _slope(values: Array, at: Array) -> Array:
    """Derivative at places in [0, 1] of the cubic Hermite interpolant of equal steps, slopes by central differences."""
    count = len(values) - 1
    first, last = -3 * values[0] + 4 * values[1] - values[2], 3 * values[-1] - 4 * values[-2] + values[-3]
    slopes = jnp.concatenate([first[None], values[2:] - values[:-2], last[None]]) / 2  # by step
    place = jnp.clip((at * count).astype(int), 0, count - 1)
    u = at * count - place
    rise = 6 * u * (1 - u) * (values[place + 1] - values[place])
    return count * (rise + (1 - u) * (1 - 3 * u) * slopes[place] + u * (3 * u - 2) * slopes[place + 1])
