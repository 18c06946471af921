"""How figures of papers are drawn: grids of overlays, with masks and scores beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vitjax.explaining.explanation import Explanation
from vitjax.explaining.figure import figure
from vitjax.explaining.figure_grid import Request, grid_of, labels_of
from vitjax.images.mask_values import IGNORE, OBJECT
from vitjax.papers.paper import Draw, Materials
from vitjax.papers.relevance import focus_of
from vitjax.plots.cells import DEFAULT, Cell, overlay_cell
from vitjax.plots.figures import ONE_COLUMN, TWO_COLUMNS
from vitjax.plots.grid import Grid, Placed, draw_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS = 4
"""Images beside their masks in a row."""


def method_grid(*, columns: int | None = None, contours: bool = False, focus: bool = False) -> Draw:
    """A figure of all images: the image, then the overlay of each method, in two columns' width of a journal.

    Args:
        columns: methods side by side before the grid goes on below; None for as many as can be read.
        contours: draw the borders of the masks' objects.
        focus: write FAF and BAF under each map.
    """

    def draw(materials: Materials) -> dict[str, Figure]:
        shown = materials.explanations
        notes = (
            {title: _focus_notes(explanation, materials.mask_of_map) for title, explanation in shown.items()}
            if focus
            else None
        )
        masks = [None if mask is None else mask == OBJECT for mask in materials.masks] if contours else None
        titles = {title: title for title in shown}
        return {"": figure(shown, titles=titles, columns=columns, masks=masks, notes=notes)}

    return draw


def _focus_notes(explanation: Explanation, masks: Sequence[np.ndarray | None]) -> list[str]:
    shares = focus_of(explanation, masks)
    return ["FAF undefined" if share is None else f"FAF {share[0]:.2f}, BAF {share[1]:.2f}" for share in shares]


def mask_column(materials: Materials) -> dict[str, Figure]:
    """A figure of all images: the image, the mask of its object, then the overlay of each method.

    Images without a mask have an empty place there; without any masks there is no such column.
    """
    shown: Mapping[str, Explanation] = materials.explanations
    labels = labels_of(materials.first, "target", agnostic=False)
    titles = {title: title for title in shown}
    grid = grid_of(Request(shown, DEFAULT, None, titles, labels, {}, None, False, True), transposed=False)
    if not any(mask is not None for mask in materials.masks):
        return {"": draw_grid(grid)}
    inputs = [placed for placed in grid.cells if placed.column == 0]
    maps = [placed for placed in grid.cells if placed.column > 0]
    masks = [
        placed._replace(cell=Cell(_picture_of(mask)))
        for placed, mask in zip(inputs, materials.masks, strict=True)
        if mask is not None
    ]
    moved = [placed._replace(column=placed.column + 1) for placed in [*masks, *maps]]
    headers = [grid.headers[0], "Object mask", *grid.headers[1:]]
    # Labels stand before the first column, or between the maps that all targets share and those of each target.
    label_column = grid.label_column + bool(grid.label_column)
    return {"": draw_grid(grid._replace(cells=[*inputs, *moved], headers=headers, label_column=label_column))}


def _picture_of(mask: np.ndarray) -> np.ndarray:
    """A mask as a picture: the object white, the background black, ignored pixels grey; uint8 [H, W, 3]."""
    return np.repeat(mask[..., None], 3, axis=-1)


def _given(mask: np.ndarray | None) -> np.ndarray:
    """The mask of an image, which `chosen_figures` has checked to be there."""
    if mask is None:
        raise ValueError("a figure that needs masks was drawn without one")
    return mask


def mask_outlines(materials: Materials) -> dict[str, Figure]:
    """A figure of all images, each beside itself with the border of its object and the share of the area it covers."""
    photos = materials.first.images.pixels
    pairs = min(len(photos), PAIRS)
    placed = []
    for index, (photo, mask) in enumerate(zip(photos, materials.masks, strict=True)):
        row, column = index // pairs, 2 * (index % pairs)
        values = _given(mask)
        inside = values == OBJECT
        share = inside.sum() / max((values != IGNORE).sum(), 1)
        outlined = Cell(photo, mask=inside, note=f"{100 * share:.0f} % of the area")
        placed += [Placed(Cell(photo), row, column), Placed(outlined, row, column + 1)]
    groups = [column // 2 for column in range(2 * pairs)]
    grid = Grid(placed, ["Input", "Object mask"] * pairs, column_groups=groups)
    return {"": draw_grid(grid, width_mm=ONE_COLUMN if pairs < 3 else TWO_COLUMNS)}


def map_cell(explanation: Explanation, index: int) -> Cell:
    """The overlay of one map."""
    photo, raw = explanation.images.pixels[index], explanation.maps[index]
    return overlay_cell(photo, raw, explanation.heatmap(index), signed=explanation.signed)
