"""`imagenet-seg:FILE`: ImageNet-Segmentation (Guillaumin et al. 2014), gtsegs_ijcv.mat, 4,276 images with masks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.data.checks import digest_of
from vitjax.data.source import NO_LABEL, Raw
from vitjax.errors import ImageError


@dataclass
class ImagenetSegmentation:
    """A `Source` of images and masks in one HDF5 file, without labels. Each process opens the file itself."""

    name: str
    path: Path
    ids: tuple[str, ...]
    labels: tuple[int, ...]
    has_masks: bool = True
    resize: str = "timm"
    _file: Any = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}  # an open HDF5 file cannot be shared between processes

    def read(self, index: int) -> Raw:
        """The stored image and its mask.

        Raises:
            ImageError: the file is damaged; names the file and the image.
        """
        try:
            if self._file is None:
                self._file = _open(self.path)
            # MATLAB stores arrays in column-major order, so all axes are reversed.
            image = np.asarray(self._file[self._file["value/img"][index, 0]]).transpose(2, 1, 0)
            cell = self._file[self._file["value/gt"][index, 0]]
            mask = np.asarray(self._file[cell[0, 0]]).T
        except (OSError, KeyError, ValueError, RuntimeError) as cause:
            raise ImageError(f"{self.path}: image {index} ({self.ids[index]}) cannot be read: {cause}") from cause
        return Raw(np.ascontiguousarray(image, np.uint8), np.where(mask > 0, 255, 0).astype(np.uint8), ignore=-1)

    def files_of(self, index: int) -> tuple[Path, ...]:
        return (self.path,)

    def digest(self) -> str:
        return digest_of(self.ids, self.path.name, self.path.stat().st_size)


def open_imagenet_segmentation(path: Path) -> ImagenetSegmentation:
    """Open gtsegs_ijcv.mat (MATLAB v7.3). Ids are the image names in the file, or numbers if it has none.

    Raises:
        ImageError: the file does not exist or has another structure.
    """
    with _open(path) as file:
        for entry in ("value/img", "value/gt"):
            if entry not in file:
                raise ImageError(f"{path}: contains no {entry}, so it is not gtsegs_ijcv.mat")
        count, masks = len(file["value/img"]), len(file["value/gt"])
        if not count or count != masks:
            raise ImageError(f"{path}: {count} images and {masks} masks")
        ids = _ids(file, count)
    return ImagenetSegmentation(f"imagenet-seg:{path}", path, ids, (NO_LABEL,) * count)


def _open(path: Path) -> Any:
    import h5py

    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except OSError as cause:
        raise ImageError(f"{path}: not an HDF5 (MATLAB v7.3) file, or damaged: {cause}") from cause


def _ids(file: Any, count: int) -> tuple[str, ...]:
    numbered = tuple(f"{index:05d}" for index in range(count))
    if "value/id" not in file:
        return numbered
    # MATLAB stores text as arrays of code points.
    try:
        names = [
            "".join(chr(code) for code in np.asarray(file[reference]).ravel()) for (reference,) in file["value/id"]
        ]
    except (TypeError, ValueError, AttributeError):
        return numbered
    names = [re.sub(r"[^\w.+-]", "_", name) for name in names]
    if len(names) != count or not all(names) or len({name.casefold() for name in names}) < count:
        return numbered
    return tuple(names)
