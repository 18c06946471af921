"""Resampling of learned positions to another image size: position embeddings and relative position biases."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from vitjax.nn.relative_bias import resample_table
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Params


def params_at_size(params: Params, old: ViTConfig, new: ViTConfig) -> Params:
    """Parameters of `old` for the patch grid of `new`, the same architecture at another image size.

    Position embeddings are resampled as in timm. Tables of relative position biases are interpolated bicubically, where
    timm interpolates along a geometric progression. Rotary embeddings have no table.
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
    """Position embedding of `old`, resampled to the patch grid of `new` as timm's `resample_abs_pos_embed` does.

    The patches' rows are interpolated in float32, bicubic (a = -0.5) with antialiasing; prefix rows are unchanged.

    Args:
        table: position embedding [position_tokens, c] of `old`.
        old: configuration that the table belongs to.
        new: the same architecture at another image size.

    Returns:
        Position embedding [position_tokens, c] of `new` in the dtype of the table; the table itself if the grids are
        equal.
    """
    if old.grid == new.grid:
        return table
    prefix = old.prefix if old.position_on_prefix else 0
    grid = jnp.asarray(table[prefix:], jnp.float32).reshape(*old.grid, -1)
    grid = jax.image.resize(grid, (*new.grid, grid.shape[-1]), "cubic", antialias=True)
    return jnp.concatenate([table[:prefix], grid.reshape(-1, grid.shape[-1]).astype(table.dtype)])
