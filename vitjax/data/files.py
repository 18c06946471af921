"""Image and mask files on disk: the source behind `folder:` and `voc:`, and the masks that belong to images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vitjax.data.checks import digest_of
from vitjax.data.listing import describe, list_images
from vitjax.data.source import Raw
from vitjax.errors import ImageError
from vitjax.output.names import on_disk


@dataclass(frozen=True)
class Files:
    """A `Source` of image files and optional mask files.

    name, ids, labels, resize: as in `Source`.
    root: folder that file names in the digest are relative to.
    images, masks: one path per id; None for an image without a mask.
    ignore, values: of masks, as in `Raw`.
    skipped: numbers of entries of the folder that were passed over, by suffix or reason.
    """

    name: str
    root: Path
    ids: tuple[str, ...]
    labels: tuple[int, ...]
    images: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    ignore: int | None = None
    resize: str = "timm"
    skipped: Mapping[str, int] = field(default_factory=dict, compare=False)
    values: int | None = None

    @property
    def has_masks(self) -> bool:
        return any(mask is not None for mask in self.masks)

    def read(self, index: int) -> Raw:
        return Raw(self.images[index], self.masks[index], self.ignore, self.values)

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


def masks_by_path(folder: Path) -> tuple[dict[str, Path], dict[str, int]]:
    """Mask files by their path in the folder without suffix, and what was passed over.

    Raises:
        ImageError: two files differ in their suffix only; the folder cannot be read.
    """
    listing = list_images(folder)
    masks: dict[str, Path] = {}
    for path in listing.files:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in masks:
            raise ImageError(f"{folder}: {masks[name].name} and {path.name} would be masks of one image; remove one")
        masks[name] = path
    return masks, dict(listing.skipped)


def fit_masks(
    folder: Path, names: Sequence[str], source: str, listed: Sequence[Path | None] = ()
) -> tuple[tuple[Path | None, ...], dict[str, int]]:
    """The masks of images.

    Args:
        folder: the folder of masks.
        names: for each image the path of its mask in the folder, without suffix.
        source: name of the data set, for errors.
        listed: for each image the mask that a list names, which goes before that of the folder.

    Returns:
        One path for each image, None where there is none; and what was passed over, with the masks of no image.

    Raises:
        ImageError: no mask belongs to an image, and says what the folder contains; two files are masks of one image.
    """
    present, skipped = masks_by_path(folder)
    masks = tuple(own or present.get(name) for own, name in zip(listed or [None] * len(names), names, strict=True))
    if not any(masks):
        first = next(iter(present.values()), None)
        contents = [first.relative_to(folder).as_posix()] if first else []
        contents += [describe(skipped)] if skipped else []
        raise ImageError(
            f"{folder}: none of its {len(present)} masks belongs to an image of {source}; the first image's mask would "
            f"be {names[0]}.png, and the folder contains {', '.join(contents) or 'nothing'}"
        )
    unused = len(set(present.values()) - set(masks))
    counts = {f"{reason} among the masks": count for reason, count in skipped.items()}
    return masks, counts | ({"mask of no image": unused} if unused else {})


def mask_stems(images: Sequence[Path], ids: Sequence[str]) -> list[str]:
    """File stems of the masks of images: the stems of the image files, or the ids if two stems are equal."""
    stems = [path.stem for path in images]
    return stems if len(set(stems)) == len(stems) else [on_disk(identity) for identity in ids]


def _name_and_size(path: Path, root: Path) -> list[str | int]:
    """Name relative to `root`, so that a moved folder keeps its digest, and size [bytes]; -1 for a missing file."""
    try:
        size = path.stat().st_size
    except OSError:
        size = -1
    return [Path(os.path.relpath(path, root)).as_posix(), size]
