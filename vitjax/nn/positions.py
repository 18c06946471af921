"""Position embeddings at another image size."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array


def resample_positions(table: Array, old: ViTConfig, new: ViTConfig) -> Array:
    """The position embedding [position_tokens, c] of `old` for the patch grid of `new`.

    Bicubic (a = -0.5) with antialiasing in float32 on the patch part, prefix rows as they are: timm's
    `resample_abs_pos_embed`. An unchanged grid returns the table itself.
    """
    if old.grid == new.grid:
        return table
    prefix = old.prefix if old.position_on_prefix else 0
    grid = jnp.asarray(table[prefix:], jnp.float32).reshape(*old.grid, -1)
    grid = jax.image.resize(grid, (*new.grid, grid.shape[-1]), "cubic", antialias=True)
    return jnp.concatenate([table[:prefix], grid.reshape(-1, grid.shape[-1]).astype(table.dtype)])
