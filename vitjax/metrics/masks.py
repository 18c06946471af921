"""Object masks: which pixels are counted, and how a mask is reduced to the patch grid."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from vitjax.images.mask_values import IGNORE
from vitjax.maps import is_degenerate, normalise
from vitjax.metrics.checks import SLACK
from vitjax.metrics.contract import Case
from vitjax.shapes import Array, Bool, Float

Resolution = Literal["pixels", "grid"]
ToGrid = Literal["nearest", "centre", "area"]


class Regions(NamedTuple):
    """A mask as two bool arrays [H, W]: pixels of the object, and pixels that are not ignored. Object implies valid."""

    object: Array
    valid: Array

    @property
    def background(self) -> Array:
        return self.valid & ~self.object


def split_mask(mask: Array) -> Regions:
    """The regions of a mask.

    Args:
        mask: [H, W] bool (True on the object, every pixel valid) or integers (0 background, IGNORE not valid, any other
            value object; the plain functions refuse values other than 0, 128 and 255).
    """
    mask = jnp.asarray(mask)
    if mask.dtype == bool:
        return Regions(mask, jnp.ones_like(mask))
    valid = mask != IGNORE
    return Regions((mask != 0) & valid, valid)


def is_undefined(heatmap: Array, mask: Array) -> Bool[Array, ""]:
    """Whether localisation is undefined: the map is constant, not finite or outside [0, 1], or the mask lacks object
    or background. Where values are known, `checks` has already refused a map outside [0, 1]."""
    regions = split_mask(mask)
    outside = (heatmap.min() < -SLACK) | (heatmap.max() > 1 + SLACK)
    return is_degenerate(heatmap) | outside | ~regions.object.any() | ~regions.background.any()


def share_on_grid(mask: Array, grid: tuple[int, int], how: ToGrid) -> tuple[Float[Array, "h w"], Bool[Array, "h w"]]:
    """The share of the object in each cell of a grid, and which cells are valid.

    Args:
        mask: [H, W], as for `split_mask`.
        grid: (h, w) cells.
        how: "nearest" samples pixel floor(i · H/h) of cell i, its upper left one, as nearest-neighbour resizing in
            PyTorch and OpenCV does; "centre" samples pixel floor((i + 1/2) · H/h), as Pillow does; "area" computes the
            share of the object among the valid pixels of the cell.

    Returns:
        (share in [0, 1], valid), both [h, w]. A cell is valid if its sampled pixel is, for "area" if any of its pixels
        is; the share of other cells is 0.
    """
    regions = split_mask(mask)
    if how == "area":
        valid_area = pooled(regions.valid.astype(jnp.float32), grid)
        object_area = pooled(regions.object.astype(jnp.float32), grid)
        return object_area / jnp.where(valid_area > 0, valid_area, 1), valid_area > 0
    shift = 0.5 if how == "centre" else 0.0
    down, across = (
        np.floor((np.arange(cells) + shift) * (pixels / cells)).astype(int)
        for cells, pixels in zip(grid, mask.shape, strict=True)
    )
    sampled = np.ix_(down, across)
    return regions.object[sampled].astype(jnp.float32), regions.valid[sampled]


def mask_on_grid(mask: Array, grid: tuple[int, int], how: ToGrid) -> Array:
    """The mask on a grid: 255 in cells whose object share exceeds 1/2, IGNORE in cells that are not valid, else 0.

    Args: as for `share_on_grid`.

    Returns:
        uint8 [h, w].
    """
    share, valid = share_on_grid(mask, grid, how)
    return jnp.where(valid, jnp.where(share > 0.5, 255, 0), IGNORE).astype(jnp.uint8)


def pooled(heatmap: Float[Array, "H W"], grid: tuple[int, int]) -> Float[Array, "h w"]:
    """Mean of the map over each cell of a grid; a pixel across the border of two cells is divided by area."""
    heatmap = jnp.asarray(heatmap)
    if heatmap.shape == tuple(grid):
        return heatmap
    down, across = (_overlaps(cells, pixels) for cells, pixels in zip(grid, heatmap.shape, strict=True))
    weights = jnp.asarray(down, heatmap.dtype), jnp.asarray(across, heatmap.dtype)
    return jnp.einsum("iH,HW,jW->ij", weights[0], heatmap, weights[1], precision="highest")


def map_and_mask(case: Case, resolution: Resolution, mask_to_grid: ToGrid) -> tuple[Array, Array]:
    """(map in [0, 1], mask) at the resolution of the comparison.

    Args:
        resolution: "pixels" takes the heatmap and the mask as they are. "grid" takes the raw map, averaged over each
            patch if it has another size and then min-max scaled, and the mask on the patch grid.
        mask_to_grid: as `how` of `share_on_grid`; unused for "pixels".
    """
    if resolution == "pixels":
        return case.heatmap, case.mask

    def on_grid() -> tuple[Array, Array]:
        raw, mask = on_patches(case.raw, case.mask, case.grid, case.covered)
        return normalise(raw), mask_on_grid(mask, case.grid, mask_to_grid)

    return case.once(("map_and_mask", mask_to_grid), on_grid)


def on_patches(raw: Array, mask: Array, grid: tuple[int, int], covered: tuple[int, int] | None) -> tuple[Array, Array]:
    """The raw map on the patch grid, and the part of the mask that whole patches cover.

    Args:
        raw: [h, w] on the grid, which is returned as it is, or of another size, averaged over each patch.
        mask: [H, W].
        grid: (rows, columns) of patches.
        covered: (height, width) in pixels of the upper left part of the image that the grid covers: all but the
            remainder that some models drop. None is the whole.
    """
    height, width = mask.shape if covered is None else covered
    return pooled(raw[:height, :width], grid), mask[:height, :width]


def _overlaps(cells: int, pixels: int) -> np.ndarray:
    """[cells, pixels], rows sum to 1: the share of each cell's length that each pixel covers."""
    edges = np.arange(cells + 1) * (pixels / cells)
    low = np.maximum(edges[:-1, None], np.arange(pixels))
    high = np.minimum(edges[1:, None], np.arange(pixels) + 1)
    return np.maximum(high - low, 0) * (cells / pixels)
