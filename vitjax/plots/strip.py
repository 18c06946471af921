"""Figure of one explanation: photo, raw map and overlay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitjax.plots.figures import MARGIN, MUTED, bar, draw_image, fit, page, snap, write
from vitjax.plots.overlay import DIVERGING, SEQUENTIAL, as_photo, scheme
from vitjax.plots.overlay_cell import flaw, overlay_cell, stamp

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def percent(probability: float) -> str:
    """A probability in [0, 1] as text: "87.2 %", or "< 0.1 %"."""
    return "< 0.1 %" if 0 < probability < 0.0005 else f"{100 * probability:.1f} %"


def strip(
    photo: np.ndarray,
    raw_map: np.ndarray,
    *,
    method: str,
    predicted: str,
    predicted_probability: float | None,
    target: str,
    target_probability: float | None,
    sigmoid: bool = False,
    signed: bool = False,
) -> Figure:
    """Photo, raw map with a colour bar in raw values, and overlay, under a header with method and classes.

    Args:
        photo: uint8 [H, W, 3] at model resolution.
        raw_map: [h, w] or [H, W], raw relevance.
        method: label of the method.
        predicted, predicted_probability: name and probability, in [0, 1], of the predicted class; without a
            probability, for a model without a head, it is not shown.
        target, target_probability: name and probability, in [0, 1], of the explained class; an empty name is not shown.
        sigmoid: whether the probabilities are sigmoids, which is then said.
        signed: whether the map's signs are meaningful: colours from blue to red, centred at zero, instead of min-max
            scaling.

    Returns:
        Figure about 9.5 inches wide. Names that are too long are truncated with "…". A degenerate map or a map that is
        not finite is stamped as such and not laid over the photo.

    Raises:
        ValueError: a photo that is not uint8 [H, W, 3], or a map that is not [h, w].
    """
    photo, raw = as_photo(photo), np.asarray(raw_map, np.float32)
    if raw.ndim != 2:
        raise ValueError(f"expected one map [h, w], got {list(raw.shape)}")
    side, gap, values = 2.7, 0.2, 0.62
    ratio = photo.shape[1] / photo.shape[0]
    width, height = snap(side * min(1.0, ratio)), snap(side / max(1.0, ratio))
    head, caption = 0.86, 0.24
    total = max(2 * MARGIN + 3 * width + 2 * gap + values, 6.0)
    figure, axes = page(total, MARGIN + head + caption + height + MARGIN)

    room = total - 2 * MARGIN
    write(axes, MARGIN, MARGIN + 0.15, fit(method, room, 12, bold=True), size=12, bold=True)
    lines: list[tuple[str, str, float | None]] = []
    lines += [("predicted", predicted, predicted_probability)] if predicted_probability is not None else []
    lines += [("explained", target, target_probability)] if target else []
    for row, (role, name, p) in enumerate(lines):
        name = f"{name} (sigmoid)" if sigmoid and p is not None else name
        y = MARGIN + 0.47 + 0.22 * row
        write(axes, MARGIN, y, role, size=9.5, color=MUTED)
        write(axes, MARGIN + 1.48, y, "" if p is None else percent(p), size=9.5, color=MUTED, ha="right")
        write(axes, MARGIN + 1.62, y, fit(name.replace("\n", " "), room - 1.62, 9.5), size=9.5)

    top = MARGIN + head + caption
    first, second = MARGIN, MARGIN + width + gap
    third = second + width + values + gap
    cells = f"{raw.shape[0]} × {raw.shape[1]}"
    draw_image(axes, photo, (first, top, width, height))
    map_box = (second, top, width, height)
    colormap = DIVERGING if signed else SEQUENTIAL
    reason = flaw(raw)
    finite = raw[np.isfinite(raw)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if signed:
        high = max(-low, high) or 1.0
        low = -high
    elif reason == "degenerate":
        high = low
    draw_image(axes, raw, map_box, sharp=True, cmap=scheme(colormap), vmin=low, vmax=high if high > low else low + 1)
    if reason:
        stamp(axes, map_box, reason, size=9)
    if reason != "not finite":
        bar(axes, (second + width + 0.08, top, 0.12, height), colormap, low, high)
    overlay_cell(axes, photo, raw, (third, top, width, height), signed=signed, size=9)
    for x, text in ((first, "photo"), (second, f"raw relevance, {cells}"), (third, "overlay")):
        write(axes, x, top - 0.07, fit(text, width, 8), size=8, color=MUTED)
    return figure
