"""Figure of one explanation: photo, raw map and overlay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitjax.maps import DISPLAY_PERCENTILE
from vitjax.methods.titles import title_of
from vitjax.output.wording import ordinal, percent
from vitjax.plots.cells import DEFAULT, Cell, Colours, draw_cell, flaw, stamp
from vitjax.plots.figures import (
    DPI,
    MARGIN,
    MM,
    MUTED,
    SIZE,
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


GAP, VALUES, NARROWEST = 3.0, 9.0, 8.0
"""Between images, for the labels of the colour bar at the standard size of type, and of an image [mm]."""


def narrowest(font_size: float) -> float:
    """The least width of a strip [mm] whose images can still be seen."""
    return 3 * NARROWEST + 2 * MARGIN / MM + 2 * GAP + VALUES * font_size / SIZE


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
    colours: Colours = DEFAULT,
    percentile: float | None = None,
    width_mm: float = TWO_COLUMNS,
    dpi: float = DPI,
    font_size: float = SIZE,
) -> Figure:
    """Photo, raw map with a colour bar in raw values, and overlay, under a header with method and classes.

    Args:
        photo: uint8 [H, W, 3] at model resolution.
        raw_map: [h, w] or [H, W], raw relevance.
        overlay: the map over the photo; its mask is outlined on the photo, too.
        method: label of the method; its title is shown, with the reference.
        predicted, predicted_probability: name and probability, in [0, 1], of the predicted class; without a
            probability, for a model without a head, it is not shown.
        target, target_probability: name and probability, in [0, 1], of the explained class; an empty name is not shown.
        sigmoid: whether the probabilities are sigmoids, which is then said.
        signed: whether the map's signs are meaningful: colours from blue to red, centred at zero, instead of min-max
            scaling.
        agnostic: whether the map is the same for every class, which then stands in place of the explained class.
        colours: colour maps of the raw map.
        percentile: of the raw map's magnitude, at which its colours end, in (0, 100]; None: the 99th for maps of
            pixels, the largest value for others.
        width_mm: width in print.
        dpi: resolution of the PNG.
        font_size: of the text [points]; the method's title is larger.

    Returns:
        The figure. Names that are too long are truncated with "…". A degenerate map or a map that is not finite
        is stamped as such.

    Raises:
        ValueError: a photo that is not uint8 [H, W, 3], or a map that is not [h, w].
    """
    photo, raw = as_photo(photo), np.asarray(raw_map, np.float32)
    if raw.ndim != 2:
        raise ValueError(f"expected one map [h, w], got {list(raw.shape)}")
    size, line = font_size, font_size / SIZE * MM  # what is measured in lines of text grows with them
    total = width_mm * MM
    gap, values = GAP * MM, VALUES * line
    ratio = photo.shape[1] / photo.shape[0]
    width = snap(min((total - 2 * MARGIN - 2 * gap - values) / 3, 70 * MM * ratio))
    height = snap(width / ratio)
    of_pixels = raw.shape == photo.shape[:2]
    shown = percentile if percentile is not None else DISPLAY_PERCENTILE if of_pixels else 100
    cells = f"{raw.shape[0]} × {raw.shape[1]}"
    if shown < 100 and not flaw(raw):
        cells += " " + f"(to the {ordinal(shown)} percentile)".replace(" ", "\N{NO-BREAK SPACE}")
    captions, caption_size = fit_together(
        ["Input", f"Raw relevance, {cells}", "Overlay"], width + values, size, lines=3
    )
    caption = (1.6 + 2.9 * max(text.count("\n") + 1 for text in captions)) * line
    room = total - 2 * MARGIN
    (title,), title_size = fit_together([title_of(method, full=True)], room, size + 1.5, bold=True, lines=2)
    head = (13.5 + 3.6 * title.count("\n")) * line
    figure, axes = page(total, MARGIN + head + caption + height + 2 * MARGIN, dpi)
    write(axes, MARGIN, MARGIN + 3 * line, title, size=title_size, bold=True)
    first_line = MARGIN + head - 6.5 * line
    for row, (role, name, p) in enumerate(
        _subjects(predicted, predicted_probability, target, target_probability, agnostic)
    ):
        name = f"{name} (sigmoid)" if sigmoid and p is not None else name
        y = first_line + 3.6 * row * line
        write(axes, MARGIN, y, role, size=size, color=MUTED)
        write(axes, MARGIN + 22 * line, y, "" if p is None else percent(p), size=size, color=MUTED, ha="right")
        at = MARGIN + 24 * line
        write(axes, at, y, fit(name.replace("\n", " "), MARGIN + room - at, size), size=size)

    top = snap(MARGIN + head + caption)
    first, second = MARGIN, snap(MARGIN + width + gap)
    third = snap(second + width + values + gap)
    draw_cell(axes, Cell(photo, mask=overlay.mask), (first, top, width, height))
    _draw_raw(axes, raw, (second, top, width, height), signed, shown, colours, size)
    draw_cell(axes, overlay, (third, top, width, height), size=size + 0.5)
    for x, text in zip((first, second, third), captions, strict=True):
        write(axes, x, top - 1.2 * line, text, size=caption_size, color=MUTED, at="last")
    return figure


def _subjects(
    predicted: str, predicted_probability: float | None, target: str, target_probability: float | None, agnostic: bool
) -> list[tuple[str, str, float | None]]:
    """The lines of the header: what it is, its name, its probability."""
    lines: list[tuple[str, str, float | None]] = []
    lines += [("Predicted", predicted, predicted_probability)] if predicted_probability is not None else []
    if agnostic:
        lines.append(("Explained", "class-agnostic: the map is the same for every class", None))
    elif target:
        lines.append(("Explained", target, target_probability))
    return lines


def _draw_raw(
    axes: Axes, raw: np.ndarray, box: Box, signed: bool, percentile: float, colours: Colours, size: float
) -> None:
    """A map with a square for each value, and its colour bar, which ends at this percentile of the magnitude."""
    x, y, width, height = box
    colormap = (colours.signed or DIVERGING) if signed else (colours.unsigned or SEQUENTIAL)
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
        stamp(axes, box, reason, size=size + 0.5)
    if reason != "not finite":
        bar(axes, (snap(x + width + 1.2 * MM), y, snap(2.2 * MM), height), colormap, low, high, size=size)
