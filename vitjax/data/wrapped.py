"""A source with the images, ids and labels of another one; subclasses change what they need to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vitjax.data.contents import files_of
from vitjax.data.source import Raw, Source


@dataclass(frozen=True)
class Wrapped:
    """A `Source` that passes everything on to `base`."""

    base: Source

    @property
    def name(self) -> str:
        return self.base.name

    @property
    def ids(self) -> tuple[str, ...]:
        return self.base.ids

    @property
    def labels(self) -> tuple[int, ...]:
        return self.base.labels

    @property
    def has_masks(self) -> bool:
        return self.base.has_masks

    @property
    def resize(self) -> str:
        return self.base.resize

    @property
    def skipped(self) -> Mapping[str, int]:
        """What was passed over when `base` was listed, by suffix or reason."""
        return getattr(self.base, "skipped", {})

    def read(self, index: int) -> Raw:
        return self.base.read(index)

    def files_of(self, index: int) -> tuple[Path, ...]:
        """The files that an image is read from; none if `base` states none."""
        return tuple(map(Path, files_of(self.base, [index])))

    def digest(self) -> str:
        return self.base.digest()
