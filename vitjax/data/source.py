"""What a data set is to the evaluation: ids and labels that are known at once, pictures and masks read one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

NO_LABEL = -1
OK = "ok"


class Raw(NamedTuple):
    """One picture as it is stored, and its object mask where there is one.

    image: a path, encoded bytes, or uint8 [h, w, 3]. mask: a path of a PNG, encoded bytes, or an array [h, w], of the
    picture's size: 0 background, `ignore` does not count, everything else the object. A palette PNG counts by index.
    """

    image: Path | bytes | np.ndarray
    mask: Path | bytes | np.ndarray | None = None
    ignore: int = 128


class Source(Protocol):
    """A data set. Picklable: worker processes read from it. Plain attributes will do.

    name: the specification it was opened by, such as "folder:photos".
    ids: one per picture, all different, in the order of evaluation; file names in records come from them.
    labels: class numbers, NO_LABEL where there is none.
    has_masks: whether pictures come with object masks.
    resize: "timm" (the model's own resize and crop) or "squash" (straight to the model's size: CIFAR).
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
        """The stored picture. Cheap: nothing is decoded. Raises ImageError naming file and cause."""

    def digest(self) -> str:
        """sha256 (hex) of what the figures depend on: ids, labels, files by name and size."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Decoded pictures of one chunk, in the order asked for; a damaged one has zeros and a status that is not "ok".

    index: int64 [n], place in the source. ids [n]. labels: int32 [n]. pixels: uint8 [n, H, W, 3], resized and cropped.
    masks: uint8 [n, H, W]: 0, 128 (ignore; everywhere where there is no mask), 255, through the picture's own geometry.
    status: "ok", "missing", "unreadable", "mask_unreadable", "mask_size". cause: one line where not ok, else "".
    mask_state: "object", "none", "all_background", "all_foreground" (of the pixels that count, after the crop).
    mode: the stored colour mode. size: "h x w" of the stored picture.
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

    def __len__(self) -> int:
        return len(self.ids)
