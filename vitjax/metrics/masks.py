"""The object's mask: which pixels count, and what it is on the token grid."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from vitjax.maps import is_degenerate, normalise
from vitjax.metrics.contract import IGNORE, Case
from vitjax.shapes import Array, Bool, Float

Resolution = Literal["pixels", "grid"]
ToGrid = Literal["nearest", "centre", "area"]


class Marked(NamedTuple):
    """A mask taken apart, both [H, W] bool: no pixel of the object that does not count."""

    object: Array
    counts: Array

    @property
    def background(self) -> Array:
        return self.counts & ~self.object


def marked(mask: Array) -> Marked:
    """bool (True on the object, all pixels count) or integers (0 background, IGNORE not counted, else object)."""
    mask = jnp.asarray(mask)
    if mask.dtype == bool:
        return Marked(mask, jnp.ones_like(mask))
    counts = mask != IGNORE
    return Marked((mask != 0) & counts, counts)


def undefined(heatmap: Array, mask: Array) -> Bool[Array, ""]:
    """Whether a localisation number says nothing: a map that is constant or not finite, a mask of one kind alone."""
    each = marked(mask)
    return is_degenerate(heatmap) | ~each.object.any() | ~each.background.any()


def share_on_grid(mask: Array, grid: tuple[int, int], how: ToGrid) -> tuple[Float[Array, "h w"], Bool[Array, "h w"]]:
    """How much of each cell is the object, in [0, 1], and which cells count.

    Args:
        mask: [H, W] as for `marked`.
        grid: (h, w) cells.
        how: "nearest" takes pixel floor(i · H/h) of each cell, its upper left one, as PyTorch's and OpenCV's nearest
            do; "centre" pixel floor((i + 1/2) · H/h), as Pillow's nearest does; "area" the share of the counting
            pixels.

    A cell without a counting pixel does not count; its share is 0.
    """
    each = marked(mask)
    if how == "area":
        counted = pooled(each.counts.astype(jnp.float32), grid)
        found = pooled(each.object.astype(jnp.float32), grid)
        return found / jnp.where(counted > 0, counted, 1), counted > 0
    shift = 0.5 if how == "centre" else 0.0
    down, across = (
        np.floor((np.arange(cells) + shift) * (pixels / cells)).astype(int)
        for cells, pixels in zip(grid, mask.shape, strict=True)
    )
    picked = np.ix_(down, across)
    return each.object[picked].astype(jnp.float32), each.counts[picked]


def mask_on_grid(mask: Array, grid: tuple[int, int], how: ToGrid) -> Array:
    """uint8 [h, w] of 0, IGNORE and 255: a cell is object where more than half of it is. Args as `share_on_grid`."""
    share, counts = share_on_grid(mask, grid, how)
    return jnp.where(counts, jnp.where(share > 0.5, 255, 0), IGNORE).astype(jnp.uint8)


def pooled(heatmap: Float[Array, "H W"], grid: tuple[int, int]) -> Float[Array, "h w"]:
    """Mean of the map over each cell of a grid; a pixel across a border counts to both sides by its area."""
    heatmap = jnp.asarray(heatmap)
    if heatmap.shape == tuple(grid):
        return heatmap
    down, across = (_overlaps(cells, pixels) for cells, pixels in zip(grid, heatmap.shape, strict=True))
    weights = jnp.asarray(down, heatmap.dtype), jnp.asarray(across, heatmap.dtype)
    return jnp.einsum("iH,HW,jW->ij", weights[0], heatmap, weights[1], precision="highest")


def compared(case: Case, resolution: Resolution, mask_to_grid: ToGrid) -> tuple[Array, Array]:
    """(map in [0, 1], mask) at the size at which they are compared.

    "pixels": as they are. "grid": the raw map, averaged over each patch where it has another size, then min-max
    scaled, and the mask at that size.
    """
    if resolution == "pixels":
        return case.heatmap, case.mask
    return case.once(
        ("compared", mask_to_grid),
        lambda: (normalise(pooled(case.raw, case.grid)), mask_on_grid(case.mask, case.grid, mask_to_grid)),
    )


def _overlaps(cells: int, pixels: int) -> np.ndarray:
    """[cells, pixels]: share of each cell's length that each pixel covers."""
    edges = np.arange(cells + 1) * (pixels / cells)
    low = np.maximum(edges[:-1, None], np.arange(pixels))
    high = np.minimum(edges[1:, None], np.arange(pixels) + 1)
    return np.maximum(high - low, 0) * (cells / pixels)
