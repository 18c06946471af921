"""`Explanation`, the result of `explain`: raw maps, and the figures drawn from them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import PIL.Image

from vitjax.explaining.figure import figure, masks_of_maps, notebook_png
from vitjax.explaining.figure_grid import mask_as_seen
from vitjax.explaining.figure_options import DEFAULT, FigureOptions, check_percentile, colours_of
from vitjax.explaining.map_batch import MapBatch
from vitjax.explaining.probabilities import with_probability
from vitjax.methods.titles import title_of
from vitjax.output.files import make_folder, write_file
from vitjax.output.names import FileNames, file_stem
from vitjax.plots.cells import Cell, draw_into, overlay_cell
from vitjax.plots.figures import ONE_COLUMN, save
from vitjax.plots.strip import strip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS = {"token": "patches", "pixel": "pixels"}
"""What a cell of a map stands for, in words."""


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(MapBatch):
    """Maps of one method over a batch of b images; or b maps of fewer images, where images have several targets.

    The maps of an image then stand together, in the order of its targets, and `images` repeats the image for each.
    `e[0]`, `e[:3]` and `e[[2, 0]]` are explanations of some of the maps, and iteration gives one after the other.

    The examples of the methods go on from this one. `vitjax.methods` says what `model` and `image` are.

    Example:
        >>> e = vitjax.explain(model, image, "transformer_mm", target="plain ring")
        >>> e.maps.shape, e.target.tolist(), e.predicted.tolist(), e.signed, e.degenerate.tolist()
        ((1, 8, 8), [3], [4], False, [False])
        >>> e
        Explanation of 1 image by transformer_mm, vitjax_scenes: maps float32 [1, 8, 8] at patches
          plain ring (... %)
    """

    def __repr__(self) -> str:
        """Two lines: what explains what, and the explained classes."""
        maps = f"maps {self.maps.dtype} {list(self.maps.shape)} at {LEVELS[self.level]}"
        return f"Explanation of {self.subjects} by {self.label}, {self.model.name}: {maps}\n  {self.targets_in_words()}"

    @property
    def subjects(self) -> str:
        """How many images, and maps if there are more: "2 images (6 targets)"."""
        images = len(set(self.image_index.tolist()))
        word = "1 image" if images == 1 else f"{images} images"
        return word if images == len(self) else f"{word} ({len(self)} targets)"

    def targets_in_words(self, room: int = 100) -> str:
        """The explained classes in one line of about `room` characters.

        Example:
            >>> e.targets_in_words()
            'plain ring (... %)'
        """
        if self.class_agnostic:
            return "class-agnostic: the same map for every class"
        captions = [self.caption(index) for index in range(min(8, len(self)))]
        shown = [with_probability(c["target"], c["target_probability"], sigmoid=c["sigmoid"]) for c in captions]
        text = textwrap.shorten("; ".join(shown) or "no images", room, placeholder=" ...")
        return text if text.endswith("...") or len(self) <= len(shown) else f"{text}; ..."

    def _repr_png_(self) -> tuple[bytes, dict[str, int]] | None:
        """The overlays of the first images, for notebooks."""
        return notebook_png(self) if len(self) else None

    def overlay(
        self, index: int = 0, *, cmap: Any = None, alpha: float | None = None, percentile: float | None = None
    ) -> PIL.Image.Image:
        """The map of image `index` laid over the image: a PIL image at the model's resolution.

        Args:
            index: of the map.
            cmap, alpha, percentile: as for `vitjax.figure`.

        Example:
            >>> e.overlay(0).size
            (64, 64)
        """
        return PIL.Image.fromarray(self._cell(index, cmap, alpha, percentile).image)

    def _cell(self, index: int, cmap: Any = None, alpha: float | None = None, percentile: float | None = None) -> Cell:
        check_percentile(percentile)
        heatmap, colours = self.heatmap(index, percentile), colours_of(cmap, alpha)
        return overlay_cell(self.images.pixels[index], self.maps[index], heatmap, signed=self.signed, colours=colours)

    @overload
    def plot(self, index: int = 0, ax: None = None, cmap: Any = ..., alpha: float | None = ...) -> Figure: ...
    @overload
    def plot(self, index: int = 0, *, ax: Axes, cmap: Any = ..., alpha: float | None = ...) -> Axes: ...
    def plot(
        self, index: int = 0, ax: Axes | None = None, cmap: Any = None, alpha: float | None = None
    ) -> Figure | Axes:
        """Draw one map over its image, with what it explains, into axes of your own or as a figure of 89 mm.

        Args:
            index: of the map.
            ax: axes of matplotlib to draw into, in pixels of the model's input; None makes a figure, with the image
                beside the map and a colour bar.
            cmap, alpha: as for `vitjax.figure`, which has more options.

        Returns:
            `ax`, or the new figure.

        Example:
            >>> import matplotlib.figure
            >>> axes = matplotlib.figure.Figure().subplots(1, 2)
            >>> e.plot(0, ax=axes[0]).get_title().splitlines()
            ['Transformer-MM', 'plain ring']
        """
        if ax is None:
            chosen = int(np.arange(len(self))[index])
            return figure(self[chosen], width_mm=ONE_COLUMN, cmap=cmap, alpha=alpha)
        subject = "class-agnostic" if self.class_agnostic else self.target_names[index]
        return draw_into(ax, self._cell(index, cmap, alpha), (title_of(self.label), subject))

    def save_arrays(self, directory: str | Path, *, names: FileNames | None = None) -> Path:
        """Write maps, targets with their names, logits and image ids to `<directory>/<label>.npz` and return its path.

        The arrays of all methods have the same order: where images have several targets, those of a class-agnostic
        method repeat its map, and "class_agnostic" is true.

        Args:
            directory: created if it does not exist.
            names: the names of the other files in the directory, so that this one is new. A label that is too long for
                a file name is shortened.

        Raises:
            OutputError: the file cannot be written.

        Example:
            >>> import tempfile
            >>> e.save_arrays(tempfile.mkdtemp()).name
            'transformer_mm.npz'
        """
        path = make_folder(Path(directory)) / (names or FileNames()).claim(file_stem(self.label), ".npz")
        arrays: dict[str, Any] = {
            "maps": self.maps,
            "target": self.target,
            "logits": self.logits,
            "ids": np.asarray(self.images.ids),
            "target_names": np.asarray(self.target_names),
            "class_agnostic": np.asarray(self.class_agnostic),
        }
        return write_file(path, lambda stream: np.savez_compressed(stream, **arrays))

    def save(
        self,
        directory: str | Path,
        *,
        pdf: bool = False,
        progress: Callable[[int], None] | None = None,
        names: FileNames | None = None,
        options: FigureOptions = DEFAULT,
        masks: Any = None,
    ) -> list[Path]:
        """Write the arrays, and for each map a strip (photo | map | overlay) to `<image id>_<label>.png`.

        If an image has several targets, the names are `<image id>_<target>_<label>.png`; of a class-agnostic method,
        whose maps are the same for all of them, there is one strip, `<image id>_<label>.png`, that says so.

        Args:
            directory: created if it does not exist.
            pdf: also write each strip as a vector PDF.
            progress: called with 1 after each strip.
            names: the names of the other files in the directory, so that these are new: image "x" by "grad_rollout"
                and image "x_grad" by "rollout" would be one file. A name that is too long is shortened.
            options: colours, percentile, width, resolution and type of the strips.
            masks: as for `vitjax.figure`.

        Returns:
            The files written: the arrays, then those of each image.

        Raises:
            OutputError: a file cannot be written.
            ConfigError: an option is out of range, or a mask has another size than its image.

        Example:
            >>> import tempfile
            >>> [path.name for path in e.save(tempfile.mkdtemp())]
            ['transformer_mm.npz', 'image0_transformer_mm.png']
        """
        options.check_strip()
        of_maps = masks_of_maps({self.label: self}, masks)
        names = FileNames() if names is None else names
        written = [self.save_arrays(directory, names=names)]
        stem, shown = file_stem(self.label), self.starts if self.class_agnostic else range(len(self))
        several = len(self.starts) < len(shown)
        for i in shown:
            drawn = self._strip(i, options, of_maps[i] if of_maps is not None else None)
            of_target = f"{file_stem(self.target_names[i])}_" if several else ""
            name = names.claim(f"{self.images.ids[i]}_{of_target}{stem}", ".png", ".pdf")
            written += save(drawn, Path(directory) / name, pdf=pdf)
            if progress is not None:
                progress(1)
        return written

    def _strip(self, index: int, options: FigureOptions, mask: Any) -> Figure:
        cell = self._cell(index, options.cmap, options.alpha, options.percentile)
        return strip(
            self.images.pixels[index],
            self.maps[index],
            cell if mask is None else cell._replace(mask=mask_as_seen(self, index, mask)),
            signed=self.signed,
            agnostic=self.class_agnostic,
            colours=options.colours,
            percentile=options.percentile,
            width_mm=options.width_mm,
            dpi=options.dpi,
            font_size=options.font_size,
            **self.caption(index),
        )
