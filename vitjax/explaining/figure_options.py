"""`FigureOptions`: how `vitjax.figure`, strips and the pages of the command line are drawn, and its checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vitjax.errors import ConfigError
from vitjax.plots.cells import Colours
from vitjax.plots.overlay import scheme
from vitjax.plots.strip import narrowest

Colormaps = str | Any | tuple[Any, Any] | None


@dataclass(frozen=True)
class FigureOptions:
    """The options of `vitjax.figure`, which describes them. Strips have the first six."""

    cmap: Colormaps = None
    alpha: float | None = None
    percentile: float | None = None
    width_mm: float = 183
    dpi: float = 300
    font_size: float = 6.5
    rows: str = "images"
    titles: str | Mapping[str, str] | Sequence[str] = "short"
    row_labels: str | Sequence[str] | None = "target"
    background: str = "input"
    columns: int | None = None
    colour_bars: bool = True

    def check(self) -> None:
        """Check everything that does not depend on what is drawn.

        Raises:
            ConfigError: a number is out of range, or a choice is none.
            UnknownNameError: there is no such colour map.
        """
        check_choice("rows", self.rows, ("images", "methods"))
        check_choice("background", self.background, ("input", "original"))
        if isinstance(self.titles, str):
            check_choice("titles", self.titles, ("short", "full", "id"))
        if isinstance(self.row_labels, str):
            check_choice("row_labels", self.row_labels, ("target", "image"))
        _check_number("width_mm", self.width_mm, 20, 2000)
        _check_number("dpi", self.dpi, 50, 2400)
        _check_number("font_size", self.font_size, 3, 20)
        if self.columns is not None:
            _check_number("columns", self.columns, 1, 1000)
        _ = self.colours
        check_percentile(self.percentile)

    def check_strip(self) -> None:
        """As `check`, and whether the images of a strip have room. Raises: ConfigError, UnknownNameError."""
        self.check()
        if self.width_mm < (least := narrowest(self.font_size)):
            raise ConfigError(
                f"figure: width_mm={self.width_mm:g} is too narrow for a strip of three images with "
                f"font_size={self.font_size:g}; at least {np.ceil(least):g} mm are needed"
            )

    @property
    def colours(self) -> Colours:
        """The colours of overlays. Raises: ConfigError, UnknownNameError."""
        return colours_of(self.cmap, self.alpha)


DEFAULT = FigureOptions()


def colours_of(cmap: Colormaps, alpha: float | None) -> Colours:
    """The colours of overlays. Raises: ConfigError, UnknownNameError."""
    pair: tuple[Any, Any] = tuple(cmap) if isinstance(cmap, tuple | list) and len(cmap) == 2 else (cmap, cmap)
    for colours in pair:
        if colours is not None:
            if not isinstance(colours, str) and not hasattr(colours, "with_extremes"):
                raise ConfigError(
                    f"cmap={colours!r} is no colour map of matplotlib, no name of one, and no pair of them"
                )
            scheme(colours)
    if alpha is not None:
        _check_number("alpha", alpha, 0, 1)
    return Colours(*pair, alpha)


def check_percentile(percentile: float | None) -> None:
    """Raises: ConfigError unless it is None or in (0, 100]."""
    if percentile is not None:
        _check_number("percentile", percentile, 0, 100)
        if percentile == 0:
            raise ConfigError("percentile=0 must be above 0")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises: ConfigError unless the value is one of the choices."""
    if value not in choices:
        raise ConfigError(f"figure: {name}={value!r} is not one of {', '.join(map(repr, choices))}")


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (number and low <= value <= high):
        raise ConfigError(f"figure: {name}={value!r} is not a number from {low:g} to {high:g}")
