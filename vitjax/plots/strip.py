"""Figure of one explanation: photo, raw map and overlay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitjax.maps import DISPLAY_PERCENTILE
from vitjax.methods.titles import title_of
from vitjax.output.wording import percent
from vitjax.plots.cells import Cell, draw_cell, flaw, stamp
from vitjax.plots.figures import (
    MARGIN,
    MM,
    MUTED,
    SIZE,
    TITLE,
    TWO_COLUMNS,
    Box,
    bar,
    draw_image,
    fit,
    fit_together,
    page,
    snap,
    write,
)
from vitjax.plots.overlay import DIVERGING, SEQUENTIAL, as_photo, scheme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def strip(
    photo: np.ndarray,
    raw_map: np.ndarray,
    overlay: Cell,
    *,
    method: str,
    predicted: str,
    predicted_probability: float | None,
    target: str,
    target_probability: float | None,
    sigmoid: bool = False,
    signed: bool = False,
    agnostic: bool = False,
) -> Figure:
    """Photo, raw map with a colour bar in raw values, and overlay, under a header with method and classes.

    Args:
        photo: uint8 [H, W, 3] at model resolution.
        raw_map: [h, w] or [H, W], raw relevance.
        overlay: the map over the photo.
        method: label of the method; its title is shown, with the reference.
        predicted, predicted_probability: name and probability, in [0, 1], of the predicted class; without a
            probability, for a model without a head, it is not shown.
        target, target_probability: name and probability, in [0, 1], of the explained class; an empty name is not shown.
        sigmoid: whether the probabilities are sigmoids, which is then said.
        signed: whether the map's signs are meaningful: colours from blue to red, centred at zero, instead of min-max
            scaling.
        agnostic: whether the map is the same for every class, which then stands in place of the explained class.

    Returns:
        Figure of 183 mm. Names that are too long are truncated with "…". A degenerate map or a map that is not finite
        is stamped as such.

    Raises:
        ValueError: a photo that is not uint8 [H, W, 3], or a map that is not [h, w].
    """
    photo, raw = as_photo(photo), np.asarray(raw_map, np.float32)
    if raw.ndim != 2:
        raise ValueError(f"expected one map [h, w], got {list(raw.shape)}")
    total = TWO_COLUMNS * MM
    gap, values = 3 * MM, 9 * MM
    ratio = photo.shape[1] / photo.shape[0]
    width = snap(min((total - 2 * MARGIN - 2 * gap - values) / 3, 70 * MM * ratio))
    height = snap(width / ratio)
    head, caption = 13.5 * MM, 4.5 * MM
    figure, axes = page(total, MARGIN + head + caption + height + 2 * MARGIN)

    room = total - 2 * MARGIN
    (title,), size = fit_together([title_of(method, full=True)], room, TITLE + 1, bold=True)
    write(axes, MARGIN, MARGIN + 3 * MM, title, size=size, bold=True)
    lines: list[tuple[str, str, float | None]] = []
    lines += [("Predicted", predicted, predicted_probability)] if predicted_probability is not None else []
    if agnostic:
        lines.append(("Explained", "class-agnostic: the map is the same for every class", None))
    elif target:
        lines.append(("Explained", target, target_probability))
    for row, (role, name, p) in enumerate(lines):
        name = f"{name} (sigmoid)" if sigmoid and p is not None else name
        y = MARGIN + (7 + 3.6 * row) * MM
        write(axes, MARGIN, y, role, size=SIZE, color=MUTED)
        write(axes, MARGIN + 22 * MM, y, "" if p is None else percent(p), size=SIZE, color=MUTED, ha="right")
        at = MARGIN + 24 * MM
        write(axes, at, y, fit(name.replace("\n", " "), MARGIN + room - at, SIZE), size=SIZE)

    top = snap(MARGIN + head + caption)
    first, second = MARGIN, snap(MARGIN + width + gap)
    third = snap(second + width + values + gap)
    of_pixels = raw.shape == photo.shape[:2]
    cells = f"{raw.shape[0]} × {raw.shape[1]}"
    cells += " (to the 99th percentile)" if of_pixels and not flaw(raw) else ""
    draw_image(axes, photo, (first, top, width, height))
    map_box = (second, top, width, height)
    _draw_raw(axes, raw, map_box, signed, DISPLAY_PERCENTILE if of_pixels else 100)
    draw_cell(axes, overlay, (third, top, width, height), size=TITLE)
    for x, text in ((first, "Input"), (second, f"Raw relevance, {cells}"), (third, "Overlay")):
        write(axes, x, top - 1.2 * MM, fit(text, width + values, SIZE), size=SIZE, color=MUTED)
    return figure


def _draw_raw(axes: Axes, raw: np.ndarray, box: Box, signed: bool, percentile: float) -> None:
    """A map with a square for each value, and its colour bar, which ends at this percentile of the magnitude."""
    x, y, width, height = box
    colormap = DIVERGING if signed else SEQUENTIAL
    reason = flaw(raw)
    finite = raw[np.isfinite(raw)]
    if finite.size and not reason:
        limit = float(np.percentile(np.abs(finite), percentile)) or float(np.abs(finite).max())
        finite = np.clip(finite, -limit, limit)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if signed:
        high = max(-low, high) or 1.0
        low = -high
    elif reason == "degenerate":
        high = low
    draw_image(axes, raw, box, sharp=True, cmap=scheme(colormap), vmin=low, vmax=high if high > low else low + 1)
    if reason:
        stamp(axes, box, reason, size=TITLE)
    if reason != "not finite":
        bar(axes, (snap(x + width + 1.2 * MM), y, snap(2.2 * MM), height), colormap, low, high, size=SIZE)
