"""The interface between data sets and the evaluation.

A data set knows all its ids and labels when it is opened; images and masks are read one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from vitjax.images.picture import Exif

NO_LABEL = -1
OK = "ok"
UNAVAILABLE = "unavailable"
"""The storage or the memory failed, again and again: nothing is known of the image, and its chunk stays open."""


class Raw(NamedTuple):
    """An image as it is stored, and its object mask if it has one.

    image: a path, encoded bytes, or an array uint8 [h, w, 3].
    mask: a path, encoded bytes, or an array [h, w], of the image's size. Values: 0 background, `ignore` ignored, any
        other value object. The values of a palette PNG are its palette indices.
    ignore: value of ignored mask pixels, as the data set's description states it: 255 in VOC, 1000 in ImageNet-S, where
        class = red + 256 green; -1 if no pixels are ignored. None if it is unknown: then 128 is ignored in masks of 0,
        128 and 255, no value is ignored in masks of class numbers, and masks of uncertain meaning get a status.
    values: if known, the number of values of a mask, 0 to values - 1; others than these and `ignore` get a status.
    exif: whether the EXIF orientation of the image is applied to it and its mask.
    """

    image: Path | bytes | np.ndarray
    mask: Path | bytes | np.ndarray | None = None
    ignore: int | None = None
    values: int | None = None
    exif: Exif = "ignore"


class Source(Protocol):
    """A data set. It must be picklable, because worker processes read from it. Plain attributes suffice.

    name: the specification that it was opened with, such as "folder:photos".
    ids: one per image, all different, in the order of evaluation; records and file names use them.
    labels: class numbers; NO_LABEL for an image without a label.
    has_masks: whether images have object masks.
    resize: "timm" (the model's own resize and crop) or "squash" (resize to the model's size without crop, for CIFAR).
    """

    @property
    def name(self) -> str: ...

    @property
    def ids(self) -> tuple[str, ...]: ...

    @property
    def labels(self) -> tuple[int, ...]: ...

    @property
    def has_masks(self) -> bool: ...

    @property
    def resize(self) -> str: ...

    def read(self, index: int) -> Raw:
        """The stored image, not decoded.

        Raises:
            ImageError: the image cannot be read; names file and cause.
        """

    def digest(self) -> str:
        """SHA-256 (hex) of everything that results depend on: ids, labels, names and sizes of the files.

        A source that reads files may also have a method `files_of(index) -> tuple[Path, ...]` with the files that an
        image is read from. Run and cache then notice other bytes in files of equal names and sizes.
        """


@dataclass(frozen=True, eq=False)
class Samples:
    """The decoded images of one chunk, in its order. An unusable image is zeros, with a status other than "ok".

    index: int64 [n], index in the source.
    ids: [n].
    labels: int32 [n].
    pixels: uint8 [n, H, W, 3], resized and cropped.
    masks: uint8 [n, H, W], resized and cropped like the image: 0 background, 128 ignored, 255 object. All 128 for an
        image without a mask.
    status: "ok", "missing", "unreadable", "mask_unreadable", "mask_size", "mask_values", or UNAVAILABLE, which is never
        recorded.
    cause: one line; "" if the status is "ok".
    mask_state: "object", "none", "all_background" or "all_foreground", of the pixels that are not ignored, after the
        crop.
    mode: colour mode of the stored image.
    size: "h x w" of the stored image.
    notes: what was done to read the image and its mask: names of `vitjax.images.picture.NOTES`, separated by spaces.
    """

    index: np.ndarray
    ids: tuple[str, ...]
    labels: np.ndarray
    pixels: np.ndarray
    masks: np.ndarray
    status: tuple[str, ...]
    cause: tuple[str, ...]
    mask_state: tuple[str, ...]
    mode: tuple[str, ...]
    size: tuple[str, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)
