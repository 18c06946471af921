"""A data set whose masks come from a folder, such as a detector's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vitjax.data.checks import digest_of
from vitjax.data.files import Files, fit_masks, mask_stems
from vitjax.data.source import Raw, Source
from vitjax.data.wrapped import Wrapped
from vitjax.errors import ImageError


@dataclass(frozen=True)
class MaskFolder(Wrapped):
    """The images of `base` with masks from files, such as a detector's; None for an image without a mask."""

    folder: Path
    masks: tuple[Path | None, ...]
    skipped_masks: Mapping[str, int] = field(default_factory=dict, compare=False)

    has_masks = True

    @property
    def skipped(self) -> Mapping[str, int]:
        return {**super().skipped, **self.skipped_masks}

    def read(self, index: int) -> Raw:
        return Raw(self.base.read(index).image, self.masks[index])

    def files_of(self, index: int) -> tuple[Path, ...]:
        if isinstance(self.base, Files):
            of_base: tuple[Path, ...] = (self.base.images[index],)  # its masks are replaced
        else:
            of_base = super().files_of(index)
        mask = self.masks[index]
        return of_base if mask is None else (*of_base, mask)

    def digest(self) -> str:
        sizes = [
            None if mask is None or not mask.is_file() else [mask.name, mask.stat().st_size] for mask in self.masks
        ]
        return digest_of(self.base.digest(), "masks", sizes)


def overlay_masks(source: Source, folder: Path) -> MaskFolder:
    """Replace the masks of a source by the image files of a folder.

    A mask's file stem is the stem of the image file, or the image's id if the source has no files or two stems are
    equal.

    Raises:
        ImageError: the folder does not exist, contains no mask of any image, or two masks of one.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder}: mask folder does not exist")
    stems = mask_stems(source.images, source.ids) if isinstance(source, Files) else list(source.ids)
    masks, skipped = fit_masks(folder, stems, source.name)
    return MaskFolder(source, folder, masks, skipped)
