"""A data set of files on disk: what folders, VOC and mask overlays have in common."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitjax.data.checks import digest_of
from vitjax.data.source import Raw
from vitjax.errors import ImageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2"})


@dataclass(frozen=True)
class Files:
    """Pictures, and masks where there are any, as paths. `Source` says what the fields mean.

    root: what names in the digest are relative to. images, masks: one per id, None where a picture has no mask.
    ignore: the value of a mask's pixel that does not count.
    """

    name: str
    root: Path
    ids: tuple[str, ...]
    labels: tuple[int, ...]
    images: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    ignore: int = 128
    resize: str = "timm"

    @property
    def has_masks(self) -> bool:
        return any(mask is not None for mask in self.masks)

    def read(self, index: int) -> Raw:
        return Raw(self.images[index], self.masks[index], self.ignore)

    def digest(self) -> str:
        """Cost: one `stat` per file."""
        return digest_of(
            self.ids,
            self.labels,
            [_stamp(path, self.root) for path in self.images],
            [None if path is None else _stamp(path, self.root) for path in self.masks],
            self.ignore,
            self.resize,
        )


def find_images(folder: Path) -> list[Path]:
    """All pictures below `folder` by suffix, in natural order of their paths (2.jpg before 10.jpg).

    Raises: ImageError where the folder is missing or has none.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    found = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(parent)
        # "._x.jpg" is what macOS leaves beside every file on a foreign disk.
        found += [here / name for name in files if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES]
    if not found:
        raise ImageError(f"{folder}: no pictures in it ({', '.join(sorted(SUFFIXES))})")
    return natural_order(found)


def mask_stems(images: Sequence[Path], ids: Sequence[str]) -> list[str]:
    """What the masks of pictures are called in a folder of their own: like the picture, or its id where two clash."""
    stems = [path.stem for path in images]
    return stems if len(set(stems)) == len(stems) else list(ids)


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sorted by path; runs of digits compare as numbers."""
    return sorted(paths, key=lambda path: ([_key(part) for part in path.parts], str(path)))


def _key(part: str) -> list[tuple[int, int, str]]:
    return [(0, int(run), "") if run.isdecimal() else (1, 0, run) for run in re.split(r"(\d+)", part) if run]


def _stamp(path: Path, root: Path) -> list[str | int]:
    """Name and size [bytes], -1 where the file is gone: a folder that was moved keeps its digest."""
    try:
        size = path.stat().st_size
    except OSError:
        size = -1
    return [Path(os.path.relpath(path, root)).as_posix(), size]
