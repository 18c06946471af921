"""A grid of cells for print: columns with headers, rows with labels, colour bars and footnotes below.

The grid has the width that is asked for. Columns that would be too narrow to read go on in a further panel below.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vitjax.errors import ConfigError
from vitjax.plots.cells import DEFAULT, Cell, Colours, draw_cell
from vitjax.plots.colour_bars import bars_height, bars_width, draw_bars
from vitjax.plots.figures import (
    INK,
    LINE,
    MARGIN,
    MM,
    MUTED,
    SIZE,
    SMALL,
    TWO_COLUMNS,
    Box,
    fit,
    fit_together,
    page,
    snap,
    write,
)
from vitjax.shapes import ceil_div

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NARROWEST, WIDEST = 12 * MM, 55 * MM
"""Widths of a column."""
PAGE, SMALLEST = 205 * MM, 18 * MM
"""Height of a journal's page, which rows are made to fit on unless they would be lower than SMALLEST."""
GAP, GROUP_GAP, PANEL_GAP = 0.6 * MM, 2.0 * MM, 3.0 * MM
TALLEST = 1.5
"""Height of a row in widths of a column; taller images are drawn smaller."""
PIXELS = 60_000
"""Agg draws figures of up to 65,536 pixels in each direction."""


class Placed(NamedTuple):
    """A cell in the rows and columns from `row` and `column` on; in the first row and the middle column of several."""

    cell: Cell
    row: int
    column: int
    down: int = 1
    across: int = 1


class Grid(NamedTuple):
    """What a grid shows.

    cells: in any order.
    headers: of the columns; "" for none.
    row_labels: of the rows, written upwards; empty for none.
    row_groups, column_groups: number of the group of each row and column; a wider gap separates groups.
    label_column, header_row: the column in front of which row labels stand, and the row above which headers do.
    repeated: how many of the first columns every panel repeats.
    bars: (signed, text) of each colour bar.
    footnotes: lines under the grid.
    """

    cells: Sequence[Placed]
    headers: Sequence[str]
    row_labels: Sequence[str] = ()
    row_groups: Sequence[int] = ()
    column_groups: Sequence[int] = ()
    label_column: int = 0
    header_row: int = 0
    repeated: int = 0
    bars: Sequence[tuple[bool, str]] = ()
    footnotes: Sequence[str] = ()


class _Panel(NamedTuple):
    """Columns of the grid that stand in one panel, with the left edge of each [inches], and that of the labels."""

    columns: list[int]
    lefts: list[float]
    labels: float | None


class _Layout(NamedTuple):
    """Sizes in inches, and texts broken into lines with their sizes in points."""

    panels: list[_Panel]
    cell_width: float
    tops: list[float]  # of the rows, from the top of the panel, without headers
    heights: list[float]
    body: float  # height of a panel without its headers
    heads: list[float]  # height of the headers of each panel
    headers: list[str]
    header_size: float
    labels: list[str]
    label_size: float
    notes: dict[tuple[int, int], str]


