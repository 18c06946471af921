"""Numbers beside a paper's figures: extremes and mean of each raw map, and its focus on the object."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from vitjax.explaining.explanation import Explanation
from vitjax.metrics.focus import Focus, focus
from vitjax.metrics.masks import on_patches

COLUMNS = (
    *("image", "model", "method", "target", "target_probability", "predicted", "predicted_probability"),
    *("R_max", "R_min", "R_mean", "FAF", "BAF"),
)


def focus_of(explanation: Explanation, masks: Sequence[np.ndarray | None]) -> list[tuple[float, float] | None]:
    """(FAF, BAF) of each map on the grid of its patches; None without a mask, and where the two are not defined.

    Args:
        explanation: n maps.
        masks: n masks [H, W] of the images as the explanation's model sees them, or None.
    """
    config = explanation.model.config
    grid = config.grid if explanation.level == "pixel" else explanation.maps.shape[1:]

    def one(raw: Any, mask: Any) -> Focus:
        return focus(*on_patches(raw, mask, grid, config.covered))

    program = jax.jit(one)
    values = [None if mask is None else program(raw, mask) for raw, mask in zip(explanation.maps, masks, strict=True)]
    shares = [None if value is None else (float(value.faf), float(value.baf)) for value in values]
    return [None if share is None or np.isnan(share[0]) else share for share in shares]


def rows_of(explanation: Explanation, masks: Sequence[np.ndarray | None]) -> Iterable[dict[str, Any]]:
    """One row of COLUMNS for each map: R_max, R_min and R_mean are those of the raw map, before any scaling."""
    for index, share in enumerate(focus_of(explanation, masks)):
        caption, raw = explanation.caption(index), explanation.maps[index]
        yield {
            "image": explanation.images.ids[index],
            "model": explanation.model.name,
            "method": explanation.label,
            "target": caption["target"],
            "target_probability": caption["target_probability"],
            "predicted": caption["predicted"],
            "predicted_probability": caption["predicted_probability"],
            "R_max": float(raw.max()),
            "R_min": float(raw.min()),
            "R_mean": float(raw.mean()),
            "FAF": None if share is None else share[0],
            "BAF": None if share is None else share[1],
        }
