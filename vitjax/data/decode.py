"""Decode, resize and crop one image of a source and its mask; unusable images become zeros and a status."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from vitjax.data.source import OK, UNAVAILABLE, Raw, Source
from vitjax.errors import ConfigError, ImageError
from vitjax.images.geometry import Preprocessing, geometry
from vitjax.images.mask_values import IGNORE, OBJECT
from vitjax.images.reading import MAX_PIXELS, load_image, to_pixels
from vitjax.storage import folder_is_away, storage_error


class Decoded(NamedTuple):
    """One image of `Samples`.

    pixels: uint8 [H, W, 3]. mask: uint8 [H, W] with values 0, 128 (IGNORE) and 255 (OBJECT), or None. The other fields
    are those of `Samples`.
    """

    pixels: np.ndarray
    mask: np.ndarray | None
    status: str = OK
    cause: str = ""
    mask_state: str = "none"
    mode: str = ""
    size: str = ""


def effective(source: Source, preprocessing: Preprocessing) -> Preprocessing:
    """The preprocessing of a source's images: the model's own, or a resize without crop if `resize="squash"`.

    Raises:
        ConfigError: `source.resize` is neither "timm" nor "squash".
    """
    if source.resize == "timm":
        return preprocessing
    if source.resize == "squash":
        return dataclasses.replace(preprocessing, crop_mode="squash", crop_pct=1.0)
    raise ConfigError(f"{source.name}: resize must be 'timm' or 'squash', not {source.resize!r}")


def decode(source: Source, index: int, preprocessing: Preprocessing) -> Decoded:
    """Read and decode one image and its mask.

    EXIF orientation is ignored, as in timm. A mask of another size is scaled to the image if both have the same aspect
    ratio.

    Args:
        source: the data set.
        index: index of the image in the source.
        preprocessing: the model's; `effective` adapts it to the source.

    Returns:
        The image. An unusable image raises no error: its pixels are zeros, `cause` says why, and `status` is

        - "missing": the file was removed after the source was opened.
        - "unreadable", "mask_unreadable": the file is damaged, empty, not an image, too large or too small.
        - "mask_size": the mask's aspect ratio differs from the image's.
        - "unavailable": the storage or the memory failed, which says nothing about the image.

    Raises:
        ImageError: `source.read` failed with anything other than an ImageError; names source and index.

    Cost: about 8 ms for a photograph of 400 x 300 pixels and its mask on one core.
    """
    preprocessing = effective(source, preprocessing)
    try:
        return _decode(source, index, preprocessing)
    except MemoryError:
        return _unusable(UNAVAILABLE, f"{_name(source, index)}: out of memory", preprocessing)


def _decode(source: Source, index: int, preprocessing: Preprocessing) -> Decoded:
    try:
        raw = source.read(index)
    except MemoryError:
        raise
    except Exception as cause:
        if (failed := storage_error(cause)) is not None:
            return _unusable(UNAVAILABLE, _storage_failed(_name(source, index), failed), preprocessing)
        if isinstance(cause, ImageError):
            return _unusable("unreadable", str(cause), preprocessing)
        raise ImageError(f"{_name(source, index)}: reading failed: {type(cause).__name__}: {cause}") from cause
    try:
        loaded = load_image(raw.image)
    except ImageError as cause:
        return _unusable(*_status_and_cause("unreadable", cause, raw.image, source, index), preprocessing)
    height, width = loaded.pixels.shape[:2]
    facts = {"mode": loaded.mode, "size": f"{height} x {width}"}
    try:
        pixels = to_pixels(loaded.pixels, preprocessing)
    except ImageError as cause:
        reason = _status_and_cause("unreadable", cause, loaded.pixels, source, index, loaded.name)
        return _unusable(*reason, preprocessing, **facts)
    if raw.mask is None:
        return Decoded(pixels, None, **facts)
    try:
        mask = _read_mask(raw)
    except ImageError as cause:
        return _unusable(*_status_and_cause("mask_unreadable", cause, raw.mask, source, index), preprocessing, **facts)
    if mask.shape != (height, width):
        if not _same_aspect(mask.shape, (height, width)):
            name = raw.mask if isinstance(raw.mask, Path) else f"{_name(source, index)}: mask"
            mask_height, mask_width = mask.shape
            cause_text = f"{name}: {mask_height} x {mask_width} does not fit the image of {height} x {width}"
            if loaded.exif_orientation > 4:
                cause_text += " (the image's EXIF orientation is ignored, as in timm)"
            return _unusable("mask_size", cause_text, preprocessing, **facts)
        mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    mask = geometry(width, height, preprocessing).mask(mask)
    return Decoded(pixels, mask, mask_state=_mask_state(mask), **facts)


def _unusable(status: str, cause: str, preprocessing: Preprocessing, mode: str = "", size: str = "") -> Decoded:
    return Decoded(np.zeros((*preprocessing.size, 3), np.uint8), None, status, cause, "none", mode, size)


def _status_and_cause(
    status: str, cause: ImageError, stored: Path | bytes | np.ndarray, source: Source, index: int, name: str = ""
) -> tuple[str, str]:
    """(status, cause in one line). Errors of files name the file; for bytes and arrays the image's name is added."""
    failed = storage_error(cause)
    if isinstance(stored, Path):
        try:
            exists = stored.exists()
        except OSError as error:
            failed, exists = error, True
        if failed is not None:
            return UNAVAILABLE, _storage_failed(str(stored), failed)
        if not exists and folder_is_away(stored):
            return UNAVAILABLE, f"{stored}: its folder is missing or empty"
        return (status if exists else "missing"), str(cause)
    if failed is not None:
        return UNAVAILABLE, _storage_failed(_name(source, index), failed)
    shown_name = name if name and not name.startswith("image ") else _name(source, index)
    return status, f"{shown_name}: {str(cause).partition(': ')[2] or cause}"