def draw_grid(
    grid: Grid,
    *,
    width_mm: float = TWO_COLUMNS,
    dpi: float = 300,
    columns: int | None = None,
    size: float = SIZE,
    colours: Colours = DEFAULT,
) -> Figure:
    """The grid as a figure.

    Args:
        grid: what is shown.
        width_mm: width of the figure.
        dpi: of its PNG.
        columns: columns in a panel, without the repeated ones; None: as many as are wide enough to be read.
        size: of headers and labels [points]; they become smaller, down to 5, rather than being cut.
        colours: of the overlays, for the colour bars.

    Raises:
        ConfigError: the figure would be too tall to be drawn.
    """
    width = width_mm * MM
    layout = _layout(grid, width, columns, size)
    panel_tops = [MARGIN]
    for head in layout.heads:
        panel_tops.append(snap(panel_tops[-1] + head + layout.body + PANEL_GAP))
    foot = panel_tops.pop() - PANEL_GAP + 1.5 * MM
    left = layout.panels[0].lefts[0]
    if left >= width / 4 and width - left - MARGIN < max(width / 2, bars_width(grid.bars)):
        left = MARGIN  # what stands below a narrow grid in the middle needs more room than that leaves
    notes = [fit(note, width - left - MARGIN, SMALL, lines=4) for note in grid.footnotes]
    height = foot + (bars_height(grid.bars, width - left - MARGIN) if grid.bars else 0)
    note_tops = []
    for note in notes:
        note_tops.append(height + SMALL / 72)
        height += (1 + note.count("\n")) * SMALL * LINE / 72
    height += MARGIN
    if height * dpi > PIXELS:
        raise ConfigError(
            f"figure: {len(layout.heights)} rows would be {height / MM:.0f} mm tall, {height * dpi:.0f} pixels at "
            f"{dpi:g} dpi; {PIXELS} can be drawn: show fewer images, or take more columns or fewer dpi"
        )
    figure, axes = page(width, height, dpi)
    for panel, head, top in zip(layout.panels, layout.heads, panel_tops, strict=True):
        tops = [snap(top + y + (head if row >= grid.header_row else 0)) for row, y in enumerate(layout.tops)]
        _draw_panel(axes, grid, layout, panel, tops)
    if grid.bars:
        draw_bars(axes, grid.bars, left, foot, width - left - MARGIN, colours)
    for note, at in zip(notes, note_tops, strict=True):
        write(axes, left, at, note, size=SMALL, color=MUTED)
    return figure


def _layout(grid: Grid, width: float, columns: int | None, size: float) -> _Layout:
    room = width - 2 * MARGIN
    lines = 2 if any(grid.row_labels) else 0
    for _ in range(2):  # how many lines the labels need depends on the rows, whose size depends on the labels' room
        label_room = snap((lines * LINE * size + 0.3 * size) / 72) if lines else 0.0
        panels, cell_width = _panels(grid, room, label_room, columns)
        heights = _row_heights(grid, cell_width)
        labels, label_size = fit_together(grid.row_labels, min(heights), size, lines=3)
        lines = max((1 + label.count("\n") for label in labels), default=0) if lines else 0
    headers, header_size = fit_together(grid.headers, cell_width, size, lines=4)
    notes = {
        (placed.row, placed.column): fit(placed.cell.note, cell_width, SMALL, lines=2)
        for placed in grid.cells
        if placed.cell.note
    }
    heads = []
    for panel in panels:
        most = max((1 + headers[column].count("\n") for column in panel.columns if headers[column]), default=0)
        heads.append(snap(most * LINE * header_size / 72 + 0.6 * MM) if most else 0.0)
    tops, y = [], 0.0
    groups = grid.row_groups or [0] * len(heights)
    for row, height in enumerate(heights):
        y += (GAP if groups[row] == groups[row - 1] else GROUP_GAP) if row else 0
        tops.append(snap(y))
        under = max((1 + note.count("\n") for (where, _), note in notes.items() if where == row), default=0)
        y += height + under * SMALL * LINE / 72 + (0.5 * MM if under else 0)
    return _Layout(panels, cell_width, tops, heights, y, heads, headers, header_size, labels, label_size, notes)


