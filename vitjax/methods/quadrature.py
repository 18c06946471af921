"""Quadratures over [0, 1]: points and weights for the integral of a function's derivative."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError
from vitjax.shapes import Array

Fixed = Literal["gausslegendre", "riemann_trapezoid", "riemann_middle"]

COARSE_POINTS = 513
"""Equally spaced points over [0, 1] at which the adaptive quadrature first evaluates the function."""
FINE_STEPS = 8
"""Equal steps into which the adaptive quadrature then divides every panel."""
MIN_DENSITY = 0.05
"""Density of panels where the function is straight, as a share of the density where its curvature is highest."""
SEARCH_INTERVALS = 32
"""Equal intervals of a panel that are searched for the point with the mean slope."""


def fixed_nodes(quadrature: Fixed, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in [0, 1] and weights of a quadrature that does not depend on the function.

    Returns:
        Points and weights, float64, [steps] each. The weights sum to 1; those of "riemann_trapezoid" to 1 - 1/steps.

    Raises:
        ConfigError: `steps` is below 1.
    """
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
    """Quadrature whose points depend on the function f that the integrand is the derivative of.

    [0, 1] is divided into `steps` panels that are narrow where f bends. Each panel contributes one point, where the
    slope of f equals the mean slope of the panel; its weight is the width of the panel. By the mean value theorem every
    panel has such a point, and the sum over exact points is f(1) - f(0). The remaining error is that of the cubic
    interpolation between the FINE_STEPS steps of a panel, by which the points are found.

    The density of panels at α is sqrt|f''(α)| relative to its maximum, plus MIN_DENSITY; |f''| is the largest of three
    neighbouring second differences at the COARSE_POINTS points.

    f is evaluated in two rounds, at COARSE_POINTS and at FINE_STEPS * steps + 1 points::

        edges = quadrature.panel_edges(f(quadrature.coarse_points()))
        points, weights = quadrature.nodes(edges, f(quadrature.fine_points(edges)))
    """

    def __init__(self, steps: int) -> None:
        """Quadrature with `steps` points. Raises ConfigError if `steps` is below 1."""
        if steps < 1:
            raise ConfigError(f"steps={steps}: must be at least 1")
        self.steps = steps

    def coarse_points(self) -> Array:
        """Points [COARSE_POINTS] in [0, 1] for the first round of evaluations."""
        return jnp.linspace(0, 1, COARSE_POINTS)

    def panel_edges(self, values: Array) -> Array:
        """Edges of the panels [steps + 1], from the values at `coarse_points`; equidistant for a straight line."""
        return _panel_edges(values, self.steps)

    def fine_points(self, edges: Array) -> Array:
        """Points [FINE_STEPS * steps + 1] in [0, 1] for the second round of evaluations."""
        inner = edges[:-1, None] + jnp.diff(edges)[:, None] * jnp.arange(FINE_STEPS) / FINE_STEPS
        return jnp.append(inner.reshape(-1), 1.0)

    def nodes(self, edges: Array, values: Array) -> tuple[Array, Array]:
        """Points and weights, [steps] each, from the panels' edges and the values at their `fine_points`.

        Returns:
            Points in ascending order, and weights, the widths of the panels, which sum to 1.
        """
        widths = jnp.diff(edges)
        inner, ends = values[:-1].reshape(self.steps, FINE_STEPS), values[FINE_STEPS::FINE_STEPS]
        shares = jax.vmap(_mean_slope_point)(jnp.concatenate([inner, ends[:, None]], axis=1))
        return edges[:-1] + widths * shares, widths


def _panel_edges(values: Array, count: int) -> Array:
    """Edges [count + 1] of `count` panels that hold equal shares of the integral of the density."""
    curvature = jnp.pad(jnp.abs(jnp.diff(values, 2)), 1, mode="edge")
    padded = jnp.pad(curvature, 1, mode="edge")
    curvature = jnp.maximum(curvature, jnp.maximum(padded[:-2], padded[2:]))
    highest = curvature.max()
    density = jnp.sqrt(curvature / jnp.where(highest > 0, highest, 1)) + MIN_DENSITY
    integral = jnp.concatenate([jnp.zeros(1), jnp.cumsum((density[1:] + density[:-1]) / 2)])
    return jnp.interp(jnp.linspace(0, 1, count + 1), integral / integral[-1], jnp.linspace(0, 1, len(values)))


def _mean_slope_point(values: Array) -> Array:
    """Point in [0, 1] at which a function with these values at equal steps has its mean slope.

    If there are several such points, the one in the interval nearest the middle.
    """
    points = jnp.linspace(0, 1, SEARCH_INTERVALS + 1)
    excess = _slope(values, points) - (values[-1] - values[0])
    left, right = excess[:-1], excess[1:]
    crosses = left * right <= 0
    from_middle = jnp.abs(jnp.arange(SEARCH_INTERVALS) + 0.5 - SEARCH_INTERVALS / 2)
    chosen = jnp.where(crosses, from_middle, jnp.inf).argmin()
    before, after = left[chosen], right[chosen]
    share = jnp.where(before == after, 0.5, before / jnp.where(before == after, 1, before - after))
    # The interpolated slope may cross the mean in no interval; then the point with the smallest deviation is taken.
    return jnp.where(crosses.any(), (chosen + share) / SEARCH_INTERVALS, points[jnp.abs(excess).argmin()])


def _slope(values: Array, at: Array) -> Array:
    """Derivative of the cubic Hermite interpolant of values at equal steps over [0, 1], at the points `at`.

    The slopes at the steps are central differences, at both ends one-sided ones of second order.
    """
    count = len(values) - 1
    first, last = -3 * values[0] + 4 * values[1] - values[2], 3 * values[-1] - 4 * values[-2] + values[-3]
    slopes = jnp.concatenate([first[None], values[2:] - values[:-2], last[None]]) / 2  # per step, not per unit length
    i = jnp.clip((at * count).astype(int), 0, count - 1)
    u = at * count - i
    chord = 6 * u * (1 - u) * (values[i + 1] - values[i])
    return count * (chord + (1 - u) * (1 - 3 * u) * slopes[i] + u * (3 * u - 2) * slopes[i + 1])
