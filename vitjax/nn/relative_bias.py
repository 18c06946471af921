"""Relative position bias: a learned summand of the scores that depends on the offset between two patches only."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.shapes import Array

EXTRA_ROWS = 3
"""Rows after those of the offsets: from a prefix token to a patch, from a patch to a prefix token, between prefixes."""


def table_rows(grid: tuple[int, int]) -> int:
    """Number of rows of the table of a grid: one for each offset (dy, dx) of two patches, and EXTRA_ROWS."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + EXTRA_ROWS


def row_numbers(grid: tuple[int, int], prefix: int) -> np.ndarray:
    """The row of the table that each score of query i and key j takes, int32 [n, n].

    The row of offset (dy, dx) = position of the query minus that of the key is (dy + h - 1)(2w - 1) + dx + w - 1, as in
    BEiT (Bao et al. 2022) and Swin.
    """
    height, width = grid
    patches = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1).reshape(-1, 2)
    dy, dx = np.moveaxis(patches[:, None] - patches[None], -1, 0)
    offsets = (2 * height - 1) * (2 * width - 1)
    rows = np.empty((prefix + len(patches),) * 2, np.int32)
    rows[prefix:, prefix:] = (dy + height - 1) * (2 * width - 1) + dx + width - 1
    rows[:prefix] = offsets
    rows[:, :prefix] = offsets + 1
    rows[:prefix, :prefix] = offsets + 2
    return rows


def resample_table(table: Array, old: tuple[int, int], new: tuple[int, int]) -> Array:
    """Tables [..., rows, h] of one grid for another one: offsets are interpolated bicubically, extra rows stay."""
    sides = [(2 * grid[0] - 1, 2 * grid[1] - 1) for grid in (old, new)]
    offsets, extra = table[..., :-EXTRA_ROWS, :], table[..., -EXTRA_ROWS:, :]
    squares = jnp.asarray(offsets, jnp.float32).reshape(*table.shape[:-2], *sides[0], table.shape[-1])
    shape = (*table.shape[:-2], *sides[1], table.shape[-1])
    resized = jax.image.resize(squares, shape, "cubic", antialias=True)
    return jnp.concatenate([resized.reshape(*table.shape[:-2], -1, table.shape[-1]).astype(table.dtype), extra], -2)
