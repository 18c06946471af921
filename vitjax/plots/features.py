"""Feature maps of a ResNet: the mean and the first channels of each stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vitjax.plots.cells import flaw, stamp
from vitjax.plots.figures import (
    INK,
    MARGIN,
    MM,
    MUTED,
    SIZE,
    SMALL,
    TITLE,
    TWO_COLUMNS,
    draw_image,
    page,
    snap,
    write,
)
from vitjax.plots.overlay import SEQUENTIAL, as_photo, scheme
from vitjax.plots.sheet import HEAD, heading, normalise_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDEST = 28 * MM
"""Longer side of a map [inches]."""


def feature_sheet(photo: np.ndarray, stages: Mapping[str, np.ndarray], *, channels: int = 6) -> Figure:
    """The photo, then one row per stage: the mean over all channels and the first channels.

    Args:
        photo: uint8 [H, W, 3].
        stages: name -> feature maps [down, across, c] of one image, as `vitjax.explaining.features.stage_features`
            returns them.
        channels: number of channels to show, at least 1; a stage with fewer channels shows all of them.

    Returns:
        Figure with 1 + channels titled panels per row, each scaled to its own minimum and maximum. A constant channel
        is stamped "flat", a channel with NaN or infinities "not finite".

    Raises:
        ValueError: no stage, channels below 1, or maps that are not [down, across, c].
    """
    photo = as_photo(photo)
    maps = {name: np.asarray(features, np.float32) for name, features in stages.items()}
    if not maps or channels < 1:
        raise ValueError(f"a feature sheet needs at least one stage and one channel, got {len(maps)} and {channels}")
    for name, features in maps.items():
        if features.ndim != 3:
            raise ValueError(f"{name}: expected [down, across, c], got {list(features.shape)}")

    down, across = photo.shape[:2]
    width = TWO_COLUMNS * MM
    gap, apart, label, title = 1.2 * MM, 2 * MM, 17 * MM, 4.5 * MM
    columns = 1 + min(channels, max(features.shape[2] for features in maps.values()))
    side = min((width - 2 * MARGIN - label - apart) / columns - gap, WIDEST)
    cell_w, cell_h = snap(side * min(1.0, across / down)), snap(side * min(1.0, down / across))
    figure, axes = page(width, 2 * MARGIN + HEAD + len(maps) * (title + cell_h + gap))
    heading(
        axes,
        photo,
        width,
        "Feature maps",
        f"{len(maps)} stages (rows, the first next to the pixels): the mean over all channels, then single channels, "
        "at the stage's own resolution. Each map is scaled to its own minimum and maximum.",
    )
    for row, (name, features) in enumerate(maps.items()):
        top = snap(MARGIN + HEAD + row * (title + cell_h + gap) + title)
        shown = np.concatenate([features.mean(axis=-1, keepdims=True), features[..., : columns - 1]], axis=-1)
        shown = np.moveaxis(shown, -1, 0)
        scaled = np.asarray(normalise_all(shown[None]))[0]
        label_x = MARGIN + label - 2 * MM
        size = "{} × {}\n{} channels".format(*features.shape)
        middle = top + cell_h / 2
        write(axes, label_x, middle - 3.4 * MM, name, size=TITLE, bold=True, ha="right", at="middle")
        write(axes, label_x, middle + 1.8 * MM, size, size=SMALL, color=MUTED, ha="right", at="middle")
        for column, (raw, data) in enumerate(zip(shown, scaled, strict=True)):
            x = snap(MARGIN + label + column * (cell_w + gap) + (apart if column else 0))
            box = (x, top, cell_w, cell_h)
            draw_image(axes, np.ma.masked_invalid(data), box, sharp=True, cmap=scheme(SEQUENTIAL), vmin=0, vmax=1)
            text, color = (f"Channel {column - 1}", MUTED) if column else ("Mean", INK)
            write(axes, x + cell_w / 2, top - 1.2 * MM, text, size=SIZE, color=color, ha="center", at="last")
            if reason := flaw(raw):
                stamp(axes, box, "flat" if reason == "degenerate" else reason, size=SMALL)
    return figure
