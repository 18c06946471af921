"""One picture of a source: decoded, resized, cropped, with its mask, or zeros and the reason why not."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile

from vitjax.data.source import OK, Raw, Source
from vitjax.errors import ConfigError, ImageError
from vitjax.images.geometry import Preprocessing, geometry
from vitjax.images.reading import MAX_PIXELS, load_image, to_pixels

IGNORE, OBJECT = 128, 255


class Decoded(NamedTuple):
    """One row of `Samples`. pixels: uint8 [H, W, 3]. mask: uint8 [H, W] of 0, 128, 255, or None where there is none."""

    pixels: np.ndarray
    mask: np.ndarray | None
    status: str = OK
    cause: str = ""
    mask_state: str = "none"
    mode: str = ""
    size: str = ""


def effective(source: Source, preprocessing: Preprocessing) -> Preprocessing:
    """The preprocessing that a source's pictures get: the model's own, or a plain resize for `resize="squash"`."""
    if source.resize == "timm":
        return preprocessing
    if source.resize == "squash":
        return dataclasses.replace(preprocessing, crop_mode="squash", crop_pct=1.0)
    raise ConfigError(f"{source.name}: resize is 'timm' or 'squash', not {source.resize!r}")


def decode(source: Source, index: int, preprocessing: Preprocessing) -> Decoded:
    """Read and decode picture `index`; `preprocessing` is the model's.

    A picture that cannot be used does not raise: its pixels are zeros and `status` says why. "missing": the file went
    away after the source was opened. "unreadable", "mask_unreadable": damaged, empty, no picture, too large or too
    small. "mask_size": the mask has another size and another aspect than the picture; with the same aspect it is
    scaled. EXIF orientation is ignored, as timm does.

    Raises: ImageError that names source and index where the source itself fails.
    Cost: about 8 ms for a photograph of 400 x 300 with its mask on one core.
    """
    preprocessing = effective(source, preprocessing)
    try:
        raw = source.read(index)
    except ImageError as cause:
        return _unusable("unreadable", str(cause), preprocessing)
    except Exception as cause:
        raise ImageError(f"{_name(source, index)}: reading failed: {type(cause).__name__}: {cause}") from cause
    try:
        loaded = load_image(raw.image)
    except ImageError as cause:
        return _unusable(*_why("unreadable", cause, raw.image, source, index), preprocessing)
    height, width = loaded.pixels.shape[:2]
    facts = {"mode": loaded.mode, "size": f"{height} x {width}"}
    try:
        pixels = to_pixels(loaded.pixels, preprocessing)
    except ImageError as cause:
        return _unusable(*_why("unreadable", cause, loaded.pixels, source, index, loaded.name), preprocessing, **facts)
    if raw.mask is None:
        return Decoded(pixels, None, **facts)
    try:
        mask = _read_mask(raw)
    except ImageError as cause:
        return _unusable(*_why("mask_unreadable", cause, raw.mask, source, index), preprocessing, **facts)
    if mask.shape != (height, width):
        if not _same_aspect(mask.shape, (height, width)):
            name = raw.mask if isinstance(raw.mask, Path) else f"{_name(source, index)}: mask"
            rows, columns = mask.shape
            cause_text = f"{name}: {rows} x {columns} does not fit the picture of {height} x {width}"
            if loaded.exif_orientation > 4:
                cause_text += " (its EXIF orientation is ignored, as timm does)"
            return _unusable("mask_size", cause_text, preprocessing, **facts)
        mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    mask = geometry(width, height, preprocessing).mask(mask)
    return Decoded(pixels, mask, mask_state=_state(mask), **facts)


def _unusable(status: str, cause: str, preprocessing: Preprocessing, mode: str = "", size: str = "") -> Decoded:
    return Decoded(np.zeros((*preprocessing.size, 3), np.uint8), None, status, cause, "none", mode, size)


def _why(
    status: str, cause: ImageError, stored: Path | bytes | np.ndarray, source: Source, index: int, name: str = ""
) -> tuple[str, str]:
    """(status, one line): a file names itself, bytes and arrays need the source's name and the id."""
    if isinstance(stored, Path):
        return (status if stored.exists() else "missing"), str(cause)
    told = name if name and not name.startswith("image ") else _name(source, index)
    return status, f"{told}: {str(cause).partition(': ')[2] or cause}"


def _name(source: Source, index: int) -> str:
    return f"{source.name}: picture {index} ({source.ids[index]})"


def _read_mask(raw: Raw) -> np.ndarray:
    """uint8 [h, w] of 0, IGNORE, OBJECT."""
    assert raw.mask is not None
    values = raw.mask if isinstance(raw.mask, np.ndarray) else _mask_values(raw.mask)
    if values.ndim != 2:
        raise ImageError(f"mask array: has shape {list(values.shape)}, not [h, w]")
    if values.dtype == bool:
        return np.where(values, OBJECT, 0).astype(np.uint8)
    out = np.where(values != 0, OBJECT, 0).astype(np.uint8)
    out[values == raw.ignore] = IGNORE
    return out


def _mask_values(stored: Path | bytes) -> np.ndarray:
    """What a mask's file says per pixel [h, w]: the index of a palette, a grey value; 255 for any colour."""
    try:
        with Image.open(stored if isinstance(stored, Path) else io.BytesIO(stored)) as image:
            if image.width * image.height > MAX_PIXELS or ImageFile.LOAD_TRUNCATED_IMAGES:
                raise ImageError("refused")
            values, bands = np.asarray(image), image.getbands()
    except Exception as cause:
        load_image(stored)  # says what is wrong with it in the same words as for a picture
        raise ImageError(f"{stored if isinstance(stored, Path) else 'mask bytes'}: damaged: {cause}") from cause
    if values.ndim == 2:
        return values
    colours = values[..., : len(bands) - ("A" in bands)]
    grey = (colours == colours[..., :1]).all(-1)
    return np.where(grey, colours[..., 0], np.where(colours.any(-1), OBJECT, 0))


def _same_aspect(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether the smaller may be the larger, scaled with its sides rounded to pixels."""
    small, large = sorted((one, other), key=lambda shape: shape[0] * shape[1])
    return abs(small[0] * large[1] - small[1] * large[0]) <= (large[0] + large[1]) / 2


def _state(mask: np.ndarray) -> str:
    if not (mask == OBJECT).any():
        return "all_background"
    return "object" if (mask == 0).any() else "all_foreground"
