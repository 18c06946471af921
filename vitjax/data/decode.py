"""Decode, resize and crop one image of a source and its mask; unusable images become zeros and a status."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitjax.data.masks import MaskSizeError, MaskValuesError, read_mask
from vitjax.data.source import OK, UNAVAILABLE, Source
from vitjax.errors import ConfigError, ImageError
from vitjax.images.geometry import Preprocessing, geometry
from vitjax.images.mask_values import OBJECT
from vitjax.images.picture import read_picture
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
    notes: str = ""


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

    EXIF orientation is ignored, as in timm, unless the source says otherwise. A mask of another size is scaled to the
    image if both have the same aspect ratio.

    Args:
        source: the data set.
        index: index of the image in the source.
        preprocessing: the model's; `effective` adapts it to the source.

    Returns:
        The image. An unusable image raises no error: its pixels are zeros, `cause` says why, and `status` is

        - "missing": the file was removed after the source was opened.
        - "unreadable", "mask_unreadable": the file is damaged, empty, not an image, too large or too small.
        - "mask_size": the mask's aspect ratio differs from the image's.
        - "mask_values": the mask's values are not those that the source declares, or have no certain meaning.
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
    except OSError as cause:  # Pillow reads from files until the pixels are used
        if (failed := storage_error(cause)) is None:
            raise
        return _unusable(UNAVAILABLE, _storage_failed(_name(source, index), failed), preprocessing)


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
        picture = read_picture(raw.image, raw.exif, preprocessing)
        pixels = picture.pixels(preprocessing)
    except ImageError as cause:
        return _unusable(*_status_and_cause("unreadable", cause, raw.image, source, index), preprocessing)
    height, width = picture.size
    facts = {"mode": picture.mode, "size": f"{height} x {width}"}
    if raw.mask is None:
        return Decoded(pixels, None, **facts, notes=" ".join(picture.notes))
    try:
        mask, notes = read_mask(raw, picture, "mask bytes")
    except (MaskSizeError, MaskValuesError) as cause:
        status = "mask_size" if isinstance(cause, MaskSizeError) else "mask_values"
        return _unusable(*_status_and_cause(status, cause, raw.mask, source, index), preprocessing, **facts)
    except ImageError as cause:
        return _unusable(*_status_and_cause("mask_unreadable", cause, raw.mask, source, index), preprocessing, **facts)
    mask = geometry(width, height, preprocessing).mask(mask)
    return Decoded(pixels, mask, mask_state=_mask_state(mask), **facts, notes=" ".join((*picture.notes, *notes)))


def _unusable(status: str, cause: str, preprocessing: Preprocessing, mode: str = "", size: str = "") -> Decoded:
    return Decoded(np.zeros((*preprocessing.size, 3), np.uint8), None, status, cause, "none", mode, size)


def _status_and_cause(
    status: str, cause: ImageError, stored: Path | bytes | np.ndarray, source: Source, index: int
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
    return status, f"{_name(source, index)}: {str(cause).partition(': ')[2] or cause}"


def _storage_failed(name: str, error: BaseException) -> str:
    reason = "out of memory" if isinstance(error, MemoryError) else getattr(error, "strerror", None) or str(error)
    return f"{name}: {reason}"


def _name(source: Source, index: int) -> str:
    return f"{source.name}: image {index} ({source.ids[index]})"


def _mask_state(mask: np.ndarray) -> str:
    if not (mask == OBJECT).any():
        return "all_background"
    return "object" if (mask == 0).any() else "all_foreground"
