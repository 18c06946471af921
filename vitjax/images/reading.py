"""Read an image, reject damaged ones, and resize, crop and normalise it exactly as timm does.

Depends only on NumPy and Pillow.
"""

from __future__ import annotations

import io
import math
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from vitjax.errors import ImageError
from vitjax.images.geometry import Geometry, Preprocessing, geometry

__all__ = [
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

ImageSource = str | os.PathLike[str] | bytes | Image.Image | np.ndarray

MAX_PIXELS = 178_956_970  # Pillow's limit: 512 MiB of RGB
MIN_SIDE = 2

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_ORIENTATION_TAG = 0x0112
_TRANSPOSE_OF_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """A decoded image.

    pixels: uint8 [h, w, 3], RGB.
    mode: Pillow's mode of the stored image.
    exif_orientation: 1..8 as stored in the file, whether applied to `pixels` or not; 1 is upright or unknown.
    name: name of the image in error messages.
    """

    pixels: np.ndarray
    mode: str
    exif_orientation: int
    name: str


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


def load_image(source: ImageSource, *, exif: bool = False) -> LoadedImage:
    """Decode an image to RGB as timm does: `Image.open(f).convert("RGB")`.

    Args:
        source: path, encoded bytes, PIL image, or uint8 array [h, w], [h, w, 3] or [h, w, 4].
        exif: apply the EXIF orientation, which timm ignores.

    Returns:
        The decoded image. An alpha channel is dropped, not blended.

    Raises:
        ImageError: the image is missing, empty, not an image, truncated, has more than MAX_PIXELS pixels (checked
            before decoding), a side below MIN_SIDE, or float pixels, whose range is unknown. Names the file and the
            cause.

    Differs from reference: 16-bit greyscale images are scaled by 1/257; timm clips them to white.
    """
    if isinstance(source, np.ndarray):
        return _decode(_from_array(source), "image array", exif)
    if isinstance(source, Image.Image):
        return _decode(source, str(getattr(source, "filename", "") or "PIL image"), exif)
    if isinstance(source, bytes):
        return _decode_stream(io.BytesIO(source), "image bytes", exif)
    if not isinstance(source, (str, os.PathLike)):
        kind = type(source).__name__
        raise ImageError(f"an image must be a path, bytes, a PIL image or a uint8 array, not {kind}")
    try:
        with Path(source).open("rb") as stream:
            return _decode_stream(stream, str(source), exif)
    except FileNotFoundError:
        raise ImageError(f"{source}: no such file") from None
    except OSError as cause:
        raise ImageError(f"{source}: cannot be read: {cause.strerror or cause}") from cause


def to_pixels(source: ImageSource, preprocessing: Preprocessing, exif: bool = False) -> np.ndarray:
    """Load, resize and crop an image; the result equals timm's.

    Args:
        source, exif: as in `load_image`.
        preprocessing: the model's.

    Returns:
        uint8 [H, W, 3] of size `preprocessing.size`.

    Raises:
        ImageError: as `load_image`, or the resized image would be empty or have more than MAX_PIXELS pixels.
    """
    loaded = load_image(source, exif=exif)
    height, width = loaded.pixels.shape[:2]
    geo = geometry(width, height, preprocessing)
    if min(geo.resized) < 1 or math.prod(geo.resized) > MAX_PIXELS:
        raise ImageError(f"{loaded.name}: {width} x {height} pixels is too long and thin to be resized")
    fill = (0, 0, 0)
    if preprocessing.crop_mode == "border":
        red, green, blue = (round(255 * value) for value in preprocessing.mean)
        fill = (red, green, blue)
    return geo.image(Image.fromarray(loaded.pixels), preprocessing.interpolation, fill)


def normalise(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Normalise pixels: uint8 [..., 3] -> (pixels / 255 - mean) / std, float32 [..., 3]."""
    scaled = np.asarray(pixels, np.float32) / np.float32(255)
    return (scaled - np.asarray(preprocessing.mean, np.float32)) / np.asarray(preprocessing.std, np.float32)


def preprocess(source: ImageSource, preprocessing: Preprocessing, exif: bool = False) -> np.ndarray:
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


def _decode_stream(stream: IO[bytes], name: str, exif: bool) -> LoadedImage:
    head = stream.read(512)
    if not head:
        raise ImageError(f"{name}: the file is empty (0 bytes)")
    stream.seek(0)
    try:
        image = Image.open(stream)
    except Image.DecompressionBombError as cause:
        size = _header_size(stream, head)
        raise ImageError(f"{name}: {_too_large(*size)}" if size else f"{name}: {cause}") from cause
    except UnidentifiedImageError:
        is_page = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
        reason = "an HTML or XML page" if is_page else "not an image (unknown format or damaged header)"
        raise ImageError(f"{name}: {reason}") from None
    except Exception as cause:  # Pillow's parsers raise exceptions of any type for damaged data
        raise ImageError(f"{name}: damaged header: {_one_line(cause)}") from cause
    return _decode(image, name, exif)


def _decode(image: Image.Image, name: str, exif: bool) -> LoadedImage:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {_too_large(width, height)}")
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name}: {width} x {height} pixels is too small; both sides must be at least {MIN_SIDE}")
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        # Setting it to False here would be a race between threads.
        raise ImageError(
            f"{name}: PIL.ImageFile.LOAD_TRUNCATED_IMAGES is True, so truncated images would not be detected; "
            "set it to False"
        )
    mode = image.mode
    try:
        image.load()
        rgb = _to_rgb(image, name)
    except ImageError:
        raise
    except Exception as cause:  # Pillow's decoders raise exceptions of any type for damaged data
        raise ImageError(f"{name}: truncated or damaged: {_one_line(cause)}") from cause
    orientation = _orientation(image)
    if exif and orientation in _TRANSPOSE_OF_ORIENTATION:
        rgb = rgb.transpose(_TRANSPOSE_OF_ORIENTATION[orientation])
    return LoadedImage(np.asarray(rgb), mode, orientation, name)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F":
        raise ImageError(f"{name}: the range of float pixels is unknown; save the image with 8 or 16 bits")
    if image.mode not in _SIXTEEN_BIT:
        return image.convert("RGB")
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{name}: pixel values of {values.min()} to {values.max()} do not fit 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ImageError(f"an image array must be uint8 [h, w, 3], not {array.dtype} {list(array.shape)}")
    if not array.size:
        raise ImageError(f"an image array of shape {list(array.shape)} has no pixels")
    return Image.fromarray(array)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # the metadata is damaged, but the pixels are not
        return 1
    return value if value in _TRANSPOSE_OF_ORIENTATION else 1


def _header_size(stream: IO[bytes], head: bytes) -> tuple[int, int] | None:
    """(width, height) from the header: the error of `Image.open` does not contain the size."""
    for name in Image.ID:
        factory, accept = Image.OPEN[name]
        stream.seek(0)
        try:
            if accept is None or accept(head[:16]) is True:
                return factory(stream, "").size
        except Exception:  # the file has another format
            continue
    return None


def _too_large(width: int, height: int) -> str:
    return f"{width} x {height} = {width * height} pixels, more than the limit of {MAX_PIXELS}"


def _one_line(cause: Exception) -> str:
    return " ".join(str(cause).split()) or type(cause).__name__
