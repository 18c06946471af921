"""Points and weights for the integral of a derivative along [0, 1]."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vitjax.errors import ConfigError
from vitjax.shapes import Array

Fixed = Literal["gausslegendre", "riemann_trapezoid", "riemann_middle"]

PROBES = 513
"""Equal steps at which the adaptive rule looks at the function itself before it places its points."""
POINTS_IN_PANEL = 2
LEAST = 0.005
"""Density of panels where the function is straight, as a share of that where it bends most."""


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
    """Points where the function bends: steps / 2 panels of two Gauss-Legendre points each.

    The density of panels at α is sqrt|f''(α)|, the second difference of `values` taken as the largest of three
    neighbours, but at least LEAST of its maximum.

    Args: values: f at equal steps over [0, 1]. steps: even.
    Returns points in [0, 1], ascending, and their weights, which sum to 1; [steps] each. Of a straight line the panels
    are equal.
    """
    if steps < POINTS_IN_PANEL or steps % POINTS_IN_PANEL:
        raise ConfigError(f"steps={steps}: the adaptive quadrature needs an even number, 2 at least")
    inner = jnp.abs(jnp.diff(values, 2))
    bend = jnp.pad(inner, 1, mode="edge")
    bend = jnp.maximum(
        bend, jnp.maximum(jnp.pad(bend[:-1], (1, 0), mode="edge"), jnp.pad(bend[1:], (0, 1), mode="edge"))
    )
    most = bend.max()
    density = jnp.sqrt(bend / jnp.where(most > 0, most, 1)) + LEAST
    panels = steps // POINTS_IN_PANEL
    mass = jnp.concatenate([jnp.zeros(1), jnp.cumsum((density[1:] + density[:-1]) / 2)])
    edges = jnp.interp(jnp.linspace(0, 1, panels + 1), mass / mass[-1], jnp.linspace(0, 1, len(values)))
    points, weights = fixed_nodes("gausslegendre", POINTS_IN_PANEL)
    widths = jnp.diff(edges)[:, None]
    return (edges[:-1, None] + widths * points).reshape(-1), (widths * weights).reshape(-1)
