"""Image and mask files on disk: the source behind `folder:` and `voc:`, and the search for images in a folder."""

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
    """A `Source` of image files and optional mask files.

    name, ids, labels, resize: as in `Source`.
    root: folder that file names in the digest are relative to.
    images, masks: one path per id; None for an image without a mask.
    ignore: value of mask pixels that are ignored.
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

    def files_of(self, index: int) -> tuple[Path, ...]:
        mask = self.masks[index]
        return (self.images[index],) if mask is None else (self.images[index], mask)

    def digest(self) -> str:
        """SHA-256 (hex) of ids, labels, and names and sizes of the files. Cost: one `stat` per file."""
        return digest_of(
            self.ids,
            self.labels,
            [_name_and_size(path, self.root) for path in self.images],
            [None if path is None else _name_and_size(path, self.root) for path in self.masks],
            self.ignore,
            self.resize,
        )


def find_images(folder: Path) -> list[Path]:
    """All files below `folder` with an image suffix, in natural order of their paths (2.jpg before 10.jpg).

    Hidden files and folders are left out.

    Raises:
        ImageError: the folder does not exist or contains no images.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    images = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        # macOS writes a metadata file "._x.jpg" next to every x.jpg on other file systems.
        visible = (Path(parent) / name for name in files if not name.startswith("."))
        images += [path for path in visible if path.suffix.lower() in SUFFIXES]
    if not images:
        raise ImageError(f"{folder}: contains no images ({', '.join(sorted(SUFFIXES))})")
    return natural_order(images)


def mask_stems(images: Sequence[Path], ids: Sequence[str]) -> list[str]:
    """File stems of the masks of images: the stems of the image files, or the ids if two stems are equal."""
    stems = [path.stem for path in images]
    return stems if len(set(stems)) == len(stems) else list(ids)


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Paths in sorted order, where runs of digits compare as numbers."""
    return sorted(paths, key=lambda path: ([_sort_key(part) for part in path.parts], str(path)))


def _sort_key(part: str) -> list[tuple[int, int, str]]:
    return [(0, int(run), "") if run.isdecimal() else (1, 0, run) for run in re.split(r"(\d+)", part) if run]


def _name_and_size(path: Path, root: Path) -> list[str | int]:
    """Name relative to `root`, so that a moved folder keeps its digest, and size [bytes]; -1 for a missing file."""
    try:
        size = path.stat().st_size
    except OSError:
        size = -1
    return [Path(os.path.relpath(path, root)).as_posix(), size]
