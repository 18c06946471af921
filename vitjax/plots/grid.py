"""Comparison of many methods on many images."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vitjax.plots.figures import INK, LINE, MARGIN, MUTED, Box, draw_image, fit, page, snap, text_width, write
from vitjax.plots.overlay import as_photo, overlay
from vitjax.plots.overlay_cell import overlay_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS_PER_PANEL = 8
PAGE_RATIO = 0.8  # width / height to aim at
SIDE, GAP = 1.08, 0.06  # longer side of a cell, space between cells [inches]
BESIDE, BELOW = 0.34, 0.22  # space between panels [inches]
LEGEND = 0.3
LABEL_WIDTH = 1.14
SIZE = 7.0
LINE_HEIGHT = SIZE * LINE / 72
NOTE = 6.0
BAR = 2.4  # width of a colour bar with its label [inches]


def comparison_grid(
    photos: Sequence[np.ndarray],
    maps: Mapping[str, Sequence[np.ndarray]],
    *,
    row_labels: Sequence[str] | None = None,
    signed: Collection[str] = (),
    own_photos: Mapping[str, Sequence[np.ndarray]] | None = None,
    notes: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Grid of images (rows) by methods (columns): the photo, then the overlay of each method's map.

    Each overlay is scaled separately, see `maps.to_display`. More than eight methods continue in further panels, which
    are arranged to approach the aspect ratio of an upright page.

    Args:
        photos: uint8 [H, W, 3] each, all of one size.
        maps: method label -> raw maps [h, w] or [H, W], one per photo.
        row_labels: one per photo; wrapped to four lines, with line breaks kept.
        signed: labels of methods whose maps have meaningful signs: colours from blue to red with zero in the middle,
            scaled by the largest magnitude.
        own_photos: label -> photos under the maps of this method, one per photo and of any size, for models with a
            different crop.
        notes: label -> short texts under the cells of this method, one per photo.

    Returns:
        Figure with a colour bar for each kind of scale. Degenerate maps and maps that are not finite are stamped as
        such.

    Raises:
        ValueError: no photos or no methods, photos of different sizes, or lists of different lengths.
    """
    photos = [as_photo(photo) for photo in photos]
    own_photos, notes = own_photos or {}, notes or {}
    _check(photos, maps, row_labels, own_photos, notes)
    layout = _layout(photos, maps, row_labels, set(signed), notes)
    figure, axes = page(layout.width, layout.foot + LEGEND + MARGIN)
    for panel in range(layout.panels):
        _draw_panel(axes, layout, panel, photos, maps, set(signed), own_photos)
    x = MARGIN + layout.indent
    for is_signed, shown in ((False, set(maps) - set(signed)), (True, set(maps) & set(signed))):
        if shown:
            legend(axes, x, layout.foot, signed=is_signed)
            x += BAR
    return figure


class _Layout(NamedTuple):
    """Positions and sizes of all parts [inches], and the texts headers, names and under, broken into lines."""

    cell: tuple[float, float]  # width, height
    step: float  # distance of rows
    indent: float  # width of the row labels
    panels: int  # number of panels
    columns: int  # methods per panel
    across: int  # panels side by side
    panel_width: float
    body: float  # height of a panel's cells
    heads: list[float]  # height of the column headers, by row of panels
    width: float  # of the page
    foot: float  # y of the legend
    headers: list[str]  # method labels
    names: list[str]  # row labels
    under: dict[str, list[str]]  # notes by method label


def _check(photos: Any, maps: Any, row_labels: Any, own_photos: Any, notes: Any) -> None:
    if not photos or not maps:
        raise ValueError("a comparison needs at least one photo and at least one method")
    sizes = sorted({photo.shape[:2] for photo in photos})
    if len(sizes) > 1:
        raise ValueError(f"photos differ in size: {sizes}")
    for label, group in (*maps.items(), ("row_labels", photos if row_labels is None else row_labels)):
        if len(group) != len(photos):
            raise ValueError(f"{label}: {len(group)} for {len(photos)} photos, expected one per photo")
    for label in (*own_photos, *notes):
        if label not in maps or {len(own_photos.get(label, photos)), len(notes.get(label, photos))} != {len(photos)}:
            raise ValueError(
                f"{label}: own_photos and notes need a method of `maps` and {len(photos)} items, one per photo"
            )


