"""Das & Huddar 2025: Grad-CAM and feature maps of each stage of a ResNet beside a ViT's rollout, top five of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitjax.explaining.explanation import Explanation
from vitjax.output.wording import percent
from vitjax.papers.drawing import map_cell
from vitjax.papers.paper import Materials
from vitjax.plots.cells import Cell, draw_cell
from vitjax.plots.features import feature_sheet
from vitjax.plots.figures import (
    INK,
    LINE,
    MARGIN,
    MM,
    MUTED,
    SIZE,
    SMALL,
    TWO_COLUMNS,
    draw_image,
    fit,
    page,
    snap,
    write,
)
from vitjax.plots.grid import GAP, GROUP_GAP, inside
from vitjax.plots.overlay import SEQUENTIAL, scheme
from vitjax.plots.sheet import normalise_all

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = TWO_COLUMNS * MM
LABEL, HEAD, STEP = 6.5 * MM, 6.5 * MM, 3.1 * MM
"""Width of the names of rows, height of those of columns, and distance of the lines of a top five [inches]."""
BAR = 38 * MM
"""Length of the bar of a probability of one [inches]."""


def stage_figures(materials: Materials) -> dict[str, Figure]:
    """One figure per image: Grad-CAM of the stages over the mean of their feature maps, then the ViT's rollout; below,
    the five most probable classes of both models."""
    return {name: _of_image(materials, index) for index, name in enumerate(materials.first.images.ids)}


def feature_figures(materials: Materials) -> dict[str, Figure]:
    """One sheet per image: the mean and the first channels of each stage."""
    photos = next(iter(materials.cnn.values())).images.pixels
    names = materials.first.images.ids
    return {
        name: feature_sheet(photo, stages)
        for name, photo, stages in zip(names, photos, materials.cnn_features, strict=True)
    }


def _of_image(materials: Materials, index: int) -> Figure:
    cnn, stages, rollout = materials.cnn, materials.cnn_features[index], materials.first
    first_cnn = next(iter(cnn.values()))
    photo = first_cnn.images.pixels[index]
    gaps = 2 * GROUP_GAP + (len(cnn) - 1) * GAP
    wide = snap((WIDTH - 2 * MARGIN - LABEL - gaps) / (len(cnn) + 2))
    tall = snap(wide * photo.shape[0] / photo.shape[1])
    drawing, axes = page(WIDTH, 2 * MARGIN + HEAD + 2 * tall + GAP + 6 * MM + 5 * STEP)
    top, below = snap(MARGIN + HEAD), snap(MARGIN + HEAD + tall + GAP)
    starts = [MARGIN + LABEL + wide + GROUP_GAP + column * (wide + GAP) for column in range(len(cnn))]
    xs = [snap(x) for x in (MARGIN + LABEL, *starts, WIDTH - MARGIN - wide)]
    sizes = ["{} × {}, {} channels".format(*maps.shape) for maps in stages.values()]
    headers = ["Input", *(f"{title}\n{size}" for title, size in zip(cnn, sizes, strict=True)), "Rollout of the ViT"]
    for x, text in zip(xs, headers, strict=True):
        write(axes, x + wide / 2, top - 0.9 * MM, text, size=SIZE, ha="center", at="last")
    for y, name in ((top, "Grad-CAM"), (below, "Feature maps,\nmean of channels")):
        write(axes, MARGIN + LABEL / 2, y + tall / 2, name, size=SIZE, ha="center", at="middle", upwards=True)
    draw_cell(axes, Cell(photo), (xs[0], top, wide, tall))
    for x, explanation, maps in zip(xs[1:], cnn.values(), stages.values(), strict=False):
        draw_cell(axes, map_cell(explanation, index), (x, top, wide, tall))
        mean = np.asarray(normalise_all(maps.mean(axis=-1)[None, None].astype(np.float32)))[0, 0]
        shown = np.ma.masked_invalid(mean)
        draw_image(axes, shown, (x, below, wide, tall), sharp=True, cmap=scheme(SEQUENTIAL), vmin=0, vmax=1)
    own = map_cell(rollout, index)
    draw_cell(axes, own, inside((xs[-1], top, wide, tall), own.image))
    _scale(axes, (xs[-1], below, wide))
    y, half = below + tall + 4.5 * MM, (WIDTH - 2 * MARGIN - LABEL) / 2
    for x, explanation in ((xs[0], first_cnn), (xs[0] + half, rollout)):
        _top_five(axes, explanation, index, (x, y, half - 4 * MM))
    return drawing


def _scale(axes: Axes, place: tuple[float, float, float]) -> None:
    """The colours of the feature maps, at the end of their row; place: x, y, width [inches]."""
    x, y, width = place
    text = fit("Each map is coloured from its minimum to its maximum.", width, SMALL, lines=4)
    write(axes, x, y + SMALL / 72, text, size=SMALL, color=MUTED)
    top = snap(y + (1 + text.count("\n")) * SMALL * LINE / 72 + 1.5 * MM)
    draw_image(axes, np.linspace(0, 1, 256)[None], (x, top, width, snap(1.8 * MM)), cmap=scheme(SEQUENTIAL))
    under = top + 1.8 * MM + SMALL / 72
    write(axes, x, under, "min", size=SMALL, color=MUTED)
    write(axes, x + width, under, "max", size=SMALL, color=MUTED, ha="right")


def _top_five(axes: Axes, explanation: Explanation, index: int, place: tuple[float, float, float]) -> None:
    """Names, bars and probabilities of the five most probable classes; place: x, y, width [inches]."""
    from matplotlib.patches import Rectangle

    x, y, width = place
    write(axes, x, y, f"Most probable classes, {explanation.model.name}", size=SIZE, bold=True)
    room = width - BAR - 10 * MM
    for row, (name, probability) in enumerate(explanation.best(index), start=1):
        at, start = y + row * STEP, x + room + 1.5 * MM
        write(axes, x, at, fit(name, room, SMALL), size=SMALL)
        color = INK if row == 1 else MUTED
        axes.add_patch(Rectangle((start, at - 1.7 * MM), BAR * probability, 1.8 * MM, color=color, lw=0))
        write(axes, start + BAR * probability + MM, at, percent(probability), size=SMALL, color=MUTED)
