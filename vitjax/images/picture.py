"""The one reading of a picture: source -> bytes -> decoded image -> upright or as stored -> RGB, and what was done."""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from vitjax.errors import ConfigError, ImageError
from vitjax.images import complete
from vitjax.images.formats import MAX_FILE_BYTES, MAX_PIXELS, check_size, one_line, open_bytes
from vitjax.images.geometry import Geometry, Preprocessing, geometry

ImageSource = str | os.PathLike[str] | bytes | Image.Image | np.ndarray
Exif = Literal["apply", "ignore"]
"""Whether pictures are turned upright by the orientation in their EXIF data. timm ignores it."""

NOTES = {
    "exif_applied": "turned by their EXIF orientation",
    "exif_ignored": "have an EXIF orientation, which was ignored; --exif apply turns them",
    "transparency_dropped": "have transparent pixels, whose hidden colours were used",
    "few_bits": "are 16-bit files whose values use at most 14 bits, so they look dark: scale them to 16 bits",
    "cropped": "lose more than half of their area to the model's crop",
    "mask_threshold": "have a mask with values between background and object: those from 128 on are object",
    "mask_turned": "have a mask that was turned with the image",
    "mask_enlarged": "have a mask of less than half their size",
    "mask_scaled": "have a mask of another size, which was scaled to theirs",
    "mask_ignored": "have a mask with pixels that are ignored",
}
"""What is recorded of the reading of a picture and its mask, by the name in records."""

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
class Picture:
    """A decoded picture.

    rgb: turned upright if the EXIF orientation was applied.
    mode: Pillow's mode of the stored image.
    bits: bits of a stored value; of a 16-bit image, those that its largest value needs.
    exif_orientation: 1..8 as stored in the file; 1 is upright or unknown.
    notes: names in NOTES of what was done.
    name: name of the image in error messages.
    """

    rgb: Image.Image
    mode: str
    bits: int
    exif_orientation: int
    notes: tuple[str, ...]
    name: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of `rgb`."""
        return self.rgb.height, self.rgb.width

    @property
    def turned(self) -> bool:
        return "exif_applied" in self.notes

    def pixels(self, preprocessing: Preprocessing) -> np.ndarray:
        """uint8 [H, W, 3]: resized and cropped for a model."""
        fill = (0, 0, 0)
        if preprocessing.crop_mode == "border":
            red, green, blue = (round(255 * value) for value in preprocessing.mean)
            fill = (red, green, blue)
        geo = geometry(self.rgb.width, self.rgb.height, preprocessing)
        return geo.image(self.rgb, preprocessing.interpolation, fill)


def check_exif(exif: object) -> None:
    """Raise ConfigError unless the option is "apply" or "ignore"."""
    if exif not in get_args(Exif):
        raise ConfigError(f"exif={exif!r} must be 'apply' or 'ignore'")


def read_picture(
    source: ImageSource, exif: Exif = "ignore", preprocessing: Preprocessing | None = None, *, copies: int = 0
) -> Picture:
    """Decode an image to RGB.

    Args:
        source: path, encoded bytes, PIL image, or uint8 array [h, w], [h, w, 3] or [h, w, 4].
        exif: whether the EXIF orientation is applied.
        preprocessing: if given, images too long and thin to be resized are rejected before they are decoded, and
            "cropped" is noted.
        copies: bytes per pixel that the caller needs in addition.

    Raises:
        ImageError: as `vitjax.images.reading.load_image`.
    """
    check_exif(exif)
    image, data, name = _opened(source)
    check_size(image, name, copies=copies + (4 if exif == "apply" else 0))
    notes = [] if preprocessing is None else _crop_notes(image, preprocessing, name)
    mode = image.mode
    deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()) or ()) and mode not in _SIXTEEN_BIT
    try:
        decode(image, data, name)
        if _is_transparent(image):
            notes.append("transparency_dropped")
        rgb, bits = _to_rgb(image, name, deep)
        if 8 <= bits <= 14 and (deep or mode in _SIXTEEN_BIT):
            notes.append("few_bits")
        orientation = orientation_of(image)
        if orientation != 1:
            notes.append("exif_applied" if exif == "apply" else "exif_ignored")
            rgb = turn(rgb, orientation) if exif == "apply" else rgb
    except MemoryError as cause:
        raise ImageError(f"{name}: too little memory to decode {image.width} x {image.height} pixels") from cause
    return Picture(rgb, mode, bits, orientation, tuple(notes), name)


def open_source(source: ImageSource) -> tuple[Image.Image, bytes | None, str]:
    """Open an image as `read_picture` does: (image that is not decoded, content of the file, name)."""
    return _opened(source)


def decode(image: Image.Image, data: bytes | None, name: str) -> None:
    """Decode an open image in place.

    Raises:
        ImageError: the data end early or are damaged.
        MemoryError: there is too little memory.
    """
    try:
        if data is None:
            image.load()
        else:
            complete.load(image, data, name)
    except (ImageError, MemoryError):
        raise
    except Exception as cause:  # Pillow's decoders raise exceptions of any type for damaged data
        raise ImageError(f"{name}: truncated or damaged: {one_line(cause)}") from cause


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """The upright image of one that is stored with an EXIF orientation."""
    how = _TRANSPOSE_OF_ORIENTATION.get(orientation)
    return image if how is None else image.transpose(how)


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of a decoded image, 1..8; 1 without one."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # the metadata is damaged, but the pixels are not
        return 1
    return value if value in _TRANSPOSE_OF_ORIENTATION else 1


def _opened(source: ImageSource) -> tuple[Image.Image, bytes | None, str]:
    if isinstance(source, np.ndarray):
        return _from_array(source), None, "image array"
    if isinstance(source, Image.Image):
        return source, None, str(getattr(source, "filename", "") or "PIL image")
    if isinstance(source, bytes):
        return open_bytes(source, "image bytes"), source, "image bytes"
    if not isinstance(source, (str, os.PathLike)):
        kind = type(source).__name__
        raise ImageError(f"an image must be a path, bytes, a PIL image or a uint8 array, not {kind}")
    name = str(source)
    data = _content(Path(source), name)
    return open_bytes(data, name), data, name


def _content(path: Path, name: str) -> bytes:
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise ImageError(f"{name}: not a regular file")  # a pipe would wait forever
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(f"{name}: a file of {status.st_size} bytes; the limit is {MAX_FILE_BYTES}")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except OSError as cause:
        raise ImageError(f"{name}: cannot be read: {cause.strerror or cause}") from cause
    except MemoryError as cause:
        raise ImageError(f"{name}: too little memory to read the file") from cause


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        advice = ""
        if array.dtype == np.uint8 and array.ndim == 3 and array.shape[0] in (1, 3, 4):
            advice = "; its channels come first: pass array.transpose(1, 2, 0)"
        elif array.dtype != np.uint8:
            advice = (
                "; convert pixels of 0..255 by astype(np.uint8), or pass normalised floats as one array [b, H, W, 3]"
            )
        raise ImageError(f"an image array must be uint8 [h, w, 3], not {array.dtype} {list(array.shape)}{advice}")
    if not array.size:
        raise ImageError(f"an image array of shape {list(array.shape)} has no pixels")
    return Image.fromarray(array)


def _crop_notes(image: Image.Image, preprocessing: Preprocessing, name: str) -> list[str]:
    geo = geometry(image.width, image.height, preprocessing)
    if min(geo.resized) < 1 or math.prod(geo.resized) > MAX_PIXELS:
        raise ImageError(f"{name}: {image.width} x {image.height} pixels is too long and thin to be resized")
    return ["cropped"] if seen_share(geo) < 0.5 else []


def seen_share(geo: Geometry) -> float:
    """The share of the picture's area that is inside the crop."""
    return math.prod(min(1.0, crop / resized) for crop, resized in zip(geo.size, geo.resized, strict=True))


