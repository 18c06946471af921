"""Preprocessing and masks of the papers that differ from vitjax's own.

Tables and figures refer to these functions as `model_as` and `source_as`. All sources are picklable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from vitjax.data.checks import digest_of
from vitjax.data.source import Raw, Source
from vitjax.data.wrapped import Wrapped
from vitjax.errors import ImageError
from vitjax.images.formats import open_bytes
from vitjax.images.reading import Preprocessing, to_pixels
from vitjax.models.model import Model


@dataclass(frozen=True)
class SquashedImages(Wrapped):
    """Images and masks resized to the model's size without a crop, so that the aspect ratio changes.

    void_is_object: pixels that a metric should ignore, such as VOC's white borders, count as object (`mask > 0`).
    """

    void_is_object: bool = False

    @property
    def resize(self) -> str:
        return "squash"

    def read(self, index: int) -> Raw:
        raw = self.base.read(index)
        return raw._replace(ignore=-1, values=None) if self.void_is_object else raw

    def digest(self) -> str:
        return digest_of(self.base.digest(), "whole picture", self.void_is_object)


@dataclass(frozen=True)
class WholeMaskOnGrid(Wrapped):
    """Cropped images with masks that are not cropped, as in the code of Joita 2025.

    The image is resized and cropped by the model's preprocessing. The complete mask is converted to grey and resized to
    the patch grid (Pillow's default, bicubic); a cell above 127 is object. `read` returns the mask with every cell
    enlarged to its patch, so that `resolution="grid", mask_to_grid="centre"` recovers exactly these cells.
    """

    preprocessing: Preprocessing
    grid: tuple[int, int]

    @property
    def resize(self) -> str:
        return "squash"  # `read` returns images of the model's size, which must not be cropped again

    def read(self, index: int) -> Raw:
        raw = self.base.read(index)
        pixels = to_pixels(raw.image, self.preprocessing)
        if raw.mask is None:
            return Raw(pixels)
        try:
            with _open_mask(raw.mask) as image:
                cells = np.asarray(image.convert("L").resize(self.grid[::-1])) > 127
        except OSError as cause:
            raise ImageError(f"{raw.mask if isinstance(raw.mask, Path) else 'mask'}: damaged: {cause}") from cause
        down, across = (size // cells for size, cells in zip(self.preprocessing.size, self.grid, strict=True))
        return Raw(pixels, np.kron(cells, np.ones((down, across), bool)))

    def digest(self) -> str:
        return digest_of(self.base.digest(), "whole mask on the grid", str(self.preprocessing), self.grid)


def _open_mask(mask: Path | bytes | np.ndarray) -> Image.Image:
    if isinstance(mask, np.ndarray):
        return Image.fromarray(mask)
    data, name = (mask, "mask") if isinstance(mask, bytes) else (mask.read_bytes(), str(mask))
    return open_bytes(data, name)


def squashed(model: Model, source: Source) -> Source:
    """The source with images and masks resized to the model's size without a crop."""
    return SquashedImages(source)


def squashed_with_void(model: Model, source: Source) -> Source:
    """As `squashed`, and pixels that a metric should ignore count as object."""
    return SquashedImages(source, void_is_object=True)


def whole_mask_on_grid(model: Model, source: Source) -> Source:
    """The protocol of Joita 2025, see `WholeMaskOnGrid`."""
    return WholeMaskOnGrid(source, model.preprocessing, model.config.grid)


def bilinear(model: Model) -> Model:
    """The model with bilinear resizing, the default of torchvision's Resize. timm's ViTs resize bicubically."""
    return replace(model, preprocessing=replace(model.preprocessing, interpolation="bilinear"))


def not_normalised(model: Model) -> Model:
    """The model with pixels in [0, 1], without subtraction of the mean and division by the standard deviation, and with
    bilinear resizing."""
    changed = replace(model.preprocessing, interpolation="bilinear", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return replace(model, preprocessing=changed)


def squashed_inputs(model: Model) -> Model:
    """The model whose images are resized bilinearly to its size without a crop, as `squashed` does with a data set."""
    changed = replace(model.preprocessing, interpolation="bilinear", crop_mode="squash", crop_pct=1.0)
    return replace(model, preprocessing=changed)
