"""The options of how figures look, in one place: what `vitjax.figure` takes, as flags of `explain` and `compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from vitjax.cli.arguments import OptionalCount, OptionalDirectory, OptionalText, one_line_help, option
from vitjax.errors import ConfigError
from vitjax.explaining.figure_options import FigureOptions
from vitjax.explaining.masks import mask_files, mask_of_image
from vitjax.images.mask_values import OBJECT
from vitjax.images.picture import Exif

Number = Annotated[float | None, option(metavar="X")]
STANDARD = FigureOptions()


@one_line_help
@dataclass(frozen=True)
class FigureArguments:
    """How figures look.

    Args:
        cmap: a colour map of matplotlib, as in viridis; or two, as in viridis,coolwarm: for maps without, and with
            negative relevance. inferno, and blue to red, if not given.
        alpha: opacity of the colour at full relevance, 0 to 1; 0.85 if not given.
        percentile: colours end at this percentile of a map's magnitude, above 0 to 100; if not given, at the 99th for
            maps of pixels, at the largest value for others.
        masks: directory of masks <image name>.png, whose borders are drawn.
        mask_ignore: value of mask pixels that belong to no object and no background, such as 255 in masks of VOC; -1 if
            there is none. If not given, masks of uncertain meaning are an error.
        width_mm: width in print in millimetres, 20 to 2000; 89 and 183 are one and two columns of a journal. 183 if not
            given, and more for a grid of more than a dozen maps of each method.
        dpi: resolution of PNGs in dots per inch, 50 to 2400; PDFs keep the pixels of the model's input.
        font_size: of titles and labels in points, 3 to 20; smaller, down to 5, where a text would be cut.
    """

    cmap: OptionalText = None
    alpha: Number = None
    percentile: Number = None
    masks: OptionalDirectory = None
    mask_ignore: OptionalCount = None
    width_mm: Annotated[float | None, option(metavar="MM")] = None
    dpi: Annotated[float, option(metavar="N")] = STANDARD.dpi
    font_size: Annotated[float, option(metavar="PT")] = STANDARD.font_size

    def options(self) -> FigureOptions:
        """The options as `vitjax.figure` takes them, checked.

        Raises:
            ConfigError, UnknownNameError: an option is out of range, or no colour map has this name.
        """
        options = self._given()
        options.check_strip()
        return options

    def _given(self, **others: Any) -> FigureOptions:
        maps = tuple(self.cmap.split(",")) if self.cmap is not None else (None,)
        width = STANDARD.width_mm if self.width_mm is None else self.width_mm
        return FigureOptions(
            cmap=maps[0] if len(maps) == 1 else maps,
            alpha=self.alpha,
            percentile=self.percentile,
            width_mm=width,
            dpi=self.dpi,
            font_size=self.font_size,
            **others,
        )

    def record(self) -> dict[str, Any]:
        """The options for manifest.json."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}

    def mask_files(self, images: Sequence[Path]) -> dict[str, Path | None] | None:
        """The masks by the name of the image file, or None without --masks.

        Raises:
            ImageError: the directory does not exist, or contains no mask of any image.
            ConfigError: --mask-ignore without --masks.
        """
        if self.masks is None:
            if self.mask_ignore is not None:
                raise ConfigError("--mask-ignore needs --masks DIR")
            return None
        return dict(zip(map(str, images), mask_files(images, self.masks), strict=True))

    def read_masks(
        self, images: Sequence[str], masks: Mapping[str, Path | None] | None, exif: Exif
    ) -> list[np.ndarray | None] | None:
        """For each image where its object is, bool [h, w] of the image's size, or None; None without --masks.

        Args:
            images: the files.
            masks: by the name of the image file, as `mask_files` returns them.
            exif: whether images, and masks with them, are turned by their EXIF orientation.

        Raises:
            ImageError: a mask cannot be read, has another aspect ratio than its image, or values of uncertain meaning.
        """
        if masks is None:
            return None
        files = [masks[image] for image in images]
        return [
            None if mask is None else mask_of_image(image, mask, exif, ignore=self.mask_ignore) == OBJECT
            for image, mask in zip(images, files, strict=True)
        ]


@one_line_help
@dataclass(frozen=True)
class GridArguments(FigureArguments):
    """How the grid of methods looks: the options of all figures, and these.

    Args:
        rows: "images", with a column for each method; or "methods", with a column for each image.
        columns: methods side by side before the grid goes on below; as many as are wide enough to be read if not given.
        titles: of the methods: "short" (GMAR), "full" (with the reference) or "id" (gmar).
        row_labels: "target" (what is explained, with its probability), "image" (its name) or "none".
        background: "input", the image as the model sees it; or "original", the whole image with the part that the
            model sees outlined.
        colour_bars: draw the colour bars below; --no-colour-bars leaves them out.
    """

    rows: Annotated[str, option(metavar="images|methods")] = STANDARD.rows
    columns: OptionalCount = None
    titles: Annotated[str, option(metavar="short|full|id")] = str(STANDARD.titles)
    row_labels: Annotated[str, option(metavar="target|image|none")] = str(STANDARD.row_labels)
    background: Annotated[str, option(metavar="input|original")] = STANDARD.background
    colour_bars: bool = STANDARD.colour_bars

    def options(self) -> FigureOptions:
        """The options as `vitjax.figure` takes them, checked. Raises: as `FigureArguments.options`."""
        options = self._given(
            rows=self.rows,
            columns=self.columns,
            titles=self.titles,
            row_labels=None if self.row_labels == "none" else self.row_labels,
            background=self.background,
            colour_bars=self.colour_bars,
        )
        options.check()
        return options


FigureOption = Annotated[FigureArguments, tyro.conf.arg(name="")]
GridOption = Annotated[GridArguments, tyro.conf.arg(name="")]
PLAIN, PLAIN_GRID = FigureArguments(), GridArguments()