def _is_transparent(image: Image.Image) -> bool:
    """Whether a pixel is transparent, be it by an alpha channel or by its index in the palette."""
    if "A" in image.getbands():
        return image.getchannel("A").getextrema()[0] < 255  # type: ignore[operator]
    key = image.info.get("transparency")
    if key is None:
        return False
    if image.mode != "P":
        return True
    used = image.histogram()
    clear = [key] if isinstance(key, int) else [index for index, alpha in enumerate(key) if alpha < 255]
    return any(used[index] for index in clear if index < len(used))


def _to_rgb(image: Image.Image, name: str, deep: bool) -> tuple[Image.Image, int]:
    """The image in RGB, and the bits of its values."""
    if image.mode == "F":
        raise ImageError(f"{name}: the range of float pixels is unknown; save the image with 8 or 16 bits")
    if image.mode not in _SIXTEEN_BIT:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        if deep:  # Pillow has kept the high byte
            brightest = max(high for _, high in rgb.getextrema())  # type: ignore[misc]
            return rgb, 8 + int(brightest).bit_length()
        return rgb, 1 if image.mode == "1" else 8
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"{name}: pixel values of {values.min()} to {values.max()} do not fit 16 bits")
    scaled = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), 256):
        scaled[start : start + 256] = (values[start : start + 256].astype(np.uint32) + 128) // 257
    return Image.fromarray(scaled).convert("RGB"), int(values.max()).bit_length()
