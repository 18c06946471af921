"""Das & Huddar 2025: Grad-CAM and feature maps of each stage of a ResNet beside a ViT's rollout, top five of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitjax.explaining.explanation import Explanation
from vitjax.papers.drawing import GAP, LABEL, SMALL, TYPE, WIDTH, Cell, draw_cell
from vitjax.papers.paper import Materials
from vitjax.plots.features import feature_sheet
from vitjax.plots.figures import INK, MARGIN, MUTED, draw_image, fit, page, snap, write
from vitjax.plots.grid import inside
from vitjax.plots.overlay import SEQUENTIAL, scheme
from vitjax.plots.sheet import normalise_all

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE, BARS = 0.125, 0.9
"""Height of a line of the top five, and the length of the bar of a probability of one [inches]."""


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
    (rollout_title, rollout), *_ = materials.explanations.items()
    cnn, stages = materials.cnn, materials.cnn_features[index]
    first_cnn = next(iter(cnn.values()))
    photo = first_cnn.images.pixels[index]
    side = snap((WIDTH - 2 * MARGIN - LABEL - (len(cnn) + 1) * GAP) / (len(cnn) + 2))
    tall = snap(side * photo.shape[0] / photo.shape[1])
    head, foot = 0.3, 0.24 + 6 * LINE
    drawing, axes = page(WIDTH, 2 * MARGIN + head + 2 * (tall + GAP) + foot)
    top = snap(MARGIN + head)
    xs = [snap(MARGIN + LABEL + column * (side + GAP)) for column in range(len(cnn) + 2)]
    sizes = ["{} × {} × {}".format(*stages[name].shape) for name in stages]
    texts = ["photograph", *(f"{title}\n{size}" for title, size in zip(cnn, sizes, strict=True))]
    grid = "{} × {}".format(*rollout.maps.shape[1:])
    for x, text in zip(xs, [*texts, f"{rollout_title} of the ViT\n{grid}"], strict=True):
        write(axes, x + side / 2, top - 0.06, text, size=TYPE, ha="center", at="last")
    for row, name in enumerate(("Grad-CAM", "mean of the\nfeature maps")):
        y = top + row * (tall + GAP) + tall / 2
        write(axes, MARGIN + LABEL - 0.06, y, name, size=TYPE, ha="right", at="middle")
    draw_cell(axes, Cell(photo), (xs[0], top, side, tall))
    for x, explanation, maps in zip(xs[1:], cnn.values(), stages.values(), strict=False):
        draw_cell(axes, Cell(photo, explanation.maps[index], explanation.signed), (x, top, side, tall))
        mean = np.asarray(normalise_all(maps.mean(axis=-1)[None, None].astype(np.float32)))[0, 0]
        box = (x, snap(top + tall + GAP), side, tall)
        draw_image(axes, np.ma.masked_invalid(mean), box, sharp=True, cmap=scheme(SEQUENTIAL), vmin=0, vmax=1)
    own = Cell(rollout.images.pixels[index], rollout.maps[index], rollout.signed)
    draw_cell(axes, own, inside((xs[-1], top, side, tall), own.photo))
    _scale(axes, (xs[-1], top + tall + GAP, side))
    y = top + 2 * (tall + GAP) + 0.16
    half = (WIDTH - 2 * MARGIN - LABEL - 0.2) / 2
    for x, explanation in ((MARGIN + LABEL, first_cnn), (MARGIN + LABEL + half + 0.2, rollout)):
        _top_five(axes, explanation, index, (x, y, half))
    return drawing


def _scale(axes: Axes, place: tuple[float, float, float]) -> None:
    """The colours of the feature maps, at the end of their row; place: x, y, width [inches]."""
    x, y, width = place
    text = fit("Colours run from the smallest to the largest value of each map.", width, SMALL, lines=4)
    write(axes, x, y + 0.12, text, size=SMALL, color=MUTED)
    box = (x, snap(y + 0.62), width, 0.09)
    draw_image(axes, np.linspace(0, 1, 256)[None], box, cmap=scheme(SEQUENTIAL), vmin=0, vmax=1)
    write(axes, x, y + 0.82, "min", size=SMALL, color=MUTED)
    write(axes, x + width, y + 0.82, "max", size=SMALL, color=MUTED, ha="right")


def _top_five(axes: Axes, explanation: Explanation, index: int, place: tuple[float, float, float]) -> None:
    """Names, bars and probabilities of the five most probable classes; place: x, y, width [inches]."""
    from matplotlib.patches import Rectangle

    x, y, width = place
    write(axes, x, y, f"{explanation.model.name}: most probable classes", size=TYPE, bold=True)
    name_width = width - BARS - 0.45
    for row, (name, probability) in enumerate(explanation.best(index)):
        at = y + (row + 1.1) * LINE
        write(axes, x, at, fit(name, name_width, SMALL), size=SMALL)
        start = x + name_width + 0.08
        axes.add_patch(Rectangle((start, at - 0.07), BARS * probability, 0.075, color=INK if row == 0 else MUTED, lw=0))
        write(axes, start + BARS * probability + 0.04, at, f"{100 * probability:.1f} %", size=SMALL, color=MUTED)
