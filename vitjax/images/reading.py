"""Read an image, reject damaged ones, and resize, crop and normalise it exactly as timm does.

Depends only on NumPy and Pillow.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vitjax.errors import ImageError
from vitjax.images.formats import MAX_PIXELS
from vitjax.images.geometry import Geometry, Preprocessing, geometry
from vitjax.images.picture import Exif, ImageSource, read_picture

__all__ = [
    "MAX_PIXELS",
    "Exif",
    "Geometry",
    "ImageSource",
    "LoadedImage",
    "Preprocessing",
    "check_images",
    "geometry",
    "load_image",
    "normalise",
    "preprocess",
    "to_pixels",
]


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """A decoded image.

    pixels: uint8 [h, w, 3], RGB.
    mode: Pillow's mode of the stored image.
    exif_orientation: 1..8 as stored in the file, whether applied to `pixels` or not; 1 is upright or unknown.
    name: name of the image in error messages.
    bits: bits of a stored value; of a 16-bit image, those that its largest value needs.
    notes: what was done, as in `vitjax.images.picture.NOTES`.
    """

    pixels: np.ndarray
    mode: str
    exif_orientation: int
    name: str
    bits: int = 8
    notes: tuple[str, ...] = ()


def check_images(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Check that all files exist and are regular. None is opened, as a FIFO would wait for its writer.

    Raises:
        ImageError: files are missing; states their number and names the first five. Or a path is of something else.
    """
    files = [Path(path) for path in paths]
    modes = [_mode(path) for path in files]
    for path, mode in zip(files, modes, strict=True):
        if mode is not None and not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a FIFO, socket or device"
            raise ImageError(f"{path}: is {kind}, not an image")
    missing = [str(path) for path, mode in zip(files, modes, strict=True) if mode is None]
    if missing:
        others = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ImageError(f"{len(missing)} of {len(files)} images missing: {', '.join(missing[:5])}{others}")


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):  # also of a name that is too long, or contains a zero byte
        return None


def load_image(source: ImageSource, *, exif: Exif = "ignore") -> LoadedImage:
    """Decode an image to RGB as timm does: `Image.open(f).convert("RGB")`.

    Args:
        source: path, encoded bytes, PIL image, or uint8 array [h, w], [h, w, 3] or [h, w, 4].
        exif: "apply" turns the image upright by its EXIF orientation, which timm ignores.

    Returns:
        The decoded image. An alpha channel is dropped, not blended.

    Raises:
        ImageError: the image is missing, empty, not an image of a supported format, ends early, has more than
            MAX_PIXELS pixels or needs too much memory (checked before decoding), a side below MIN_SIDE, or float
            pixels, whose range is unknown. Names the file and the cause.

    Differs from reference: 16-bit greyscale images are scaled by 1/257; timm clips them to white. A picture whose data
    end early, which Pillow completes with grey, is an error.
    """
    picture = read_picture(source, exif, copies=6)
    return LoadedImage(
        np.asarray(picture.rgb), picture.mode, picture.exif_orientation, picture.name, picture.bits, picture.notes
    )


def to_pixels(source: ImageSource, preprocessing: Preprocessing, exif: Exif = "ignore") -> np.ndarray:
    """Load, resize and crop an image; the result equals timm's.

    Args:
        source, exif: as in `load_image`.
        preprocessing: the model's.

    Returns:
        uint8 [H, W, 3] of size `preprocessing.size`.

    Raises:
        ImageError: as `load_image`, or the resized image would be empty or have more than MAX_PIXELS pixels.
    """
    return read_picture(source, exif, preprocessing).pixels(preprocessing)


def normalise(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Normalise pixels: uint8 [..., 3] -> (pixels / 255 - mean) / std, float32 [..., 3]."""
    scaled = np.asarray(pixels, np.float32) / np.float32(255)
    return (scaled - np.asarray(preprocessing.mean, np.float32)) / np.asarray(preprocessing.std, np.float32)


def preprocess(source: ImageSource, preprocessing: Preprocessing, exif: Exif = "ignore") -> np.ndarray:
    """The model's input, equal to that of timm's evaluation transform.

    Args:
        source, exif: as in `load_image`.
        preprocessing: the model's.

    Returns:
        float32 [H, W, 3], normalised.

    Raises:
        ImageError: as `to_pixels`.
    """
    return normalise(to_pixels(source, preprocessing, exif=exif), preprocessing)
