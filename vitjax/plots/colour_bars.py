"""Colour bars of overlays: their colours over a mid-grey photo, with ticks and what they measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vitjax.plots.cells import Colours
from vitjax.plots.figures import LINE, MM, MUTED, SMALL, draw_image, fit, snap, write
from vitjax.plots.overlay import overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Bars = Sequence[tuple[bool, str]]
LONGEST, READABLE, THICK, BETWEEN, TICK = 60 * MM, 45 * MM, 1.8 * MM, 6 * MM, 0.7 * MM
BELOW = 1.0 * MM
UNSIGNED, SIGNED = (0, 0.5, 1), (-1, -0.5, 0, 0.5, 1)


def _length(bars: Bars, width: float) -> float:
    """Length of each bar [inches] in this width."""
    return min(LONGEST, (width - 2 * MM - (len(bars) - 1) * BETWEEN) / len(bars))


def bars_width(bars: Bars) -> float:
    """Width that bars of a readable length take [inches]."""
    return len(bars) * READABLE + (len(bars) - 1) * BETWEEN + 2 * MM if bars else 0.0


def _texts(bars: Bars, width: float) -> list[str]:
    return [fit(text, _length(bars, width) + 2 * MM, SMALL, lines=4) for _, text in bars]


def bars_height(bars: Bars, width: float) -> float:
    """Height of the bars with their texts [inches]."""
    lines = max(1 + text.count("\n") for text in _texts(bars, width))
    return THICK + TICK + (1 + lines) * SMALL * LINE / 72 + BELOW


def draw_bars(axes: Axes, bars: Bars, x: float, y: float, width: float, colours: Colours) -> None:
    """Draw the bars from left to right.

    Args:
        bars: (signed, text) of each.
        x, y: upper left corner [inches].
        width: of all bars together [inches].
        colours: of the overlays.
    """
    length = snap(_length(bars, width))
    for (signed, _), text in zip(bars, _texts(bars, width), strict=True):
        low = -1 if signed else 0
        ramp = np.tile(np.linspace(low, 1, 256), (8, 1))
        colormap = colours.signed if signed else colours.unsigned
        grey = np.full((8, 256, 3), 128, np.uint8)
        shown = overlay(grey, ramp, signed=signed, colormap=colormap, alpha=colours.alpha)
        draw_image(axes, np.asarray(shown), (snap(x), snap(y), length, snap(THICK)))
        for tick in SIGNED if signed else UNSIGNED:
            at = x + length * (tick - low) / (1 - low)
            axes.plot([at, at], [y + THICK, y + THICK + TICK], color=MUTED, linewidth=0.5)
            label = f"{tick:g}".replace("-", "−")
            write(axes, at, y + THICK + TICK + 0.95 * SMALL / 72, label, size=SMALL, color=MUTED, ha="center")
        write(axes, x, y + THICK + TICK + (0.95 + LINE) * SMALL / 72, text, size=SMALL, color=MUTED)
        x += length + BETWEEN
