"""Ratios of counts that are summed over the images of a data set before they are divided."""

from __future__ import annotations

import numpy as np


def pooled_share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Σ part / Σ whole, summed over images (the last axis) in float64."""
    return np.asarray(part, np.float64).sum(axis=-1) / np.asarray(whole, np.float64).sum(axis=-1)


def pooled_mean_iou(
    object_hit: np.ndarray, object_union: np.ndarray, background_left: np.ndarray, background_union: np.ndarray
) -> np.ndarray:
    """(Σ∩ / Σ∪ of the object + Σ∩ / Σ∪ of the background) / 2, summed over images (the last axis) in float64."""
    return (pooled_share(object_hit, object_union) + pooled_share(background_left, background_union)) / 2
