"""One cell of a figure: an image with its overlay, or with the reason why there is none; outlines over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from vitjax import maps
from vitjax.plots.figures import PLATE, SMALL, Box, draw_image, fit, write
from vitjax.plots.fonts import drawable
from vitjax.plots.overlay import as_photo, dimmed, overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

TITLE_SIZE = 9.0
"""Of the title over a user's axes [points], unless they are small."""


class Colours(NamedTuple):
    """Colour maps for maps without and with negative relevance, and the opacity; None: the defaults of `overlay`."""

    unsigned: str | Colormap | None = None
    signed: str | Colormap | None = None
    alpha: float | None = None


DEFAULT = Colours()


class Cell(NamedTuple):
    """What a cell shows.

    image: uint8 [H, W, 3], drawn with its own pixels in vector files.
    stamp: a word on a dark plate in the middle; "" for none.
    note: a short text under the image.
    mask: [H, W], above 0 inside of the object that is outlined, NaN where it is unknown; None for none.
    part: (x, y, width, height) of a part that is outlined, in pixels of the image; None for none.
    """

    image: np.ndarray
    stamp: str = ""
    note: str = ""
    mask: np.ndarray | None = None
    part: tuple[float, float, float, float] | None = None


def flaw(raw: np.ndarray) -> str:
    """Why a map carries no information: "not finite" or "degenerate"; "" for any other map."""
    if not np.isfinite(raw).all():
        return "not finite"
    return "degenerate" if maps.are_degenerate(raw[None])[0] else ""


def overlay_cell(
    photo: np.ndarray, raw: np.ndarray, heatmap: np.ndarray, *, signed: bool = False, colours: Colours = DEFAULT
) -> Cell:
    """The overlay of a map, or the muted photo with a stamp if the map carries no information.

    Args:
        photo: uint8 [H, W, 3].
        raw: the map, [h, w] or [H, W].
        heatmap: what is shown of it, [H, W] in [0, 1], or in [-1, 1] if signed; see `maps.to_display`.
        signed: whether negative values count against the class.
        colours: of the overlay.
    """
    photo = as_photo(photo)
    if reason := flaw(np.asarray(raw, np.float32)):
        return Cell(dimmed(photo).astype(np.uint8), reason)
    colormap = colours.signed if signed else colours.unsigned
    laid = overlay(photo, np.asarray(heatmap), signed=signed, colormap=colormap, alpha=colours.alpha)
    return Cell(np.asarray(laid))


def inside_original(cell: Cell, original: np.ndarray, top: int, left: int) -> Cell:
    """The cell within the whole picture that its image is a part of.

    Args:
        cell: of the part that the model sees.
        original: uint8 [h0, w0, 3], the whole picture at the scale of the model's input.
        top, left: where the part begins in it [pixels]; negative where the model's input is padded.
    """
    height, width = cell.image.shape[:2]
    up, before = max(0, -top), max(0, -left)
    rows = max(original.shape[0], top + height) + up
    columns = max(original.shape[1], left + width) + before
    canvas = Image.new("RGB", (columns, rows), (255, 255, 255))
    canvas.paste(Image.fromarray(dimmed(original).astype(np.uint8)), (before, up))
    canvas.paste(Image.fromarray(cell.image), (left + before, top + up))
    mask = None
    if cell.mask is not None:
        mask = np.full((rows, columns), np.nan, np.float32)
        mask[top + up : top + up + height, left + before : left + before + width] = cell.mask
    return cell._replace(image=np.asarray(canvas), mask=mask, part=(left + before, top + up, width, height))


def draw_cell(axes: Axes, cell: Cell, box: Box, *, size: float = SMALL) -> None:
    """Draw a cell in a box of its image's aspect ratio, without its note."""
    x, y, width, _ = box
    draw_image(axes, cell.image, box)
    scale = width / cell.image.shape[1]
    if cell.part is not None:
        left, top, across, down = (scale * number for number in cell.part)
        corners = [(left, top), (left + across, top), (left + across, top + down), (left, top + down), (left, top)]
        _outline(axes, np.array([(x + a, y + b) for a, b in corners]), dashed=True)
    if cell.mask is not None:
        for line in outlines(cell.mask):
            _outline(axes, np.array([x, y]) + scale * line, within=box)
    if cell.stamp:
        stamp(axes, box, cell.stamp, size=size)


def stamp(axes: Axes, box: Box, text: str, *, size: float) -> None:
    """White text on a dark plate in the middle of the box."""
    x, y, width, height = box
    middle = x + width / 2, y + height / 2
    write(axes, *middle, text, size=size, color="white", ha="center", at="middle", plate=True)


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """The borders of a mask [H, W] within the image, each [points, 2] of (x, y) in pixels from the upper left."""
    from contourpy import contour_generator

    mask = np.asarray(mask, np.float32)
    known = np.ma.masked_array((mask > 0).astype(np.float32), np.isnan(mask))
    return [np.asarray(line) + 0.5 for line in contour_generator(z=known).lines(0.5)]


def _outline(axes: Axes, points: np.ndarray, *, dashed: bool = False, within: Box | None = None) -> None:
    """A white line with a dark rim, which is visible on every photo and colour; cut off at the edges of a box."""
    from matplotlib.patches import Rectangle

    for color, width in (("black", 1.2), ("white", 0.6)):
        style: Any = (0, (3, 2)) if dashed and color == "white" else "-"
        (line,) = axes.plot(
            points[:, 0], points[:, 1], color=color, linewidth=width, linestyle=style, solid_joinstyle="round"
        )
        if within is not None:
            x, y, across, down = within
            line.set_clip_path(Rectangle((x, y), across, down, transform=axes.transData))


def draw_into(axes: Axes, cell: Cell, lines: Sequence[str]) -> Axes:
    """Draw a cell into axes of the user's, in pixels of its image, with lines of title as wide as the axes."""
    axes.imshow(cell.image, interpolation="antialiased")
    axes.set_axis_off()
    width = axes.get_window_extent().width / axes.figure.dpi
    size = min(TITLE_SIZE, 0.06 * 72 * width)
    texts = [drawable(fit(line, width, size)) for line in lines]
    families = list(dict.fromkeys(family for _, fonts in texts for family in fonts))
    title = "\n".join(text for text, _ in texts)
    axes.set_title(title, fontsize=size, family=families, parse_math=False)
    if cell.stamp:
        height, across = cell.image.shape[:2]
        middle = ((across - 1) / 2, (height - 1) / 2)
        axes.text(*middle, cell.stamp, color="white", fontsize=size, ha="center", va="center", bbox=dict(PLATE))
    return axes
