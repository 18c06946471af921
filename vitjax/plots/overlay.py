"""Colour for relevance, and relevance laid over a photo."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

SEQUENTIAL = "inferno"
DIVERGING = "blue_red"
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
NOT_A_NUMBER = 128
"""Grey level of pixels whose relevance is NaN."""


def blue_red() -> np.ndarray:
    """Blue - near white - red, [256, 3] in [0, 1], equal steps in OKLab on either side of the centre.

    Both arms fall from lightness 0.97 to 0.48 at the same rate, so equal magnitudes look equally strong.
    """
    t = np.linspace(-1, 1, 256)
    lightness, chroma = 0.97 - 0.49 * np.abs(t), 0.165 * np.abs(t)
    hue = np.radians(np.where(t < 0, 257, 29))
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    cone = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_linear_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_linear_rgb @ cone**3, 0, 1).T
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@lru_cache(maxsize=8)
def scheme(name: str) -> Colormap:
    """A colour map by name: `blue_red`, or any of matplotlib's."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    colours = ListedColormap(blue_red(), name) if name == DIVERGING else matplotlib.colormaps[name]
    return colours.with_extremes(bad=(NOT_A_NUMBER / 255,) * 3)


def as_photo(photo: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] or a ValueError."""
    photo = np.asarray(photo)
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"a photo must be uint8 [H, W, 3], got {photo.dtype} {list(photo.shape)}")
    return photo


def dimmed(photo: np.ndarray) -> np.ndarray:
    """The photo darkened and drained of most colour, which is left to relevance: float32, 0..255."""
    pixels = photo.astype(np.float32)
    grey = (pixels @ LUMA)[..., None]
    return 0.72 * (grey + 0.35 * (pixels - grey))


def overlay(
    photo: np.ndarray,
    heat: np.ndarray,
    *,
    signed: bool = False,
    colormap: str | None = None,
    alpha: float = 0.85,
) -> Image.Image:
    """The photo, muted where relevance is low and coloured where it is high.

    Colour covers the photo more the higher the relevance, and keeps a part of the photo's light and shade:
    what is underneath can be recognised even at full relevance.

    Args:
        photo: uint8 [H, W, 3].
        heat: [H, W] in [0, 1]; with `signed` in [-1, 1], 0 meaning neither for nor against.
        colormap: name of a matplotlib colour map; by default inferno, or blue - red if signed. Both are
            perceptually uniform.
        alpha: share of colour at full relevance, 0..1.

    Returns:
        RGB picture of the photo's size. Pixels whose heat is NaN are flat grey.

    Raises:
        ValueError: wrong dtype, shapes that differ, or heat out of range.
    """
    photo, heat = as_photo(photo), np.asarray(heat)
    if heat.shape != photo.shape[:2]:
        raise ValueError(f"heat {list(heat.shape)} and photo {list(photo.shape)} differ in size")
    low = -1 if signed else 0
    if (heat < low - 1e-6).any() or (heat > 1 + 1e-6).any():
        found = f"[{np.nanmin(heat):.4g}, {np.nanmax(heat):.4g}]"
        raise ValueError(f"heat must lie in [{low}, 1], got {found}: normalise it first")
    broken = np.isnan(heat)
    level = np.where(broken, 0, heat - low) * (255 / (1 - low))
    level = np.clip(np.rint(level), 0, 255).astype(np.uint8)
    colours = scheme(colormap or (DIVERGING if signed else SEQUENTIAL))(np.arange(256))[:, :3]
    strength = np.abs(np.linspace(low, 1, 256))
    # Smoothstep: no visible edge where colour sets in, and the peak reads as one region.
    cover = (alpha * strength**2 * (3 - 2 * strength)).astype(np.float32)
    tint = (255 * cover[:, None] * colours).astype(np.float32)

    base = dimmed(photo)
    shade = 0.85 + 0.3 * (photo.astype(np.float32) @ LUMA / 255)[..., None]
    mixed = base * (1 - cover)[level][..., None] + tint[level] * shade
    mixed[broken] = NOT_A_NUMBER
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
