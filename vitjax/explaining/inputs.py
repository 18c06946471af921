"""The images of one call: pixels for the pictures, normalised floats for the model, names for the seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.errors import ImageError
from vitjax.images.reading import check_images, load_image, normalise, to_pixels
from vitjax.models.model import Model, as_list


@dataclass(frozen=True, eq=False)
class Images:
    """`x` float32 [b, H, W, 3] normalised, `pixels` uint8 [b, H, W, 3] as the model sees them."""

    x: np.ndarray
    pixels: np.ndarray
    ids: tuple[str, ...]
    sources: tuple[dict[str, Any], ...]  # per image: file, mode, EXIF orientation, original size
    skipped: tuple[dict[str, Any], ...] = ()  # per picture left out: file, status, cause

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> Images:
        """The images of those rows, in that order."""
        chosen = list(rows)
        ids, sources = tuple(self.ids[row] for row in chosen), tuple(self.sources[row] for row in chosen)
        return Images(self.x[chosen], self.pixels[chosen], ids, sources)

    def seeds(self) -> np.ndarray:
        """uint32 [b] from the ids alone: what an image gets does not depend on its place in a batch."""
        return id_seeds(self.ids)


def id_seeds(ids: Sequence[str]) -> np.ndarray:
    """uint32 [b], from each image's id alone."""
    digests = [hashlib.sha256(name.encode()).digest()[:4] for name in ids]
    return np.asarray([int.from_bytes(digest, "little") for digest in digests], np.uint32)


def prepare(model: Model, images: Any, *, exif: bool = True, skip_damaged: bool = False) -> Images:
    """Anything `Model.preprocess` takes, or a normalised float array [b, H, W, 3] / [H, W, 3], or an `Images`.

    Args:
        exif: turn pictures as their EXIF orientation says: a person sees them upright.
        skip_damaged: leave out what cannot be decoded and record why, instead of raising. Missing files and a
            list of which nothing is left are errors all the same.

    Raises ImageError with the file and the cause.
    """
    if isinstance(images, Images):
        return images
    if hasattr(images, "dtype") and np.issubdtype(np.asarray(images).dtype, np.floating):
        return _from_floats(model, np.asarray(images))
    listed = as_list(images)
    if not len(listed):
        raise ImageError("no images were given")
    check_images([source for source in listed if isinstance(source, (str, Path))])
    pixels, ids, records, skipped = [], [], [], []
    for number, source in enumerate(listed):
        is_file = isinstance(source, (str, Path))
        file = str(source) if is_file else None
        try:
            loaded = load_image(source, exif=exif)
            pixels.append(to_pixels(loaded.pixels, model.preprocessing))
        except ImageError as error:
            if not skip_damaged:
                raise
            skipped.append({"file": file, "index": number, "status": "unreadable", "cause": str(error)})
            continue
        ids.append(Path(source).stem if is_file else f"image{number}")
        record = {"file": file, "mode": loaded.mode, "exif_orientation": loaded.exif_orientation}
        records.append({**record, "exif_applied": exif, "size": list(loaded.pixels.shape[:2])})
    if not pixels:
        raise ImageError(f"none of {len(listed)} images can be read; the first: {skipped[0]['cause']}")
    stacked = np.stack(pixels)
    x = np.stack([normalise(each, model.preprocessing) for each in stacked])
    return Images(x, stacked, _unique(ids), tuple(records), tuple(skipped))


def _from_floats(model: Model, x: np.ndarray) -> Images:
    if x.ndim == 3:
        x = x[None]
    if x.ndim != 4 or x.shape[-1] != 3:
        raise ImageError(f"a float array of images has shape [b, H, W, 3], not {list(x.shape)}")
    if not np.isfinite(x).all():
        bad = int(np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))[0])
        raise ImageError(f"image {bad} of the array holds NaN or Inf")
    shown = x * np.asarray(model.preprocessing.std) + np.asarray(model.preprocessing.mean)
    pixels = np.clip(np.rint(shown * 255), 0, 255).astype(np.uint8)
    ids = tuple(f"image{i}" for i in range(len(x)))
    return Images(x, pixels, ids, tuple({"file": None, "size": list(x.shape[1:3])} for _ in ids))


def _unique(names: list[str]) -> tuple[str, ...]:
    """Same file name in two folders: the later ones get a number, so that no output overwrites another."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        unique.append(name if count == 0 else f"{name}_{count + 1}")
    return tuple(unique)
