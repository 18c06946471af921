"""Masks of image files, to be outlined in figures: looked up in a folder, and read at the size of their image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.data.files import fit_masks, mask_stems
from vitjax.data.masks import read_mask
from vitjax.data.source import Raw
from vitjax.errors import ImageError
from vitjax.images.picture import Exif, read_picture


def mask_files(images: Sequence[Path], folder: Path) -> tuple[Path | None, ...]:
    """The mask `<image name>.png` of each image file in a folder; None where there is none.

    Raises:
        ImageError: the folder does not exist, or contains no mask of any image.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder}: mask folder does not exist")
    return fit_masks(folder, mask_stems(images, [path.name for path in images]), "the command")[0]


def mask_of_image(
    image: Any, mask: Path | np.ndarray, exif: Exif = "apply", *, ignore: int | None = None
) -> np.ndarray:
    """The mask of an image, uint8 [h, w] of the image's size: 0 background, 128 ignored, 255 object.

    Args:
        image: its file, or uint8 [h, w, 3].
        mask: its file, or values [h, w].
        exif: whether the image is turned by its EXIF orientation; the mask is turned with it.
        ignore: value of ignored pixels of the mask, -1 if none is ignored; None if it is not known.

    Raises:
        ImageError: the mask cannot be read, has another aspect ratio than its image, or values of uncertain meaning.
    """
    return read_mask(Raw(image, mask, ignore), read_picture(image, exif), "mask")[0]