def _layout(photos: Any, maps: Any, row_labels: Any, signed: Any, notes: Any) -> _Layout:
    ratio = photos[0].shape[1] / photos[0].shape[0]
    cell_h = snap(SIDE / max(1.0, ratio))
    cell_w = snap(SIDE * min(1.0, ratio))
    under = {label: [fit(note, cell_w, NOTE, lines=3) for note in group] for label, group in notes.items()}
    note_lines = max((1 + note.count("\n") for group in under.values() for note in group), default=0)
    step = snap(cell_h + GAP + note_lines * NOTE * LINE / 72)
    headers = [fit(label, cell_w, SIZE, lines=3) for label in maps]
    names = [fit(label, LABEL_WIDTH, SIZE, lines=4) for label in row_labels or ()]
    indent = snap(max((text_width(line, SIZE) for name in names for line in name.split("\n")), default=-0.1) + 0.1)

    panels = ceil(len(maps) / METHODS_PER_PANEL)
    columns = ceil(len(maps) / panels)
    panel_w = indent + (columns + 1) * (cell_w + GAP) - GAP
    body = len(photos) * step - GAP

    def misfit(down: int) -> float:
        """Distance of the page's aspect ratio to PAGE_RATIO with `down` panels in a column."""
        height = down * (body + LINE_HEIGHT + BELOW)
        return abs(np.log(ceil(panels / down) * (panel_w + BESIDE) / height / PAGE_RATIO))

    across = ceil(panels / min(range(1, panels + 1), key=misfit))
    in_row = across * columns
    rows = [headers[i : i + in_row] for i in range(0, len(headers), in_row)]
    heads = [snap(0.06 + LINE_HEIGHT * (1 + max(text.count("\n") for text in row))) for row in rows]
    bars = bool(set(maps) - signed) + bool(set(maps) & signed)
    return _Layout(
        cell=(cell_w, cell_h),
        step=step,
        indent=indent,
        panels=panels,
        columns=columns,
        across=across,
        panel_width=panel_w,
        body=body,
        heads=heads,
        width=max(2 * MARGIN + across * (panel_w + BESIDE) - BESIDE, 2 * MARGIN + indent + BAR * bars),
        foot=MARGIN + sum(heads) + len(heads) * (body + BELOW),
        headers=headers,
        names=names,
        under=under,
    )


def _draw_panel(axes: Any, layout: _Layout, panel: int, photos: Any, maps: Any, signed: Any, own_photos: Any) -> None:
    cell_w, cell_h = layout.cell
    left = MARGIN + panel % layout.across * (layout.panel_width + BESIDE)
    above = panel // layout.across
    top = MARGIN + sum(layout.heads[: above + 1]) + above * (layout.body + BELOW)
    shown = slice(panel * layout.columns, (panel + 1) * layout.columns)
    labels = list(maps)[shown]
    xs = [left + layout.indent + i * (cell_w + GAP) for i in range(len(labels) + 1)]
    for x, text in zip(xs, ["photo", *layout.headers[shown]], strict=True):
        color = MUTED if x == xs[0] else INK
        write(axes, x + cell_w / 2, top - 0.08, text, size=SIZE, color=color, ha="center", at="last")
    for row, photo in enumerate(photos):
        y = top + row * layout.step
        if layout.names:
            write(axes, xs[0] - 0.1, y + cell_h / 2, layout.names[row], size=SIZE, ha="right", at="middle")
        draw_image(axes, photo, (xs[0], y, cell_w, cell_h))
        for x, label in zip(xs[1:], labels, strict=True):
            raw = np.asarray(maps[label][row], np.float32)
            base = as_photo(own_photos[label][row]) if label in own_photos else photo
            overlay_cell(axes, base, raw, inside((x, y, cell_w, cell_h), base), size=6, signed=label in signed)
            if label in layout.under:
                note = layout.under[label][row]
                write(axes, x + cell_w / 2, y + cell_h + 0.11, note, size=NOTE, color=MUTED, ha="center")


def inside(box: Box, photo: np.ndarray) -> Box:
    """The largest box with the photo's aspect ratio, centred in `box`."""
    x, y, width, height = box
    scale = min(width / photo.shape[1], height / photo.shape[0])
    w, h = scale * photo.shape[1], scale * photo.shape[0]
    return x + (width - w) / 2, y + (height - h) / 2, w, h


def legend(axes: Axes, x: float, y: float, *, signed: bool) -> None:
    """A colour bar of overlays: their colours over a mid-grey photo, for relevance from 0 (if signed, -1) to 1."""
    ramp = np.tile(np.linspace(-1 if signed else 0, 1, 256), (8, 1))
    colours = np.asarray(overlay(np.full((8, 256, 3), 128, np.uint8), ramp, signed=signed))
    low, label = ("−1", "against and for the class") if signed else ("0", "relevance, scaled per image")
    write(axes, x + 0.08, y + 0.06, low, size=SIZE, color=MUTED, ha="right", at="middle")
    draw_image(axes, colours, (x + 0.12, y, 1.5, 0.12))
    write(axes, x + 1.68, y + 0.06, "1", size=SIZE, color=MUTED, at="middle")
    write(axes, x, y + 0.28, label, size=SIZE, color=MUTED)
