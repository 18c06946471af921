"""The images of one call: normalised floats for the model, pixels for the figures, ids for the random seeds."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.errors import ImageError
from vitjax.images.geometry import Preprocessing, geometry
from vitjax.images.picture import NOTES, Exif, Picture, check_exif, read_picture
from vitjax.images.reading import check_images, normalise
from vitjax.models.model import Model, as_list
from vitjax.output.names import text_of, unique

_LARGEST_NORMALISED = 10.0
"""Normalised pixels lie within -4 and 4; noise may be added to them."""


@dataclass(frozen=True, eq=False)
class Images:
    """A batch of preprocessed images.

    x: float32 [b, H, W, 3], normalised. pixels: uint8 [b, H, W, 3], the same images before normalisation, resized and
        cropped as the model sees them.
    ids: one for each image, unique in a call.
    sources: one dict for each image: file, original size [height, width]; except for float arrays also mode, bits,
        EXIF orientation, the part that the model sees ("crop": [top, left, bottom, right] in pixels of the original)
        and notes, names of `vitjax.images.picture.NOTES`.
    skipped: one dict for each image left out: file, index in the input, status, cause.
    """

    x: np.ndarray
    pixels: np.ndarray
    ids: tuple[str, ...]
    sources: tuple[dict[str, Any], ...]
    skipped: tuple[dict[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Sequence[int]) -> Images:
        """The images at these indices, in this order. Records of skipped images are dropped."""
        chosen = list(indices)
        ids, sources = tuple(self.ids[index] for index in chosen), tuple(self.sources[index] for index in chosen)
        return Images(self.x[chosen], self.pixels[chosen], ids, sources)

    def remarks(self, names: Collection[str] = tuple(NOTES)) -> list[str]:
        """One line for each of these NOTES, with the number of images."""
        counts = Counter(note for source in self.sources for note in source.get("notes", ()) if note in names)
        return [f"{count} of {len(self)} images {NOTES[note]}" for note, count in counts.items()]

    def seeds(self) -> np.ndarray:
        """uint32 [b], a function of each image's id alone, so draws do not depend on its position in the batch."""
        return id_seeds(self.ids)


def id_seeds(ids: Sequence[str]) -> np.ndarray:
    """uint32 [b]: the first four bytes of the SHA-256 of each id, little-endian."""
    digests = [hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:4] for name in ids]
    return np.asarray([int.from_bytes(digest, "little") for digest in digests], np.uint32)


def prepare(
    model: Model, images: Any, *, exif: Exif = "apply", normalised: bool = False, skip_damaged: bool = False
) -> Images:
    """Decode, resize, crop and normalise images for a model.

    Args:
        model: gives the preprocessing.
        images: anything that `Model.preprocess` takes; or a normalised float array [b, H, W, 3] or [H, W, 3], which is
            only checked; or an `Images`, which is returned as it is.
        exif: "apply" turns images to the upright position that their EXIF orientation gives; "ignore" does not.
        normalised: take a float array as normalised whatever its range. Without it, arrays that look like pixels of
            0..1 or 0..255 are rejected.
        skip_damaged: leave out images that cannot be decoded, and record the cause in `Images.skipped`, instead of
            raising. A missing file, or a list in which every image is damaged, raises nonetheless.

    Returns:
        The images. The id of a file is its stem as `text_of` writes it, made unique by a number; that of any
        other image is "image<index>".

    Raises:
        ImageError: an image is missing, damaged or too small, a float array has another shape or
            range or contains NaN or Inf,
            or there are no images. The message names the file or index and the cause.

    Example: `prepare(model, ["cat.jpg", "dog.jpg"]).x`
    """
    if isinstance(images, Images):
        return images
    if hasattr(images, "dtype") and np.issubdtype(np.asarray(images).dtype, np.floating):
        return _from_floats(model, np.asarray(images), normalised)
    check_exif(exif)
    sources = as_list(images)
    if not len(sources):
        raise ImageError("no images given")
    check_images([source for source in sources if isinstance(source, (str, Path))])
    pixels, ids, records, skipped = [], [], [], []
    for index, source in enumerate(sources):
        is_file = isinstance(source, (str, Path))
        file = str(source) if is_file else None
        try:
            picture = read_picture(source, exif, model.preprocessing)
            pixels.append(picture.pixels(model.preprocessing))
        except ImageError as error:
            if not skip_damaged:
                raise
            skipped.append({"file": file, "index": index, "status": "unreadable", "cause": str(error)})
            continue
        ids.append(text_of(Path(source).stem) if is_file else f"image{index}")
        records.append({"file": file, **_record(picture, model.preprocessing)})
    if not pixels:
        raise ImageError(f"none of {len(sources)} images can be read; the first: {skipped[0]['cause']}")
    stacked = np.stack(pixels)
    x = np.stack([normalise(image, model.preprocessing) for image in stacked])
    return Images(x, stacked, unique(ids), tuple(records), tuple(skipped))


