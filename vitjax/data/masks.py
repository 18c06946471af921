"""Object masks: the stored values -> background, ignored, object, checked against what the source declares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from vitjax.data.source import Raw
from vitjax.errors import ImageError
from vitjax.images.formats import check_size
from vitjax.images.mask_values import IGNORE, OBJECT
from vitjax.images.picture import Picture, decode, open_source, orientation_of, turn

THRESHOLD = 128
"""Least value of the object in masks with values between background and object."""
_DECLARE = "declare which value is ignored: mask_ignore, on the command line --mask-ignore (-1 if none is)"


class MaskValuesError(ImageError):
    """The values of a mask are not those that the source declares, or have no certain meaning."""


class MaskSizeError(ImageError):
    """The mask's aspect ratio differs from the picture's."""


def read_mask(raw: Raw, picture: Picture, name: str) -> tuple[np.ndarray, list[str]]:
    """The mask of a picture.

    Args:
        raw: mask, and the values that the source declares; see `Raw`.
        picture: the decoded picture. If it was turned by its EXIF orientation, a mask of the stored picture's shape is
            turned with it; a mask with an orientation of its own, or that fits the upright picture alone, is not.
        name: name of the mask in error messages, unless it is a file.

    Returns:
        (uint8 [h, w] of the picture's size, with values 0, IGNORE and OBJECT; names of `vitjax.images.picture.NOTES`).

    Raises:
        MaskValuesError, MaskSizeError: see there.
        ImageError: the mask cannot be decoded.
    """
    assert raw.mask is not None
    name = str(raw.mask) if isinstance(raw.mask, Path) else name
    notes: list[str] = []
    turned = False
    if isinstance(raw.mask, np.ndarray):
        mask, between = _split(raw.mask, raw, name)
    else:
        image, data, _ = open_source(raw.mask)
        check_size(image, name)
        deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()) or ())
        try:
            decode(image, data, name)
            mask, between = _mask_of_image(image, data, deep, raw, name)
        except MemoryError as cause:
            raise ImageError(f"{name}: too little memory to decode the mask") from cause
        turned = picture.turned and orientation_of(image) != 1
        if turned:
            mask = np.asarray(turn(Image.fromarray(mask), orientation_of(image)))
    if between:
        notes.append("mask_threshold")
    if (mask == IGNORE).any():
        notes.append("mask_ignored")
    if picture.turned and not turned:
        sideways = picture.exif_orientation > 4
        stored = picture.size[::-1] if sideways else picture.size
        if not sideways or _same_aspect(mask.shape, stored) or not _same_aspect(mask.shape, picture.size):
            mask = np.asarray(turn(Image.fromarray(mask), picture.exif_orientation))
            notes.append("mask_turned")
    return _scaled(mask, picture, name, notes), notes


def _scaled(mask: np.ndarray, picture: Picture, name: str, notes: list[str]) -> np.ndarray:
    height, width = picture.size
    if mask.shape == (height, width):
        return mask
    if not _same_aspect(mask.shape, (height, width)):
        advice = ""
        if picture.exif_orientation > 4:
            how = "was applied" if picture.turned else "is ignored, as in timm; --exif apply applies it"
            advice = f" (the image's EXIF orientation {how})"
        mask_height, mask_width = mask.shape
        raise MaskSizeError(
            f"{name}: {mask_height} x {mask_width} does not fit the image of {height} x {width}{advice}"
        )
    notes.append("mask_enlarged" if 2 * mask.shape[0] < height else "mask_scaled")
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def _mask_of_image(image: Image.Image, data: bytes | None, deep: bool, raw: Raw, name: str) -> tuple[np.ndarray, bool]:
    """(mask, whether values were compared with THRESHOLD) of a decoded image."""
    bands = image.getbands()
    if image.mode == "F" or (deep and not image.mode.startswith("I")):
        raise MaskValuesError(f"{name}: a mask must have integer values of one channel, or colours of 8 bits")
    if _is_lossy(image, data):
        return _from_lossy(image, raw, name)
    values = np.asarray(image)
    if values.ndim == 2:
        return _split(values, raw, name, palette=image.mode == "P")
    colours = values[..., : len(bands) - ("A" in bands)]
    first = colours[..., 0]
    if raw.ignore is not None and raw.ignore > 255 and len(bands) >= 3:
        return _split(first + np.int64(256) * colours[..., 1], raw, name)  # ImageNet-S: class = red + 256 green
    if (colours == colours[..., :1]).all():
        return _split(first, raw, name)
    if raw.ignore is not None or raw.values is not None:
        raise MaskValuesError(f"{name}: the mask has colours; the source declares class numbers")
    return np.where(colours.any(-1), OBJECT, 0).astype(np.uint8), False


def _is_lossy(image: Image.Image, data: bytes | None) -> bool:
    if image.format == "WEBP":
        return data is not None and b"VP8 " in data[:4096]
    return image.format in ("JPEG", "MPO", "AVIF", "HEIF", "JPEG2000")


def _from_lossy(image: Image.Image, raw: Raw, name: str) -> tuple[np.ndarray, bool]:
    """A mask of a format whose compression changes values: only black and white survive it."""
    grey = np.asarray(image.convert("L"))
    if raw.values is not None or (raw.ignore is not None and raw.ignore >= 0):
        raise MaskValuesError(f"{name}: {image.format} changes the values of a mask, so that class numbers are lost")
    if not ((grey == 0) | (grey == 255)).all():
        between = ((grey >= 32) & (grey < 224)).mean()
        if between > 0.1 or grey.max() < 224:
            raise MaskValuesError(
                f"{name}: {image.format} changes the values of a mask, and these are not near 0 and 255 only "
                f"(largest value {grey.max()}, {between:.0%} in between); save it as PNG"
            )
        return np.where(grey >= THRESHOLD, OBJECT, 0).astype(np.uint8), True
    return np.where(grey > 0, OBJECT, 0).astype(np.uint8), False


def _split(values: np.ndarray, raw: Raw, name: str, palette: bool = False) -> tuple[np.ndarray, bool]:
    """(mask, whether values were compared with THRESHOLD) of exact values [h, w]."""
    if values.ndim != 2:
        raise ImageError(f"{name}: mask array: shape is {list(values.shape)}, not [h, w]")
    if values.dtype == bool:
        return np.where(values, OBJECT, 0).astype(np.uint8), False
    if not np.issubdtype(values.dtype, np.integer):
        raise MaskValuesError(f"{name}: mask array: {values.dtype}; a mask must have integer or boolean values")
    present, counts = _present(values)
    if raw.values is not None:
        unlisted = [value for value in present if not 0 <= value < raw.values and value != raw.ignore]
        if unlisted:
            raise MaskValuesError(
                f"{name}: contains the value {unlisted[0]}; the source declares 0 to {raw.values - 1}"
                + ("" if raw.ignore is None else f" and {raw.ignore} (ignored)")
            )
    ignore = raw.ignore
    if ignore is None:
        ignore = _undeclared(present, counts, values.dtype, palette, name)
        if ignore == THRESHOLD - 1:
            return np.where(values >= THRESHOLD, OBJECT, 0).astype(np.uint8), True
    out = np.where(values != 0, OBJECT, 0).astype(np.uint8)
    if ignore >= 0:
        out[values == ignore] = IGNORE
    return out, False


def _present(values: np.ndarray) -> tuple[list[int], dict[int, int]]:
    if values.dtype == np.uint8:
        counts = np.asarray(Image.fromarray(np.ascontiguousarray(values)).histogram())
        present = np.flatnonzero(counts)
        return present.tolist(), dict(zip(present.tolist(), counts[present].tolist(), strict=True))
    present, counts = np.unique(values, return_counts=True)
    return present.tolist(), dict(zip(present.tolist(), counts.tolist(), strict=True))


def _undeclared(present: list[int], counts: dict[int, int], dtype: np.dtype, palette: bool, name: str) -> int:
    """The ignored value where the source declares none: -1 if none is, THRESHOLD - 1 to compare with THRESHOLD."""
    objects = [value for value in present if value]
    if set(objects) == {IGNORE, OBJECT} and not palette:
        return IGNORE
    if objects == [IGNORE] and not palette:
        raise MaskValuesError(f"{name}: the only value besides 0 is {IGNORE}, object or ignored; {_DECLARE}")
    full = 65535 if dtype == np.uint16 and objects and objects[-1] > 255 else OBJECT
    if len(objects) < 2 or full not in objects or objects[-1] > full:
        return -1
    between = sum(counts[value] for value in objects if value != full)
    if full == OBJECT and not palette and counts[full] > between and len(objects) > 3:
        return THRESHOLD - 1  # edges that were smoothed, as by resizing
    shown = ", ".join(map(str, objects[:6])) + (", ..." if len(objects) > 6 else "")
    raise MaskValuesError(f"{name}: the values {shown}: {full} may be an outline, as in VOC, or an object; {_DECLARE}")


def _same_aspect(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether the smaller shape can result from scaling the larger one and rounding its sides to pixels."""
    small, large = sorted((one, other), key=lambda shape: shape[0] * shape[1])
    return abs(small[0] * large[1] - small[1] * large[0]) <= (large[0] + large[1]) / 2
