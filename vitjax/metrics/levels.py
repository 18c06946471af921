"""Curves over percentages of removed pixels, and the area under them."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError
from vitjax.methods.options import Range
from vitjax.metrics.contract import Case
from vitjax.metrics.removal import CurveOutputs, Fill, Order, Ties, curve
from vitjax.shapes import Array, Float, Scalar

LEVELS = tuple(range(0, 101, 5))
"""Percentages of the pixels that are removed."""
Levels = tuple[Annotated[float, Range(0, 100)], ...]


def checked_levels(levels: Levels) -> Levels:
    """`levels`, validated.

    Raises:
        ConfigError: not at least two strictly increasing percentages from 0 to 100.
    """
    in_range = len(levels) > 1 and levels[0] >= 0 and levels[-1] <= 100
    if not in_range or any(low >= high for low, high in pairwise(levels)):
        raise ConfigError(f"levels={levels}: must be at least two increasing percentages from 0 to 100")
    return levels


def trapezoid(values: Float[Array, " levels"], levels: Levels) -> Scalar:
    """Area under a curve by the trapezoidal rule, divided by the span of its levels: the mean height."""
    steps = np.diff(levels) / (levels[-1] - levels[0])
    return ((values[:-1] + values[1:]) / 2 * jnp.asarray(steps, values.dtype)).sum()


def levels_curve(case: Case, levels: Levels, fill: Fill, order: Order, ties: Ties, chunk: int) -> CurveOutputs:
    """Outputs for each level: images without int(pixels · level / 100) of their pixels, in this order."""
    counts = [int(case.heatmap.size * level / 100) for level in checked_levels(levels)]
    return curve(case, counts, end=fill, order=order, ties=ties, chunk=chunk)
