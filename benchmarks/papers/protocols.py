"""Protocols of the papers that are not the library's own: other pictures, other masks. All of them picklable."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from vitjax.data.checks import digest_of
from vitjax.data.source import Raw, Source
from vitjax.errors import ImageError
from vitjax.images.reading import Preprocessing, to_pixels
from vitjax.models.model import Model


@dataclass(frozen=True)
class Wrapped:
    """A source made of another one, with its pictures, ids and labels."""

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

    def read(self, index: int) -> Raw:
        return self.base.read(index)

    def digest(self) -> str:
        return self.base.digest()


@dataclass(frozen=True)
class WholePicture(Wrapped):
    """Pictures and masks squashed to the model's size: nothing is cut off, the aspect ratio is lost.

    void_is_object: pixels that should not count, such as VOC's white borders, are part of the object (`mask > 0`).
    """

    void_is_object: bool = False

    @property
    def resize(self) -> str:
        return "squash"

    def read(self, index: int) -> Raw:
        raw = self.base.read(index)
        return raw._replace(ignore=-1) if self.void_is_object else raw

    def digest(self) -> str:
        return digest_of(self.base.digest(), "whole picture", self.void_is_object)


@dataclass(frozen=True)
class WholeMaskOnGrid(Wrapped):
    """Cropped pictures beside masks that are not: paper 001's code.

    The picture goes through the model's resize and crop. The mask does not: all of it is turned to grey and resized to
    the patch grid (Pillow's default, bicubic), and a cell is object above 127. It comes back with every cell blown up
    to its patch, so that `resolution="grid", mask_to_grid="centre"` finds exactly these cells again.
    """

    preprocessing: Preprocessing
    grid: tuple[int, int]

    @property
    def resize(self) -> str:
        return "squash"  # the pictures have the model's size already

    def read(self, index: int) -> Raw:
        raw = self.base.read(index)
        pixels = to_pixels(raw.image, self.preprocessing)
        if raw.mask is None:
            return Raw(pixels)
        try:
            with _opened(raw.mask) as image:
                cells = np.asarray(image.convert("L").resize(self.grid[::-1])) > 127
        except OSError as cause:
            raise ImageError(f"{raw.mask if isinstance(raw.mask, Path) else 'mask'}: damaged: {cause}") from cause
        down, across = (size // cells for size, cells in zip(self.preprocessing.size, self.grid, strict=True))
        return Raw(pixels, np.kron(cells, np.ones((down, across), bool)))

    def digest(self) -> str:
        return digest_of(self.base.digest(), "whole mask on the grid", str(self.preprocessing), self.grid)


def _opened(mask: Path | bytes | np.ndarray) -> Image.Image:
    if isinstance(mask, np.ndarray):
        return Image.fromarray(mask)
    return Image.open(io.BytesIO(mask) if isinstance(mask, bytes) else mask)


def squashed(model: Model, source: Source) -> Source:
    """Pictures and masks are resized to the model's size without a crop."""
    return WholePicture(source)


def squashed_with_void(model: Model, source: Source) -> Source:
    """As `squashed`; what should not count is object."""
    return WholePicture(source, void_is_object=True)


def whole_mask_on_grid(model: Model, source: Source) -> Source:
    """Paper 001: see `WholeMaskOnGrid`."""
    return WholeMaskOnGrid(source, model.preprocessing, model.config.grid)


def bilinear(model: Model) -> Model:
    """torchvision's Resize interpolates bilinearly where it is not told otherwise; timm's ViTs bicubically."""
    return replace(model, preprocessing=replace(model.preprocessing, interpolation="bilinear"))


def not_normalised(model: Model) -> Model:
    """The network sees values in [0, 1]: mean and standard deviation were forgotten. Bilinear, too."""
    changed = replace(model.preprocessing, interpolation="bilinear", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return replace(model, preprocessing=changed)
