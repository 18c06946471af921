"""Where a pixel of the photograph lands in the model's input, and back: timm's resize and crop as one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vitjax.errors import ConfigError, ImageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CROP_MODES = ("center", "squash", "border")
INTERPOLATIONS = tuple(member.name.lower() for member in Image.Resampling)


@dataclass(frozen=True)
class Preprocessing:
    """timm's data configuration.

    size: (height, width) of the model's input [pixels]. crop_pct: size / side that the picture is resized
    to. crop_mode: "center" keeps the aspect and cuts what sticks out, "squash" drops the aspect, "border"
    keeps the whole picture and pads with the mean. interpolation: a Pillow filter. mean, std: per channel,
    of values in 0..1. Raises ConfigError for a value that cannot be.
    """

    size: tuple[int, int] = (224, 224)
    crop_pct: float = 0.9
    crop_mode: str = "center"
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ConfigError(f"size must be two positive integers (height, width), not {self.size}")
        if not self.crop_pct > 0:
            raise ConfigError(f"crop_pct must be positive, not {self.crop_pct}")
        if self.crop_mode not in CROP_MODES:
            raise ConfigError(f"crop_mode must be one of {', '.join(CROP_MODES)}, not {self.crop_mode!r}")
        if self.interpolation not in INTERPOLATIONS:
            known = ", ".join(INTERPOLATIONS)
            raise ConfigError(f"interpolation must be one of {known}, not {self.interpolation!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or not min(self.std) > 0:
            raise ConfigError(f"mean and std need three values, std above 0: {self.mean}, {self.std}")

    @classmethod
    def from_timm(cls, cfg: Mapping[str, Any]) -> Preprocessing:
        """From a timm `pretrained_cfg` as a dict, with timm's own defaults for what it leaves out."""
        channels, height, width = cfg.get("input_size") or (3, 224, 224)
        if channels != 3:
            raise ConfigError(f"input_size has {channels} channels; only RGB models are supported")
        return cls(
            size=(height, width),
            crop_pct=cfg.get("crop_pct") or 0.875,
            crop_mode=cfg.get("crop_mode") or "center",
            interpolation=cfg.get("interpolation") or "bicubic",
            mean=tuple(cfg.get("mean") or IMAGENET_MEAN),
            std=tuple(cfg.get("std") or IMAGENET_STD),
        )


@dataclass(frozen=True)
class Geometry:
    """A resize of the whole picture, then a cut of `size` at (top, left); `geometry` makes one.

    Sizes are (height, width) [pixels]. top, left lie in the resized picture, negative where it is padded.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    top: int
    left: int
    size: tuple[int, int]

    def image(
        self, picture: Image.Image, interpolation: str = "bicubic", fill: tuple[int, int, int] = (0, 0, 0)
    ) -> np.ndarray:
        """An RGB picture of the original size -> uint8 [H, W, 3], antialiased, padding = `fill`."""
        self._check((picture.height, picture.width), self.original)
        if self.resized != self.original:
            picture = picture.resize(self.resized[::-1], Image.Resampling[interpolation.upper()])
        canvas = Image.new("RGB", self.size[::-1], fill)
        canvas.paste(picture, (-self.left, -self.top))
        return np.asarray(canvas)

    def mask(self, mask: Image.Image | np.ndarray) -> np.ndarray:
        """A mask or label map [h0, w0] -> [H, W] by nearest neighbour, same dtype, padding = 0.

        Picks exactly the pixels that Pillow's NEAREST picks. Raises ImageError for any other size.
        """
        values = np.asarray(mask)
        self._check(values.shape, self.original)
        out = np.zeros(self.size, values.dtype)
        # The part of the cut that lies on the picture, in coordinates of the cut and of the resized picture.
        (y0, y1), (x0, x1) = self._covered()
        rows = _nearest(self.original[0], self.resized[0])[y0 + self.top : y1 + self.top]
        columns = _nearest(self.original[1], self.resized[1])[x0 + self.left : x1 + self.left]
        out[y0:y1, x0:x1] = values[np.ix_(rows, columns)]
        return out

    def to_original(self, values: np.ndarray) -> np.ndarray:
        """A map [H, W] at the model's resolution -> float32 [h0, w0] on the photograph, nan outside the crop.

        Bilinear; padding never bleeds into the picture. Raises ImageError if the map is not of `size`.
        """
        values = np.asarray(values, np.float32)
        self._check(values.shape, self.size)
        (y0, y1), (x0, x1) = self._covered()
        low, high, weight, outside_y = _bilinear(self.original[0], self.resized[0], self.top, y0, y1)
        rows = values[low] * (1 - weight)[:, None] + values[high] * weight[:, None]
        low, high, weight, outside_x = _bilinear(self.original[1], self.resized[1], self.left, x0, x1)
        out = rows[:, low] * (1 - weight) + rows[:, high] * weight
        out[outside_y[:, None] | outside_x] = np.nan
        return out

    def _covered(self) -> tuple[tuple[int, int], tuple[int, int]]:
        starts = max(0, -self.top), max(0, -self.left)
        ends = (
            min(self.size[0], self.resized[0] - self.top),
            min(self.size[1], self.resized[1] - self.left),
        )
        return (starts[0], ends[0]), (starts[1], ends[1])

    @staticmethod
    def _check(shape: tuple[int, ...], wanted: tuple[int, int]) -> None:
        if tuple(shape) != wanted:
            raise ImageError(f"expected {wanted[0]} x {wanted[1]} (height x width), got shape {tuple(shape)}")


def geometry(width: int, height: int, preprocessing: Preprocessing) -> Geometry:
    """The resize and crop that timm's evaluation transform makes of a width x height picture [pixels]."""
    size = preprocessing.size
    scale_h, scale_w = (math.floor(side / preprocessing.crop_pct) for side in size)
    if preprocessing.crop_mode == "squash":
        resized = scale_h, scale_w
    elif preprocessing.crop_mode == "center" and scale_h == scale_w:
        # torchvision truncates the long side; timm's own resize, below, rounds it.
        short = min(width, height)
        long = int(scale_h * max(width, height) / short)
        resized = (long, scale_h) if width <= height else (scale_h, long)
    else:
        fit = max if preprocessing.crop_mode == "border" else min
        ratio = fit(height / scale_h, width / scale_w)
        resized = round(height / ratio), round(width / ratio)
    return Geometry(
        original=(height, width),
        resized=resized,
        top=_offset(resized[0], size[0]),
        left=_offset(resized[1], size[1]),
        size=size,
    )


def _offset(side: int, cut: int) -> int:
    """torchvision's centre crop: half to even where it cuts, the smaller half first where it pads."""
    return -((cut - side) // 2) if side < cut else round((side - cut) / 2)


def _nearest(original: int, resized: int) -> np.ndarray:
    """Index of the original pixel under each resized one: Pillow's own choice, whatever the mask's dtype."""
    ramp = Image.fromarray(np.arange(original, dtype=np.int32)[None])
    return np.asarray(ramp.resize((resized, 1), Image.Resampling.NEAREST))[0]


def _bilinear(
    original: int, resized: int, offset: int, start: int, end: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper index, weight of the upper, and "outside the cut", per original pixel of one axis."""
    centre = (np.arange(original) + 0.5) * (resized / original) - offset
    position = np.clip(centre - 0.5, start, end - 1)
    low = np.floor(position).astype(int)
    weight = (position - low).astype(np.float32)
    return low, np.minimum(low + 1, end - 1), weight, (centre < start) | (centre >= end)
