"""`PrintFigure`: a matplotlib figure that keeps its size and resolution in print, and shows itself in notebooks.

Imported on first use, and after `import_matplotlib`, because it imports matplotlib.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

VECTOR = ("pdf", "svg", "svgz", "eps", "ps")
"""Formats in which images keep their own pixels, whatever the resolution of the figure."""
SCREEN_DPI = 120
"""Resolution in notebooks: more than a screen's 96, and few enough bytes to keep in a notebook."""
SETTINGS: Any = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none", "savefig.bbox": "standard"}
"""Text stays text, in TrueType fonts, and no margin is cut off, whatever the user's settings."""


class PrintFigure(Figure):
    """A figure whose files have exactly its width and its resolution, with text as text in PDF and SVG."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        FigureCanvasAgg(self)
        self.suppressComposite = True  # otherwise a PDF would contain one page-sized raster instead of the images

    def savefig(self, fname: Any, **options: Any) -> None:
        """As matplotlib's, at the resolution of the figure unless `dpi` says otherwise."""
        kind = options.get("format") or (Path(fname).suffix[1:].lower() if isinstance(fname, str | Path) else "png")
        options.setdefault("dpi", self.get_dpi())
        with rc_context(SETTINGS), self._native_pixels(kind in VECTOR):
            super().savefig(fname, **options)

    @contextmanager
    def _native_pixels(self, wanted: bool) -> Iterator[None]:
        """Images that are smoothed on the page's own pixels keep theirs in a file of vectors."""
        smoothed = [
            image for axes in self.axes for image in axes.images if wanted and image.get_interpolation() != "nearest"
        ]
        before = [image.get_interpolation() for image in smoothed]
        for image in smoothed:
            image.set_interpolation("none")
        try:
            yield
        finally:
            for image, interpolation in zip(smoothed, before, strict=True):
                image.set_interpolation(interpolation)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The figure at the size of its print on a screen of 96 dots per inch."""
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=min(SCREEN_DPI, self.get_dpi()), metadata={"Software": None})
        width, height = (round(96 * side) for side in self.get_size_inches())
        return stream.getvalue(), {"width": width, "height": height}


def _show_in_ipython() -> None:
    """Let notebooks show figures as above even after pyplot, whose formatter of all figures knows only their dpi."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    formatter = getattr(getattr(shell, "display_formatter", None), "formatters", {}).get("image/png")
    if formatter is not None:
        formatter.for_type(PrintFigure, PrintFigure._repr_png_)


_show_in_ipython()
