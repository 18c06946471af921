"""Resampling of learned positions to another image size: position embeddings and relative position biases."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError
from vitjax.nn.relative_bias import resample_table
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Params, at_least_float32


def params_at_size(params: Params, old: ViTConfig, new: ViTConfig) -> Params:
    """Parameters of `old` for the patch grid of `new`, the same architecture at another image size.

    Position embeddings are resampled as the configuration says. Tables of relative position biases are interpolated
    bicubically, where timm interpolates along a geometric progression. Rotary embeddings have no table.

    Raises:
        ConfigError: as `resample_positions`.
    """
    if old.grid == new.grid:
        return params
    if old.position_table:
        params = {**params, "pos_embed": resample_positions(params["pos_embed"], old, new)}
    if old.position_bias:
        attention = params["blocks"]["attn"]
        table = resample_table(attention["position_bias"], old.grid, new.grid)
        params = {**params, "blocks": {**params["blocks"], "attn": {**attention, "position_bias": table}}}
    return params


def resample_positions(table: Array, old: ViTConfig, new: ViTConfig) -> Array:
    """Position embedding of `old`, resampled to the patch grid of `new` by `old.resampling`.

    "bicubic" interpolates the patches' rows in float32 (a = -0.5) with antialiasing, as timm's
    `resample_abs_pos_embed` does, "bilinear" between the outermost rows and columns, which keep their places, as
    timm's Qwen3VitEncoder does; "crop" takes the rows of a smaller grid. Prefix rows are unchanged.

    Args:
        table: position embedding [position_tokens, c] of `old`.
        old: configuration that the table belongs to.
        new: the same architecture at another image size.

    Returns:
        Position embedding [position_tokens, c] of `new` in the dtype of the table; the table itself if the grids are
        equal.

    Raises:
        ConfigError: the table has no positions for a grid as large as that of `new`, and its kind cannot make them.
    """
    if old.grid == new.grid:
        return table
    prefix = old.prefix if old.position_on_prefix else 0
    grid = at_least_float32(jnp.asarray(table[prefix:])).reshape(*old.grid, -1)
    if old.resampling == "crop":
        if new.grid[0] > old.grid[0] or new.grid[1] > old.grid[1]:
            raise ConfigError(
                "the model has positions for {} x {} patches, the images have {} x {}".format(*old.grid, *new.grid)
            )
        grid = grid[: new.grid[0], : new.grid[1]]
    elif old.resampling == "bilinear":
        down, across = (between_ends(*sides) for sides in zip(old.grid, new.grid, strict=True))
        weights = down.astype(grid.dtype), across.astype(grid.dtype)
        grid = jnp.einsum("yi,xj,ijc->yxc", *weights, grid, precision="highest")
    else:
        shape = (*new.grid, grid.shape[-1])
        grid = jax.image.resize(grid.astype(jnp.float32), shape, "cubic", antialias=True)
    return jnp.concatenate([table[:prefix], grid.reshape(-1, grid.shape[-1]).astype(table.dtype)])


def between_ends(old: int, new: int) -> np.ndarray:
    """Matrix [new, old] of linear interpolation at `new` equally spaced points from the first to the last of `old`.

    Example:
        >>> from vitjax.nn.positions import between_ends
        >>> between_ends(2, 3)
        array([[1. , 0. ],
               [0.5, 0.5],
               [0. , 1. ]])
    """
    at = np.arange(new) * ((old - 1) / max(new - 1, 1))
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old)))
