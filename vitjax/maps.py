"""From relevance on the token grid to a picture of it: pixel size, [0, 1]. No method does this itself.

Every function takes ONE map, is pure and jit-able (`size` is static), and keeps float64 where it
is given; half precision and integers become float32. `jax.vmap` gives the batch.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.shapes import Array, Bool, Float

Map = Float[Array, "height width"]
Size = tuple[int, int]

ROUNDING = 4.0
"""A map whose range is within this many ulps of its largest magnitude varies by rounding alone."""


def _wide(x: Array) -> Array:
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def upsample(heatmap: Map, size: Size) -> Map:
    """Bilinear resampling with half-pixel centres, the border clamped.

    Output pixel i samples the input at (i + 1/2) * h/H - 1/2, as PyTorch's `interpolate(mode="bilinear",
    align_corners=False)` does, upwards and (without smoothing first) downwards.

    Args:
        heat: [h, w], any range.
        size: (H, W) in pixels.

    Returns:
        [H, W], float32 or float64, within the input's range. A NaN spreads only to the pixels it touches.

    Raises:
        ValueError: heat is not a non-empty [h, w], or size is not two positive numbers.
    """
    if heatmap.ndim != 2 or 0 in heatmap.shape:
        raise ValueError(f"expected one map [h, w], got shape {heatmap.shape}")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be (height, width) in pixels, both at least 1, got {size}")
    heatmap = _wide(heatmap)
    # Gathers, not interpolation matrices: a matmul would be TF32 on GPUs and spread a NaN over the whole map.
    for axis, pixels in enumerate(size):
        cells = heatmap.shape[axis]
        centres = np.clip((np.arange(pixels) + 0.5) * (cells / pixels) - 0.5, 0, cells - 1)
        low = np.floor(centres).astype(np.int32)
        high = np.minimum(low + 1, cells - 1)
        weight = jnp.asarray(centres - low, heatmap.dtype).reshape((-1, 1) if axis == 0 else (1, -1))
        below, above = jnp.take(heatmap, low, axis), jnp.take(heatmap, high, axis)
        # In this form a constant map stays constant to the last bit, so it is still seen to be degenerate.
        heatmap = below + weight * (above - below)
    return heatmap


def is_degenerate(heatmap: Map) -> Bool[Array, ""]:
    """Whether the map prefers no place to any other: all zero, constant up to rounding, or not finite.

    Args:
        heat: [h, w], any range.

    Returns:
        Boolean scalar.
    """
    heatmap = _wide(heatmap)
    rounding = ROUNDING * jnp.finfo(heatmap.dtype).eps * jnp.abs(heatmap).max()
    return ~(jnp.isfinite(heatmap).all() & (heatmap.max() - heatmap.min() > rounding))


@jax.jit
def are_degenerate(heatmaps: Float[Array, "b height width"]) -> Bool[Array, " b"]:
    """`is_degenerate` of each."""
    return jax.vmap(is_degenerate)(heatmaps)


def normalise(heatmap: Map) -> Map:
    """Min-max scaling of one map: (x - min) / (max - min).

    Args:
        heat: [h, w], any range.

    Returns:
        [h, w] in [0, 1], float32 or float64, both ends attained. Zeros if the map `is_degenerate`; NaN
        everywhere if that is because of a NaN or an infinity.
    """
    heatmap = _wide(heatmap)
    low, high = heatmap.min(), heatmap.max()
    flat = is_degenerate(heatmap)
    scaled = (heatmap - low) / jnp.where(flat, 1, high - low)
    return jnp.where(jnp.isfinite(low) & jnp.isfinite(high), jnp.where(flat, 0, scaled), jnp.nan)


def to_pixels(heatmap: Map, size: Size) -> Map:
    """The map H that metrics and overlays use: upsampled to pixels, then min-max scaled per image.

    Args:
        heat: [h, w] raw relevance on the token grid, or already [H, W].
        size: (H, W) of the model's input in pixels.

    Returns:
        [H, W] in [0, 1]; zeros if degenerate, NaN if the map is not finite.

    Raises:
        ValueError: as `upsample`.
    """
    return normalise(upsample(heatmap, size))


@partial(jax.jit, static_argnames="size")
def all_to_pixels(heatmaps: Float[Array, "b height width"], size: Size) -> Float[Array, "b H W"]:
    """`to_pixels` of many maps in the one compiled form that `Explanation.pixels` and an evaluation share.

    Another form rounds another way, and pixels that lie on a threshold, or are equal, would change sides.
    """
    return jax.vmap(lambda heatmap: to_pixels(heatmap, size))(heatmaps)


SHOWN = 99.0
"""Percentile of the magnitude at which a picture of a pixel-level map saturates."""


def to_display(heatmap: Map, size: Size, *, signed: bool = False) -> Map:
    """What a picture shows of a map; metrics use `to_pixels`.

    As `to_pixels`, or with `signed` divided by the largest magnitude, so that 0 stays 0. A map that is at pixels
    already saturates at the 99th percentile of its magnitude: its largest value is one pixel, which would take all the
    colour.

    Args:
        heat: [h, w] raw relevance on the token grid, or already [H, W].
        size: (H, W) of the picture in pixels.

    Returns:
        [H, W] in [0, 1], signed in [-1, 1].
    """
    large = upsample(heatmap, size)
    if tuple(heatmap.shape) == tuple(size):
        limit = jnp.percentile(jnp.abs(large), SHOWN)
        limit = jnp.where(limit > 0, limit, jnp.abs(large).max())
        large = jnp.clip(large, -limit, limit)
    if not signed:
        return normalise(large)
    most = jnp.abs(large).max()
    return large / jnp.where(most > 0, most, 1)
