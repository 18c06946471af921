"""Focus: the shares of the positive relevance of the patches that lie on the object and on the background."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from vitjax.maps import is_degenerate
from vitjax.metrics.checks import checks_options, grid_with_mask
from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.metrics.masks import ToGrid, on_patches, share_on_grid
from vitjax.shapes import Array, Float


class Focus(NamedTuple):
    """Foreground and background attention focus; the two sum to 1."""

    faf: Array
    baf: Array


@checks_options
def focus(raw: Float[Array, "h w"], mask: Array, *, mask_to_grid: ToGrid = "nearest", relu: bool = True) -> Focus:
    """FAF = Σ a_ij M_ij / Σ a_ij and BAF = 1 - FAF on the patch grid, with a = relu(raw map).

    Args:
        raw: map on the patch grid, any range, not normalised.
        mask: [H, W] bool, or integers: 0 (background), 128 (ignored), 255 (object).
        mask_to_grid: how M is computed for each patch: the mask at its upper left pixel ("nearest", as PyTorch
            resizes), the mask at its centre ("centre", as Pillow resizes) or the share of its pixels that lie on the
            object ("area").
        relu: False keeps negative relevance; FAF and BAF can then lie outside [0, 1].

    Returns:
        Two floats in [0, 1] that sum to 1; NaN if the map is constant, not finite or has no positive relevance, or if
        M is 0 or 1 everywhere.

    Source: Das & Huddar 2025, FAF and BAF of Vision Transformers. Differs from reference: nothing known.

    Example:
        >>> raw, mask = jnp.array([[3.0, -1.0], [1.0, 0.0]]), np.array([[255, 0], [0, 0]])
        >>> focus = vitjax.metrics.focus(raw, mask)
        >>> float(focus.faf), float(focus.baf)
        (0.75, 0.25)
    """
    raw, mask = grid_with_mask(raw, mask)
    share, valid = share_on_grid(mask, (raw.shape[0], raw.shape[1]), mask_to_grid)
    undefined = is_degenerate(raw) | ~(valid & (share > 0)).any() | ~(valid & (share < 1)).any()
    weights = jnp.where(valid, jnp.maximum(raw, 0) if relu else raw, 0)
    mass = jnp.sum(weights)
    faf = jnp.where(undefined | (mass == 0), jnp.nan, jnp.sum(weights * share) / jnp.where(mass == 0, 1, mass))
    return Focus(faf, 1 - faf)


def _record(case: Case, *, mask_to_grid: ToGrid = "nearest", relu: bool = True) -> Columns:
    raw, mask = on_patches(case.raw, case.mask, case.grid, case.covered)
    return focus(raw, mask, mask_to_grid=mask_to_grid, relu=relu)._asdict()


FOCUS = Metric(
    title="Attention focus (FAF, BAF)",
    cite="Das & Huddar 2025: foreground and background attention focus",
    family="localisation",
    cost="0",
    function=focus,
    record=_record,
    figures=lambda options: {
        "faf": Statistic(("faf",), title="FAF"),
        "baf": Statistic(("baf",), better="lower", title="BAF"),
    },
    needs=frozenset({"mask"}),
    use_when="results of Das & Huddar 2025 (FAF, BAF) are to be compared with, on the raw map",
)
