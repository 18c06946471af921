"""Feature maps of a ResNet: the mean and the first channels of each stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vitjax.plots.figures import INK, MARGIN, MUTED, draw_image, page, snap, write
from vitjax.plots.overlay import SEQUENTIAL, as_photo, scheme
from vitjax.plots.overlay_cell import flaw, stamp
from vitjax.plots.sheet import HEAD, heading, normalise_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 0.96


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
    cell_h, cell_w = snap(SIDE / max(1.0, across / down)), snap(SIDE * min(1.0, across / down))
    gap, apart, label, title = 0.07, 0.1, 0.82, 0.22
    columns = 1 + min(channels, max(features.shape[2] for features in maps.values()))
    width = max(2 * MARGIN + label + columns * (cell_w + gap) + apart, 5.2)
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
        label_x = MARGIN + label - 0.1
        size = "{} × {}\n{} channels".format(*features.shape)
        write(axes, label_x, top + cell_h / 2 - 0.14, name, size=8, bold=True, ha="right", at="middle")
        write(axes, label_x, top + cell_h / 2 + 0.1, size, size=6.5, color=MUTED, ha="right", at="middle")
        for column, (raw, data) in enumerate(zip(shown, scaled, strict=True)):
            x = snap(MARGIN + label + column * (cell_w + gap) + (apart if column else 0))
            box = (x, top, cell_w, cell_h)
            draw_image(axes, np.ma.masked_invalid(data), box, sharp=True, cmap=scheme(SEQUENTIAL), vmin=0, vmax=1)
            text, color = (f"channel {column - 1}", MUTED) if column else ("mean", INK)
            write(axes, x + cell_w / 2, top - 0.05, text, size=7, color=color, ha="center", at="last")
            if reason := flaw(raw):
                stamp(axes, box, "flat" if reason == "degenerate" else reason, size=6)
    return figure
