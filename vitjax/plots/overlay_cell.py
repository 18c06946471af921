"""One cell of a figure: a raw map over its photo, or the reason why there is nothing to see."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax
import numpy as np

from vitjax import maps
from vitjax.plots.figures import Box, picture, write
from vitjax.plots.overlay import dimmed, overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes


to_display = partial(jax.jit, static_argnames=("size", "signed"))(maps.to_display)


def flaw(raw: np.ndarray) -> str | None:
    """Why a map says nothing, in a word or two; None if it says something."""
    if not np.isfinite(raw).all():
        return "not finite"
    return "degenerate" if maps.are_degenerate(raw[None])[0] else None


def stamp(axes: Axes, box: Box, text: str, *, size: float) -> None:
    """White words on a dark plate in the middle of the box."""
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
    """The overlay of a raw map in its box, or the muted photo stamped with the reason why there is none."""
    if reason := flaw(raw):
        picture(axes, dimmed(photo).astype(np.uint8), box)
        stamp(axes, box, reason, size=size)
        return
    heat = to_display(raw, photo.shape[:2], signed=signed)
    picture(axes, np.asarray(overlay(photo, np.asarray(heat), signed=signed)), box)