def _storage_failed(name: str, error: BaseException) -> str:
    reason = "out of memory" if isinstance(error, MemoryError) else getattr(error, "strerror", None) or str(error)
    return f"{name}: {reason}"


def _name(source: Source, index: int) -> str:
    return f"{source.name}: image {index} ({source.ids[index]})"


def _read_mask(raw: Raw) -> np.ndarray:
    """The mask as uint8 [h, w] with values 0, IGNORE and OBJECT."""
    assert raw.mask is not None
    values = raw.mask if isinstance(raw.mask, np.ndarray) else _mask_values(raw.mask)
    if values.ndim != 2:
        raise ImageError(f"mask array: shape is {list(values.shape)}, not [h, w]")
    if values.dtype == bool:
        return np.where(values, OBJECT, 0).astype(np.uint8)
    out = np.where(values != 0, OBJECT, 0).astype(np.uint8)
    out[values == raw.ignore] = IGNORE
    return out


def _mask_values(stored: Path | bytes) -> np.ndarray:
    """Pixel values [h, w] of a mask file: the palette index or the grey value; 255 for any other colour."""
    try:
        with Image.open(stored if isinstance(stored, Path) else io.BytesIO(stored)) as image:
            if image.width * image.height > MAX_PIXELS or ImageFile.LOAD_TRUNCATED_IMAGES:
                raise ImageError("refused")
            values, bands = np.asarray(image), image.getbands()
    except Exception as cause:
        load_image(stored)  # raises the same error message as for an image
        raise ImageError(f"{stored if isinstance(stored, Path) else 'mask bytes'}: damaged: {cause}") from cause
    if values.ndim == 2:
        return values
    colours = values[..., : len(bands) - ("A" in bands)]
    grey = (colours == colours[..., :1]).all(-1)
    return np.where(grey, colours[..., 0], np.where(colours.any(-1), OBJECT, 0))


def _same_aspect(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether the smaller shape can result from scaling the larger one and rounding its sides to pixels."""
    small, large = sorted((one, other), key=lambda shape: shape[0] * shape[1])
    return abs(small[0] * large[1] - small[1] * large[0]) <= (large[0] + large[1]) / 2


def _mask_state(mask: np.ndarray) -> str:
    if not (mask == OBJECT).any():
        return "all_background"
    return "object" if (mask == 0).any() else "all_foreground"