def _panels(grid: Grid, room: float, label_room: float, columns: int | None) -> tuple[list[_Panel], float]:
    """The panels, and the width of a column."""
    free = list(range(grid.repeated, len(grid.headers)))
    widest = max(1, int((room - label_room + GAP) / (NARROWEST + GAP)) - grid.repeated)
    panels = ceil_div(len(free), min(columns or widest, len(free)))
    in_panel = ceil_div(len(free), panels)
    parts = [[*range(grid.repeated), *free[start : start + in_panel]] for start in range(0, len(free), in_panel)]
    groups = grid.column_groups or [0] * len(grid.headers)
    between = [[GAP if groups[a] == groups[b] else GROUP_GAP for a, b in pairwise(part)] for part in parts]
    cell = min((room - label_room - sum(gaps)) / len(part) for part, gaps in zip(parts, between, strict=True))
    rows = max(placed.row + placed.down for placed in grid.cells) * panels
    cell = int(min(cell, WIDEST, max(SMALLEST, PAGE / rows)) * 300) / 300
    content = label_room + cell * len(parts[0]) + sum(between[0])
    start = MARGIN + max(0.0, (room - content) / 2)
    places = []
    for part, gaps in zip(parts, between, strict=True):
        x, lefts, labels = start, [], None
        for column, gap in zip(part, [*gaps, 0.0], strict=True):
            if label_room and labels is None and column >= grid.label_column:
                labels, x = x, x + label_room
            lefts.append(snap(x))
            x += cell + gap
        places.append(_Panel(part, lefts, labels))
    return places, cell


def _row_heights(grid: Grid, cell_width: float) -> list[float]:
    rows = max(placed.row + placed.down for placed in grid.cells)
    ratios = np.zeros(rows)
    for placed in sorted(grid.cells, key=lambda placed: placed.down):
        height, width = placed.cell.image.shape[:2]
        covered = slice(placed.row, placed.row + placed.down)
        if placed.down == 1 or not ratios[covered].all():
            ratios[covered] = np.maximum(ratios[covered], height / width / placed.down)
    return [snap(cell_width * min(ratio, TALLEST)) for ratio in ratios]


def _draw_panel(axes: Axes, grid: Grid, layout: _Layout, panel: _Panel, tops: list[float]) -> None:
    """Draw a panel whose rows begin at `tops` [inches from the top of the page]."""
    cell_width, above = layout.cell_width, tops[grid.header_row]
    for column, left in zip(panel.columns, panel.lefts, strict=True):
        color = MUTED if column < grid.repeated else INK
        text, middle = layout.headers[column], left + cell_width / 2
        write(axes, middle, above - 0.9 * MM, text, size=layout.header_size, color=color, ha="center", at="last")
    if panel.labels is not None:
        for label, y, height in zip(layout.labels, tops, layout.heights, strict=True):
            x = panel.labels + (panel.lefts[panel.columns.index(_first(grid, panel))] - panel.labels) / 2
            size, middle = layout.label_size, y + height / 2
            write(axes, x - 0.1 * size / 72, middle, label, size=size, ha="center", at="middle", upwards=True)
    for placed in grid.cells:
        shown = [column for column in range(placed.column, placed.column + placed.across) if column in panel.columns]
        if not shown or placed.column not in panel.columns:
            continue
        lefts = [panel.lefts[panel.columns.index(column)] for column in shown]
        last = placed.row + placed.down - 1
        y = tops[placed.row]
        height = tops[last] + layout.heights[last] - y
        x = (lefts[0] + lefts[-1]) / 2
        tall = min(height, layout.heights[placed.row]) if placed.down > 1 else height
        box = inside((snap(x), y, cell_width, tall), placed.cell.image)
        draw_cell(axes, placed.cell, box)
        if note := layout.notes.get((placed.row, placed.column)):
            under = box[1] + box[3] + 0.4 * MM + SMALL / 72
            write(axes, x + cell_width / 2, under, note, size=SMALL, color=MUTED, ha="center")


def _first(grid: Grid, panel: _Panel) -> int:
    """The column of a panel that the row labels stand in front of."""
    return next(column for column in panel.columns if column >= grid.label_column)


def inside(box: Box, image: np.ndarray) -> Box:
    """The largest box with the image's aspect ratio, centred in `box`, on whole pixels."""
    x, y, width, height = box
    scale = min(width / image.shape[1], height / image.shape[0])
    w, h = snap(scale * image.shape[1]), snap(scale * image.shape[0])
    return snap(x + (width - w) / 2), snap(y + (height - h) / 2), w, h
