"""Upsampling and normalisation of relevance maps, from the patch grid to pixels in [0, 1].

Methods return raw maps; only this module upsamples and normalises them. Except `are_degenerate` and `all_to_pixels`,
every function takes ONE map (use `jax.vmap` for a batch). Functions are pure and jit-able (`size` is static). float64
maps stay float64; half precision and integers become float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.shapes import Array, Bool, Float, at_least_float32

Map = Float[Array, "height width"]
PixelMap = Float[Array, "pixel_height pixel_width"]
Size = tuple[int, int]

P = ParamSpec("P")
R = TypeVar("R")

ROUNDING = 4.0
"""A map whose range is at most this many ulps of its largest magnitude is constant up to rounding."""


def deliberate_nans(function: Callable[P, R]) -> Callable[P, R]:
    """The function, outside of jax_debug_nans and jax_debug_infs: NaN states here that a number is undefined."""

    @wraps(function)
    def unchecked(*arguments: P.args, **options: P.kwargs) -> R:
        with jax.debug_nans(False), jax.debug_infs(False):
            return function(*arguments, **options)

    return unchecked


def upsample(heatmap: Map, size: Size, covered: Size | None = None) -> PixelMap:
    """Bilinear resampling with half-pixel centres and clamped borders.

    Output pixel i samples the input at (i + 1/2) * h/H - 1/2, as PyTorch's `interpolate(mode="bilinear",
    align_corners=False)` does. Downsampling does not smooth the map first.

    Args:
        heatmap: [h, w], any range.
        size: (H, W) in pixels.
        covered: (H', W') of the upper left part of the image that the cells of the map cover; the whole by default. The
            positions of cells then follow from it, with H' in place of H above, and pixels outside of it repeat the
            nearest cell. `ViTConfig.covered` is smaller than the image where whole patches do not fill it. A map that
            has one value for each pixel is never stretched.

    Returns:
        [H, W], float32 or float64, within the input's range. A NaN spreads only to the pixels that interpolate from it.

    Raises:
        ValueError: heatmap is not a non-empty [h, w], or size is not two positive numbers.
    """
    if heatmap.ndim != 2 or 0 in heatmap.shape:
        raise ValueError(f"expected one map [h, w], got shape {heatmap.shape}")
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be (height, width) in pixels, both at least 1, got {size}")
    heatmap = at_least_float32(jnp.asarray(heatmap))
    # Gathers, because GPUs may compute a product with interpolation matrices in TF32, and it would spread a NaN.
    extent = size if covered is None or heatmap.shape == tuple(size) else covered
    for axis, (pixels, inside) in enumerate(zip(size, extent, strict=True)):
        cells = heatmap.shape[axis]
        centres = np.clip((np.arange(pixels) + 0.5) * (cells / inside) - 0.5, 0, cells - 1)
        low = np.floor(centres).astype(np.int32)
        high = np.minimum(low + 1, cells - 1)
        weight = jnp.asarray(centres - low, heatmap.dtype).reshape((-1, 1) if axis == 0 else (1, -1))
        below, above = jnp.take(heatmap, low, axis), jnp.take(heatmap, high, axis)
        # This form keeps a constant map constant to the last bit, so that `is_degenerate` still detects it.
        heatmap = below + weight * (above - below)
    return heatmap


def is_degenerate(heatmap: Float[Array, "*any"]) -> Bool[Array, ""]:
    """Whether the map carries no information: all zero, constant up to rounding, or not finite.

    Args:
        heatmap: [h, w], any range.

    Returns:
        Boolean scalar.
    """
    heatmap = at_least_float32(jnp.asarray(heatmap))
    rounding = ROUNDING * jnp.finfo(heatmap.dtype).eps * jnp.abs(heatmap).max()
    return ~(jnp.isfinite(heatmap).all() & (heatmap.max() - heatmap.min() > rounding))


@deliberate_nans
@jax.jit
def are_degenerate(heatmaps: Float[Array, "b height width"]) -> Bool[Array, " b"]:
    """`is_degenerate` of each map of a batch."""
    return jax.vmap(is_degenerate)(heatmaps)


@deliberate_nans
def normalise(heatmap: Map) -> Map:
    """Min-max scaling of one map: (x - min) / (max - min).

    Args:
        heatmap: [h, w], any range.

    Returns:
        [h, w] in [0, 1], float32 or float64, with minimum 0 and maximum 1. Zeros if the map is constant up to rounding;
        NaN everywhere if it contains a NaN or an infinity.
    """
    heatmap = at_least_float32(jnp.asarray(heatmap))
    low, high = heatmap.min(), heatmap.max()
    flat = is_degenerate(heatmap)
    scaled = (heatmap - low) / jnp.where(flat, 1, high - low)
    return jnp.where(jnp.isfinite(low) & jnp.isfinite(high), jnp.where(flat, 0, scaled), jnp.nan)


@deliberate_nans
def to_pixels(heatmap: Map, size: Size, covered: Size | None = None) -> PixelMap:
    """The map H that metrics use: upsampled to pixels, then min-max scaled.

    Args:
        heatmap: raw relevance, [h, w] on the patch grid or [H, W] in pixels.
        size: (H, W) of the model's input in pixels.
        covered: as for `upsample`.

    Returns:
        [H, W] in [0, 1]; zeros if the map is constant, NaN if it is not finite.

    Raises:
        ValueError: as for `upsample`.
    """
    return normalise(upsample(heatmap, size, covered))


@deliberate_nans
@partial(jax.jit, static_argnames=("size", "covered"))
def all_to_pixels(
    heatmaps: Float[Array, "b height width"], size: Size, covered: Size | None = None
) -> Float[Array, "b H W"]:
    """`to_pixels` of each map of a batch, in the compiled form that `Explanation.pixels` and evaluations share.

    Both must round equally: different rounding would move pixels across a threshold or break ties differently.
    """
    return jax.vmap(lambda heatmap: to_pixels(heatmap, size, covered))(heatmaps)


DISPLAY_PERCENTILE = 99.0
"""Overlays of pixel-level maps saturate at this percentile of the map's magnitude."""


@deliberate_nans
def to_display(
    heatmap: Map, size: Size, *, signed: bool = False, covered: Size | None = None, percentile: float | None = None
) -> PixelMap:
    """The map that overlays show; metrics use `to_pixels`.

    Unsigned maps are min-max scaled as in `to_pixels`; signed maps are divided by their largest magnitude, so that 0
    stays 0. A map that already has pixel size is first clipped at the 99th percentile of its magnitude; otherwise a
    single extreme pixel would leave the rest of the map without visible colour.

    Args:
        heatmap: raw relevance, [h, w] on the patch grid or [H, W] in pixels.
        size: (H, W) of the overlay in pixels.
        signed: whether negative relevance has a meaning of its own.
        covered: as for `upsample`.
        percentile: where maps are clipped, of their magnitude at the pixels; None: at DISPLAY_PERCENTILE for a map of
            pixel size, not at all for others.

    Returns:
        [H, W] in [0, 1]; if signed, in [-1, 1].

    Raises:
        ValueError: as for `upsample`.
    """
    upsampled = upsample(heatmap, size, covered)
    if percentile is None and tuple(heatmap.shape) == tuple(size):
        percentile = DISPLAY_PERCENTILE
    if percentile is not None:
        limit = _percentile(jnp.abs(upsampled), percentile)
        limit = jnp.where(limit > 0, limit, jnp.abs(upsampled).max())
        upsampled = jnp.clip(upsampled, -limit, limit)
    if not signed:
        return normalise(upsampled)
    largest = jnp.abs(upsampled).max()
    return upsampled / jnp.where(largest > 0, largest, 1)


def _percentile(values: Array, percentile: float) -> Array:
    """Percentile with linear interpolation; NaN if a value is NaN.

    The rank is computed on the host: `jnp.percentile` computes it in float32 in some versions of JAX.
    """
    ordered = jnp.sort(values.ravel())
    rank = percentile / 100 * (ordered.size - 1)
    low = int(rank)
    high = min(low + 1, ordered.size - 1)
    inside = ordered[low] + (rank - low) * (ordered[high] - ordered[low])
    return jnp.where(jnp.isnan(ordered[-1]), jnp.nan, inside)  # sorting puts NaN last
