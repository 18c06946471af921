"""The mapping between pixels of the original image and of the model's input: timm's resize and crop combined."""

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

    Args:
        size: (height, width) of the model's input [pixels].
        crop_pct: input size / side length that the image is resized to.
        crop_mode: "center" keeps the aspect ratio and crops the longer side; "squash" changes the aspect ratio to the
            input's; "border" keeps the whole image and pads it with the mean colour.
        interpolation: name of a Pillow resampling filter.
        mean, std: per channel, of pixel values in 0..1.

    Raises:
        ConfigError: a value is invalid.
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
            valid = ", ".join(INTERPOLATIONS)
            raise ConfigError(f"interpolation must be one of {valid}, not {self.interpolation!r}")
        if len(self.mean) != 3 or len(self.std) != 3 or not min(self.std) > 0:
            raise ConfigError(f"mean and std must have three values each, std above 0, not {self.mean} and {self.std}")

    @classmethod
    def from_timm(cls, cfg: Mapping[str, Any]) -> Preprocessing:
        """From a timm `pretrained_cfg` as a dict; missing entries take timm's defaults.

        Raises:
            ConfigError: the model does not take 3 channels, or a value is invalid.
        """
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
    """A resize of the whole image from `original` to `resized`, then a crop of `size` at (top, left).

    Sizes are (height, width) [pixels]. top and left are coordinates in the resized image; they are negative where it is
    padded. The function `geometry` computes a `Geometry`.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    top: int
    left: int
    size: tuple[int, int]

    def image(
        self, image: Image.Image, interpolation: str = "bicubic", fill: tuple[int, int, int] = (0, 0, 0)
    ) -> np.ndarray:
        """Resize and crop an RGB image, with antialiasing.

        Args:
            image: an RGB image of the original size.
            interpolation: name of a Pillow resampling filter.
            fill: colour of padding.

        Returns:
            uint8 [H, W, 3].

        Raises:
            ImageError: the image has another size.
        """
        self._check_shape((image.height, image.width), self.original)
        if self.resized != self.original:
            image = image.resize(self.resized[::-1], Image.Resampling[interpolation.upper()])
        canvas = Image.new("RGB", self.size[::-1], fill)
        canvas.paste(image, (-self.left, -self.top))
        return np.asarray(canvas)

    def mask(self, mask: Image.Image | np.ndarray) -> np.ndarray:
        """Resize and crop a mask or label map by nearest neighbour; selects the same pixels as Pillow's NEAREST.

        Args:
            mask: [h0, w0], of the original size.

        Returns:
            [H, W], of the same dtype; padding is 0.

        Raises:
            ImageError: the mask has another size.
        """
        values = np.asarray(mask)
        self._check_shape(values.shape, self.original)
        out = np.zeros(self.size, values.dtype)
        (y0, y1), (x0, x1) = self._unpadded()
        rows = _nearest(self.original[0], self.resized[0])[y0 + self.top : y1 + self.top]
        columns = _nearest(self.original[1], self.resized[1])[x0 + self.left : x1 + self.left]
        out[y0:y1, x0:x1] = values[np.ix_(rows, columns)]
        return out

    def _unpadded(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The part of the crop inside the resized image, in coordinates of the crop: (y0, y1), (x0, x1)."""
        starts = max(0, -self.top), max(0, -self.left)
        ends = (
            min(self.size[0], self.resized[0] - self.top),
            min(self.size[1], self.resized[1] - self.left),
        )
        return (starts[0], ends[0]), (starts[1], ends[1])

    @staticmethod
    def _check_shape(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
        if tuple(shape) != expected:
            raise ImageError(f"expected {expected[0]} x {expected[1]} (height x width), got shape {tuple(shape)}")


def geometry(width: int, height: int, preprocessing: Preprocessing) -> Geometry:
    """The resize and crop that timm's evaluation transform applies to an image of width x height pixels."""
    size = preprocessing.size
    scale_h, scale_w = (math.floor(side / preprocessing.crop_pct) for side in size)
    if preprocessing.crop_mode == "squash":
        resized = scale_h, scale_w
    elif preprocessing.crop_mode == "center" and scale_h == scale_w:
        # Here timm uses torchvision's resize, which truncates the long side; its own resize, below, rounds it.
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


def _offset(side: int, crop: int) -> int:
    """Start of torchvision's centre crop: rounded half to even; padding puts the smaller half first."""
    return -((crop - side) // 2) if side < crop else round((side - crop) / 2)


def _nearest(original: int, resized: int) -> np.ndarray:
    """Index of the original pixel that Pillow's NEAREST selects for each resized pixel of one axis."""
    ramp = Image.fromarray(np.arange(original, dtype=np.int32)[None])
    return np.asarray(ramp.resize((resized, 1), Image.Resampling.NEAREST))[0]