def say(images: Images) -> None:
    """Warn of pictures that the model may see otherwise than the user does."""
    for line in images.remarks(("transparency_dropped", "few_bits")):
        warnings.warn(f"vitjax: {line}", stacklevel=4)


def _record(picture: Picture, preprocessing: Preprocessing) -> dict[str, Any]:
    geo = geometry(*picture.size[::-1], preprocessing)
    corners = []
    for start, crop, resized, side in zip((geo.top, geo.left), geo.size, geo.resized, geo.original, strict=True):
        ends = (max(start, 0), min(start + crop, resized))
        corners.append([round(end * side / resized) for end in ends])
    (top, bottom), (left, right) = corners
    return {
        "mode": picture.mode,
        "bits": picture.bits,
        "exif_orientation": picture.exif_orientation,
        "exif_applied": picture.turned,
        "size": list(picture.size),
        "crop": [top, left, bottom, right],
        "notes": list(picture.notes),
    }


def _check_range(x: np.ndarray) -> None:
    """Reject pixels that are not normalised, as far as their range tells.

    Raises:
        ImageError: the array looks like pixels of 0..1 or 0..255; says what to pass.
    """
    low, high = float(x.min()), float(x.max())
    if low < 0 and max(-low, high) <= _LARGEST_NORMALISED:
        return
    if low < 0:
        looks, advice = "values far beyond those of a normalised image", "normalise them as `model.preprocess` does"
    elif high <= 1:
        looks, advice = "pixels of 0..1", "pass (255 * array).round().astype(np.uint8)"
    elif high <= 255:
        looks, advice = "pixels of 0..255", "pass array.round().astype(np.uint8)"
    else:
        looks, advice = "pixels of more than 8 bits", "scale them to 0..255 and pass uint8"
    raise ImageError(
        f"a float array of images must be normalised; this one has values of {low:.4g} to {high:.4g}, {looks}: "
        f"{advice}, or normalised=True if it is normalised"
    )


def _from_floats(model: Model, x: np.ndarray, normalised: bool) -> Images:
    """Images of a normalised float array; `pixels` are recovered by inverting the normalisation."""
    if x.ndim == 3:
        x = x[None]
    if x.ndim != 4 or x.shape[-1] != 3:
        first = x.ndim == 4 and x.shape[1] == 3
        advice = "; its channels come first: pass array.transpose(0, 2, 3, 1)" if first else ""
        raise ImageError(
            f"a float array of images must have shape [b, H, W, 3] or [H, W, 3], not {list(x.shape)}{advice}"
        )
    if not x.size:
        raise ImageError(f"a float array of images of shape {list(x.shape)} has no pixels")
    if not np.isfinite(x).all():
        index = int(np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))[0])
        raise ImageError(f"image {index} of the array contains NaN or Inf")
    if not normalised:
        _check_range(x)
    unnormalised = x * np.asarray(model.preprocessing.std) + np.asarray(model.preprocessing.mean)
    pixels = np.clip(np.rint(unnormalised * 255), 0, 255).astype(np.uint8)
    ids = tuple(f"image{index}" for index in range(len(x)))
    return Images(x, pixels, ids, tuple({"file": None, "size": list(x.shape[1:3])} for _ in ids))
