"""One cell of a figure: the overlay of a raw map, or a stamp that says why there is none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax
import numpy as np

from vitjax import maps
from vitjax.plots.figures import Box, draw_image, write
from vitjax.plots.overlay import dimmed, overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes


to_display = partial(jax.jit, static_argnames=("size", "signed"))(maps.to_display)


def flaw(raw: np.ndarray) -> str | None:
    """Why a map carries no information: "not finite" or "degenerate"; None for any other map."""
    if not np.isfinite(raw).all():
        return "not finite"
    return "degenerate" if maps.are_degenerate(raw[None])[0] else None


def stamp(axes: Axes, box: Box, text: str, *, size: float) -> None:
    """White text on a dark plate in the middle of the box."""
    x, y, width, height = box
    write(
        axes,
        x + width / 2,
        y + height / 2,
        text,
        size=size,
        color="white",
        ha="center",
        at="middle",
        plate=True,
    )


def overlay_cell(
    axes: Axes, photo: np.ndarray, raw: np.ndarray, box: Box, *, size: float, signed: bool = False
) -> None:
    """Draw the overlay of a raw map in a box, or the muted photo with a stamp if the map carries no information."""
    if reason := flaw(raw):
        draw_image(axes, dimmed(photo).astype(np.uint8), box)
        stamp(axes, box, reason, size=size)
        return
    heatmap = to_display(raw, photo.shape[:2], signed=signed)
    draw_image(axes, np.asarray(overlay(photo, np.asarray(heatmap), signed=signed)), box)
