"""Focus: where the positive relevance of the patches goes, to the object or to the background."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from vitjax.maps import is_degenerate
from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.metrics.masks import ToGrid, pooled, share_on_grid
from vitjax.shapes import Array, Float


class Focus(NamedTuple):
    """Foreground and background attention focus; they add to 1."""

    faf: Array
    baf: Array


def focus(raw: Float[Array, "h w"], mask: Array, *, mask_to_grid: ToGrid = "nearest", relu: bool = True) -> Focus:
    """FAF = Σ a_ij M_ij / Σ a_ij and BAF = 1 - FAF on the token grid, a = relu(raw map).

    Args:
        raw: map on the token grid, any range, not normalised.
        mask: [H, W] bool, or 0 / 128 (counts nowhere) / 255.
        mask_to_grid: M of a patch is its upper left pixel ("nearest", as PyTorch resizes), the one at its centre
            ("centre", as Pillow does) or the share of its pixels that are object ("area").
        relu: False takes signed relevance as it is; the numbers can then leave [0, 1].

    Returns two floats in [0, 1]; NaN where the map is constant, not finite or without positive relevance, or M is all
    0 or all 1.

    Source: paper 000, FAF and BAF of Vision Transformers. Differs from reference: nothing known.

    Example: `focus(explanation.maps[0], mask, mask_to_grid="area").faf`
    """
    share, counts = share_on_grid(mask, (raw.shape[0], raw.shape[1]), mask_to_grid)
    bad = is_degenerate(raw) | ~(counts & (share > 0)).any() | ~(counts & (share < 1)).any()
    weights = jnp.where(counts, jnp.maximum(raw, 0) if relu else raw, 0)
    mass = jnp.sum(weights)
    faf = jnp.where(bad | (mass == 0), jnp.nan, jnp.sum(weights * share) / jnp.where(mass == 0, 1, mass))
    return Focus(faf, 1 - faf)


def _record(case: Case, *, mask_to_grid: ToGrid = "nearest", relu: bool = True) -> Columns:
    return focus(pooled(case.raw, case.grid), case.mask, mask_to_grid=mask_to_grid, relu=relu)._asdict()


FOCUS = Metric(
    title="Attention focus (FAF, BAF)",
    cite="paper 000: foreground and background attention focus",
    family="localisation",
    cost="0",
    function=focus,
    record=_record,
    figures=lambda options: {"faf": Statistic(("faf",)), "baf": Statistic(("baf",), better="lower")},
    needs=frozenset({"mask"}),
)
