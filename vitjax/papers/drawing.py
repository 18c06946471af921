"""How figures of papers are drawn: grids of overlays by `vitjax.figure`, and pages of photographs, masks and maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vitjax.explaining.explanation import Explanation
from vitjax.explaining.figure import figure
from vitjax.explaining.probabilities import with_probability
from vitjax.images.mask_values import OBJECT
from vitjax.papers.paper import Draw, Materials
from vitjax.papers.relevance import focus_of
from vitjax.plots.figures import INK, MARGIN, MUTED, Box, draw_image, fit, page, snap, write
from vitjax.plots.overlay_cell import overlay_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 183 / 25.4
"""Two columns of a journal [inches]."""
TYPE, SMALL = 6.5, 6.0
GAP, LABEL = 0.05, 0.75
"""Between cells, and the width of the names of rows [inches]."""
OBJECT_COLOUR = "#ffd21f"


def method_grid(*, columns: int | None = None, contours: bool = False, focus: bool = False) -> Draw:
    """A figure of all images: the image, then the overlay of each method, in two columns' width of a journal.

    Args:
        columns: methods side by side before the grid goes on below; None for all that are readable.
        contours: draw the masks as contours.
        focus: write FAF and BAF under each map.
    """

    def draw(materials: Materials) -> dict[str, Figure]:
        shown = labelled(materials)
        masks = materials.mask_of_map
        notes = {label: _focus_notes(each, masks) for label, each in shown.items()} if focus else None
        drawing = figure(
            shown,
            titles={label: label for label in shown},
            columns=columns,
            masks=masks if contours else None,
            notes=notes,
        )
        return {"": drawing}

    return draw


def labelled(materials: Materials) -> dict[str, Explanation]:
    """The explanations of the model and of the ResNet by column title, with the title as label."""
    everything = {**materials.explanations, **materials.cnn}
    return {title: replace(explanation, label=title) for title, explanation in everything.items()}


def row_labels(explanation: Explanation) -> list[str]:
    """What each map explains, with its probability: "tabby (62 %)"."""
    captions = [explanation.caption(index) for index in range(len(explanation))]
    return [
        with_probability(
            caption["target"], caption["target_probability"], ".0f", "\N{NO-BREAK SPACE}", sigmoid=caption["sigmoid"]
        )
        for caption in captions
    ]


def _focus_notes(explanation: Explanation, masks: Sequence[np.ndarray | None]) -> list[str]:
    shares = focus_of(explanation, masks)
    return ["FAF undefined" if share is None else f"FAF {share[0]:.2f}, BAF {share[1]:.2f}" for share in shares]


class Cell(NamedTuple):
    """One picture of a page.

    photo: uint8 [H, W, 3]. raw: the map that is laid over it. signed: whether its signs have a meaning.
    outline: mask whose object is outlined, uint8 [H, W]. note: a line below.
    """

    photo: np.ndarray
    raw: np.ndarray | None = None
    signed: bool = False
    outline: np.ndarray | None = None
    note: str = ""


def as_picture(mask: np.ndarray) -> np.ndarray:
    """A mask as a picture: the object white, the background black, ignored pixels grey; uint8 [H, W, 3]."""
    return np.repeat(mask[..., None], 3, axis=-1)


def cell_grid(
    rows: Sequence[Sequence[Cell]], titles: Sequence[str], labels: Sequence[str] = (), *, width: float = WIDTH
) -> Figure:
    """A page of pictures in rows of equal length.

    Args:
        rows: pictures, all of one aspect ratio. titles: one per column. labels: one per row, or none.
        width: of the page [inches].
    """
    indent = LABEL if labels else 0.0
    columns = len(titles)
    cell_w = snap((width - 2 * MARGIN - indent - (columns - 1) * GAP) / columns)
    height, across = rows[0][0].photo.shape[:2]
    cell_h = snap(cell_w * height / across)
    headers = [fit(title, cell_w, TYPE, lines=2) for title in titles]
    head = 0.05 + 0.11 * (1 + max(text.count("\n") for text in headers))
    note = 0.12 if any(cell.note for row in rows for cell in row) else 0.0
    step = cell_h + GAP + note
    drawing, axes = page(width, 2 * MARGIN + head + len(rows) * step - GAP)
    for column, text in enumerate(headers):
        x = MARGIN + indent + column * (cell_w + GAP)
        write(axes, x + cell_w / 2, MARGIN + head - 0.06, text, size=TYPE, ha="center", at="last")
    for number, row in enumerate(rows):
        y = snap(MARGIN + head + number * step)
        if labels:
            text = fit(labels[number], LABEL - 0.08, SMALL, lines=4)
            write(axes, MARGIN + LABEL - 0.06, y + cell_h / 2, text, size=SMALL, ha="right", at="middle")
        for column, cell in enumerate(row):
            draw_cell(axes, cell, (snap(MARGIN + indent + column * (cell_w + GAP)), y, cell_w, cell_h))
    return drawing


def draw_cell(axes: Axes, cell: Cell, box: Box) -> None:
    """Draw a picture with its overlay, outline and note."""
    x, y, width, height = box
    if cell.raw is None:
        draw_image(axes, cell.photo, box)
    else:
        overlay_cell(axes, cell.photo, np.asarray(cell.raw, np.float32), box, size=SMALL, signed=cell.signed)
    if cell.outline is not None:
        outline(axes, cell.outline, box)
    if cell.note:
        write(
            axes, x + width / 2, y + height + 0.095, fit(cell.note, width, SMALL), size=SMALL, color=MUTED, ha="center"
        )


def outline(axes: Axes, mask: np.ndarray, box: Box) -> None:
    """The outline of a mask's object, as a line that stays sharp in PDF."""
    x, y, width, height = box
    inside = np.pad((mask == OBJECT).astype(float), 1)
    down, across = mask.shape
    xs = x + (np.arange(-1, across + 1) + 0.5) / across * width
    ys = y + (np.arange(-1, down + 1) + 0.5) / down * height
    if not inside.any():
        return
    for colour, linewidth in ((INK, 1.4), (OBJECT_COLOUR, 0.8)):
        axes.contour(xs.clip(x, x + width), ys.clip(y, y + height), inside, [0.5], colors=colour, linewidths=linewidth)
