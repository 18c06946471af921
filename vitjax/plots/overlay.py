"""Colour maps for relevance, and overlays of heatmaps on photos."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vitjax.errors import unknown_name
from vitjax.plots.backend import import_matplotlib

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

SEQUENTIAL = "inferno"
DIVERGING = "blue_red"
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of red, green and blue in the grey level (Rec. 709)."""
PALEST = 150
"""Grey level of black in `pale`."""
OPACITY = 0.85
"""Of the colour at full relevance."""
NOT_A_NUMBER = 128
"""Grey level of pixels whose relevance is NaN."""


def blue_red() -> np.ndarray:
    """A diverging colour map from blue over near white to red, sRGB [256, 3] in [0, 1].

    On both sides of the centre, OKLab lightness falls linearly from 0.97 to 0.48 and chroma rises linearly, so equal
    magnitudes look equally strong.
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


def scheme(name: str | Colormap) -> Colormap:
    """A colour map, given itself or by name, "blue_red" or one of matplotlib's, with NaN drawn in grey.

    Raises:
        UnknownNameError: there is none of that name; the message lists close matches.
    """
    return _named_scheme(name) if isinstance(name, str) else _with_grey(name)


@lru_cache(maxsize=8)
def _named_scheme(name: str) -> Colormap:
    import_matplotlib()
    import matplotlib
    from matplotlib.colors import ListedColormap

    if name == DIVERGING:
        return _with_grey(ListedColormap(blue_red(), name))
    if name not in matplotlib.colormaps:
        raise unknown_name("colour map", name, (DIVERGING, *matplotlib.colormaps))
    return _with_grey(matplotlib.colormaps[name])


def _with_grey(colours: Colormap) -> Colormap:
    return colours.with_extremes(bad=(NOT_A_NUMBER / 255,) * 3)


def as_photo(photo: np.ndarray) -> np.ndarray:
    """The photo as an array.

    Raises:
        ValueError: not uint8 [H, W, 3].
    """
    photo = np.asarray(photo)
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"a photo must be uint8 [H, W, 3], got {photo.dtype} {list(photo.shape)}")
    return photo


def dimmed(photo: np.ndarray) -> np.ndarray:
    """The photo darkened and mostly desaturated, so that colour shows relevance: float32 [H, W, 3], 0 to 255."""
    pixels = photo.astype(np.float32)
    grey = (pixels @ LUMA)[..., None]
    return 0.72 * (grey + 0.35 * (pixels - grey))


def pale(photo: np.ndarray) -> np.ndarray:
    """The photo in light greys, so that signs show in colour on a white centre: float32 [H, W, 1], 0 to 255."""
    grey = photo.astype(np.float32) @ LUMA
    return (PALEST + (255 - PALEST) * grey / 255)[..., None]


def overlay(
    photo: np.ndarray,
    heatmap: np.ndarray,
    *,
    signed: bool = False,
    colormap: str | Colormap | None = None,
    alpha: float | None = None,
) -> Image.Image:
    """A heatmap laid over a photo: the photo is muted at low relevance and coloured at high relevance.

    The opacity of the colour increases with relevance. The colour keeps part of the photo's brightness, so that the
    photo remains recognisable at full relevance.

    Args:
        photo: uint8 [H, W, 3].
        heatmap: [H, W] in [0, 1]; if signed in [-1, 1], where 0 is neutral.
        signed: whether negative values count against the class.
        colormap: a colour map of matplotlib, or its name; by default "inferno", or `blue_red` if signed. Both are
            perceptually uniform, and told apart by readers who do not see red or green.
        alpha: opacity of the colour at full relevance, in [0, 1]; None: OPACITY.

    Returns:
        RGB image of the photo's size. Pixels whose relevance is NaN are grey.

    Raises:
        ValueError: the photo is not uint8 [H, W, 3], the sizes differ, or heatmap is out of range.
    """
    photo, heatmap = as_photo(photo), np.asarray(heatmap)
    if heatmap.shape != photo.shape[:2]:
        raise ValueError(f"heatmap {list(heatmap.shape)} and photo {list(photo.shape)} differ in size")
    low = -1 if signed else 0
    if (heatmap < low - 1e-6).any() or (heatmap > 1 + 1e-6).any():
        actual = f"[{np.nanmin(heatmap):.4g}, {np.nanmax(heatmap):.4g}]"
        raise ValueError(f"heatmap must lie in [{low}, 1], got {actual}: normalise it first")
    missing = np.isnan(heatmap)
    level = np.where(missing, 0, heatmap - low) * (255 / (1 - low))
    level = np.clip(np.rint(level), 0, 255).astype(np.uint8)
    colours = scheme(colormap or (DIVERGING if signed else SEQUENTIAL))(np.arange(256))[:, :3].astype(np.float32)
    strength = np.abs(np.linspace(low, 1, 256))
    alpha = OPACITY if alpha is None else alpha
    if signed:
        # Like ink on a pale photo: both signs darken it equally. A square root, because maps of pixels are sparse.
        ink = 1 - (alpha * np.sqrt(strength))[:, None].astype(np.float32) * (1 - colours)
        mixed = pale(photo) * ink[level]
    else:
        # Smoothstep, because it leaves no visible edge at low relevance and shows a peak as one region.
        opacity = (alpha * strength**2 * (3 - 2 * strength)).astype(np.float32)
        shade = 0.85 + 0.3 * (photo.astype(np.float32) @ LUMA / 255)[..., None]
        mixed = dimmed(photo) * (1 - opacity)[level][..., None] + 255 * (opacity[:, None] * colours)[level] * shade
    mixed[missing] = NOT_A_NUMBER
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
