"""The images of one call: normalised floats for the model, pixels for the figures, ids for the random seeds."""

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
from vitjax.output.names import text_of, unique


@dataclass(frozen=True, eq=False)
class Images:
    """A batch of preprocessed images.

    x: float32 [b, H, W, 3], normalised. pixels: uint8 [b, H, W, 3], the same images before normalisation, resized and
        cropped as the model sees them.
    ids: one for each image, unique in a call.
    sources: one dict for each image: file, original size [height, width]; also mode and EXIF orientation, except for
        float arrays.
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

    def seeds(self) -> np.ndarray:
        """uint32 [b], a function of each image's id alone, so draws do not depend on its position in the batch."""
        return id_seeds(self.ids)


def id_seeds(ids: Sequence[str]) -> np.ndarray:
    """uint32 [b]: the first four bytes of the SHA-256 of each id, little-endian."""
    digests = [hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:4] for name in ids]
    return np.asarray([int.from_bytes(digest, "little") for digest in digests], np.uint32)


def prepare(model: Model, images: Any, *, exif: bool = True, skip_damaged: bool = False) -> Images:
    """Decode, resize, crop and normalise images for a model.

    Args:
        model: gives the preprocessing.
        images: anything that `Model.preprocess` takes; or a normalised float array [b, H, W, 3] or [H, W, 3], which is
            only checked; or an `Images`, which is returned as it is.
        exif: rotate and flip images to the upright position that their EXIF orientation gives.
        skip_damaged: leave out images that cannot be decoded, and record the cause in `Images.skipped`, instead of
            raising. A missing file, or a list in which every image is damaged, raises nonetheless.

    Returns:
        The images. The id of a file is its stem as `text_of` writes it, made unique by a number; that of any
        other image is "image<index>".

    Raises:
        ImageError: an image is missing, damaged or too small, a float array has another shape or contains NaN or Inf,
            or there are no images. The message names the file or index and the cause.

    Example: `prepare(model, ["cat.jpg", "dog.jpg"]).x`
    """
    if isinstance(images, Images):
        return images
    if hasattr(images, "dtype") and np.issubdtype(np.asarray(images).dtype, np.floating):
        return _from_floats(model, np.asarray(images))
    sources = as_list(images)
    if not len(sources):
        raise ImageError("no images given")
    check_images([source for source in sources if isinstance(source, (str, Path))])
    pixels, ids, records, skipped = [], [], [], []
    for index, source in enumerate(sources):
        is_file = isinstance(source, (str, Path))
        file = str(source) if is_file else None
        try:
            loaded = load_image(source, exif=exif)
            pixels.append(to_pixels(loaded.pixels, model.preprocessing))
        except ImageError as error:
            if not skip_damaged:
                raise
            skipped.append({"file": file, "index": index, "status": "unreadable", "cause": str(error)})
            continue
        ids.append(text_of(Path(source).stem) if is_file else f"image{index}")
        record = {"file": file, "mode": loaded.mode, "exif_orientation": loaded.exif_orientation}
        records.append({**record, "exif_applied": exif, "size": list(loaded.pixels.shape[:2])})
    if not pixels:
        raise ImageError(f"none of {len(sources)} images can be read; the first: {skipped[0]['cause']}")
    stacked = np.stack(pixels)
    x = np.stack([normalise(image, model.preprocessing) for image in stacked])
    return Images(x, stacked, unique(ids), tuple(records), tuple(skipped))


def _from_floats(model: Model, x: np.ndarray) -> Images:
    """Images of a normalised float array; `pixels` are recovered by inverting the normalisation."""
    if x.ndim == 3:
        x = x[None]
    if x.ndim != 4 or x.shape[-1] != 3:
        raise ImageError(f"a float array of images must have shape [b, H, W, 3] or [H, W, 3], not {list(x.shape)}")
    if not np.isfinite(x).all():
        index = int(np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=1))[0])
        raise ImageError(f"image {index} of the array contains NaN or Inf")
    unnormalised = x * np.asarray(model.preprocessing.std) + np.asarray(model.preprocessing.mean)
    pixels = np.clip(np.rint(unnormalised * 255), 0, 255).astype(np.uint8)
    ids = tuple(f"image{index}" for index in range(len(x)))
    return Images(x, pixels, ids, tuple({"file": None, "size": list(x.shape[1:3])} for _ in ids))
