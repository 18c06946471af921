"""Attention of every head of every block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

from vitjax import maps
from vitjax.plots.figures import (
    INK,
    MARGIN,
    MM,
    MUTED,
    ONE_COLUMN,
    SIZE,
    TITLE,
    TWO_COLUMNS,
    draw_image,
    fit,
    page,
    snap,
    write,
)
from vitjax.plots.overlay import SEQUENTIAL, as_photo, scheme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


normalise_all = maps.deliberate_nans(jax.jit(jax.vmap(jax.vmap(maps.normalise))))

HEAD, PHOTO = 29 * MM, 25 * MM
"""Heights of `heading` and of its photo [inches]."""
WIDEST = 16 * MM
"""Longer side of a map [inches]."""


def attention_sheet(photo: np.ndarray, attention: np.ndarray, prefix: int, grid: tuple[int, int]) -> Figure:
    """Attention of the class token to the patches: one row per block, one column per head, the mean over heads last.

    Args:
        photo: uint8 [H, W, 3].
        attention: [l, h, n, m] after softmax, prefix tokens first.
        prefix: number of tokens before the patches; the first is the class token. With 0, the sheet shows the mean
            over all query tokens instead.
        grid: (height, width) in patches.

    Returns:
        Figure with l x (h + 1) maps, each scaled to its own minimum and maximum over the patches.

    Raises:
        ValueError: attention is not [l, h, n, n] with n = prefix + patches, or the photo is not uint8 [H, W, 3].
    """
    photo, attention = as_photo(photo), np.asarray(attention)
    tokens = prefix + grid[0] * grid[1]
    if attention.ndim != 4 or attention.shape[2:] != (tokens, tokens):
        raise ValueError(
            f"attention must be [l, h, {tokens}, {tokens}] for {prefix} prefix tokens and "
            f"{grid[0]} x {grid[1]} patches, got {list(attention.shape)}"
        )
    to_patches = (attention[:, :, 0] if prefix else attention.mean(axis=2))[..., prefix:].astype(np.float32)
    to_patches = np.concatenate([to_patches, to_patches.mean(axis=1, keepdims=True)], axis=1)
    layers, columns = to_patches.shape[:2]
    scaled = np.asarray(normalise_all(to_patches.reshape(layers, columns, *grid)))

    gap, apart, label, names = 0.8 * MM, 2 * MM, 10 * MM, 3.5 * MM
    few = 2 * MARGIN + label + apart + columns * (WIDEST + gap) <= ONE_COLUMN * MM
    width = (ONE_COLUMN if few else TWO_COLUMNS) * MM
    side = min((width - 2 * MARGIN - label - apart) / columns - gap, WIDEST)
    cell_w, cell_h = snap(side * min(1.0, grid[1] / grid[0])), snap(side * min(1.0, grid[0] / grid[1]))
    figure, axes = page(width, 2 * MARGIN + HEAD + names + layers * (cell_h + gap))

    query = "Class-token attention" if prefix else "Attention, mean over query tokens"
    explanation = (
        f"{layers} blocks (rows, 0 next to the pixels) × {columns - 1} heads (columns), "
        f"over {grid[0]} × {grid[1]} patches. Each map is scaled to its own minimum and maximum."
    )
    heading(axes, photo, width, query, explanation)

    top = MARGIN + HEAD + names
    for column in range(columns):
        mean = column == columns - 1
        x = snap(MARGIN + label + column * (cell_w + gap) + (apart if mean else 0))
        text = "Mean" if mean else f"Head {column}" if column == 0 else str(column)
        color = INK if mean else MUTED
        write(axes, x + cell_w / 2, top - 1.2 * MM, text, size=SIZE, color=color, ha="center", at="last")
        for layer in range(layers):
            y = snap(top + layer * (cell_h + gap))
            cell = (x, y, cell_w, cell_h)
            data = np.ma.masked_invalid(scaled[layer, column])
            draw_image(axes, data, cell, sharp=True, cmap=scheme(SEQUENTIAL), vmin=0, vmax=1)
            if column == 0:
                text = f"Block {layer}" if layer == 0 else str(layer)
                label_x = MARGIN + label - 1.5 * MM
                write(axes, label_x, y + cell_h / 2, text, size=SIZE, color=MUTED, ha="right", at="middle")
    return figure


def heading(axes: Axes, photo: np.ndarray, width: float, title: str, explanation: str) -> None:
    """The head of a sheet `width` inches wide: the photo, and beside it title, explanation and colour scale."""
    photo_h = snap(PHOTO)
    photo_w = snap(photo_h * min(2.0, photo.shape[1] / photo.shape[0]))
    draw_image(axes, photo, (MARGIN, MARGIN, photo_w, photo_h))
    x = MARGIN + photo_w + 4 * MM
    room = width - MARGIN - x
    write(axes, x, MARGIN + 3 * MM, fit(title, room, TITLE + 1, bold=True), size=TITLE + 1, bold=True)
    write(axes, x, MARGIN + 7.5 * MM, fit(explanation, room, SIZE, lines=4), size=SIZE, color=MUTED)
    ramp = (snap(x + 6 * MM), snap(MARGIN + photo_h - 2.2 * MM), snap(30 * MM), snap(2.2 * MM))
    draw_image(axes, np.linspace(0, 1, 256)[None], ramp, cmap=scheme(SEQUENTIAL), vmin=0, vmax=1)
    middle = MARGIN + photo_h - 1.1 * MM
    write(axes, ramp[0] - 1.2 * MM, middle, "min", size=SIZE, color=MUTED, ha="right", at="middle")
    write(axes, ramp[0] + 31.2 * MM, middle, "max", size=SIZE, color=MUTED, at="middle")
