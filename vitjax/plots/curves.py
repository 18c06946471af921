"""Curves over levels: one panel for each curve, one legend for all, one scale for panels of the same quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vitjax.plots.backend import import_matplotlib
from vitjax.plots.figures import DPI, INK, MM, MUTED, ONE_COLUMN, TITLE, TWO_COLUMNS, fit, text_width
from vitjax.plots.figures import SIZE as TICKS
from vitjax.plots.fonts import drawable
from vitjax.shapes import ceil_div

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 8
"""Lines that can be distinguished by colour and dashes."""
COLOURS = ("#1f5fbf", "#d1491b", "#178054", "#8a3fb0", "#a87400", "#0f93a8", "#c2347d", "#333333")
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
PALE, GRID = "#c9ccd1", "#e9ebee"
HEIGHT, HEAD, LEGEND_LINE = 1.95, 0.3, 0.15
"""Heights of a panel with its axes, of the note, and of a line of the legend [inches]."""
SAMPLE = 0.52
"""Width of a sample of a line in the legend, with the gaps around it [inches]."""


class Line(NamedTuple):
    """A mean curve with its band: mean, low and high, each [levels]. NaN in low draws no band."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Panel(NamedTuple):
    """One plot.

    Attributes:
        title: above the plot.
        x: [levels].
        axes: titles of the x and the y axis. Panels with the same title of y have the same scale.
        lines: named methods by title, at most MOST in all panels of a figure, in the same order in each.
        others: mean curves of the other methods, drawn in pale grey without names.
    """

    title: str
    x: np.ndarray
    axes: tuple[str, str]
    lines: Mapping[str, Line]
    others: Sequence[np.ndarray] = ()


def curves(panels: Sequence[Panel], *, note: str = "") -> Figure:
    """All panels in a figure for print, 183 mm wide (89 mm for a single panel), with one legend below.

    A method has the same colour and dashes in all panels. The legend lists methods in the order of the panels' lines.

    Args:
        panels: at least one.
        note: a line above all panels, for example that the run is partial.

    Raises:
        ValueError: no panels, or more than MOST named methods.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    if not panels or len(names) > MOST:
        raise ValueError(f"expected at least one panel and at most {MOST} named methods")
    import_matplotlib()
    from matplotlib import rc_context

    texts = [text for panel in panels for text in (panel.title, *panel.axes, *panel.lines)]
    _, families = drawable(" ".join([*texts, note]))
    styles = {name: {"color": COLOURS[i], "linestyle": DASHES[i % len(DASHES)]} for i, name in enumerate(names)}
    with rc_context({"text.parse_math": False, "font.family": families, "font.size": TITLE}):
        return _figure(panels, styles, note)


def _figure(panels: Sequence[Panel], styles: Mapping[str, dict[str, Any]], note: str) -> Figure:
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from vitjax.plots.print_figure import PrintFigure

    across = len(panels) if len(panels) < 4 else 2 if len(panels) == 4 else 3
    rows, width = ceil_div(len(panels), across), MM * (ONE_COLUMN if across == 1 else TWO_COLUMNS)
    others = max(len(panel.others) for panel in panels)
    entries = _entries(styles, others, width)
    per_line = max(1, int(width / (SAMPLE + max(text_width(name, TITLE) for name, _ in entries))))
    per_line = ceil_div(len(entries), ceil_div(len(entries), per_line))  # lines of about equal length
    legend = LEGEND_LINE * (ceil_div(len(entries), per_line) + 1)
    head = HEAD if note else 0.05
    height = head + rows * HEIGHT + legend
    room = (0.0, legend / height, 1.0, 1 - (legend + head) / height)
    layout = ConstrainedLayoutEngine(rect=room, w_pad=0.05, h_pad=0.05)
    figure = PrintFigure((width, height), dpi=DPI, layout=layout, facecolor="white")
    grid = figure.subplots(rows, across, squeeze=False).ravel()
    scales = _scales(panels)
    for axes, panel in zip(grid, panels, strict=False):
        title, _ = drawable(fit(panel.title, 0.8 * width / across, TITLE, bold=True))
        _draw(axes, panel._replace(title=title), styles, scales[panel.axes[1]])
    for axes in grid[len(panels) :]:
        axes.remove()
    if note:
        figure.text(0.08 / width, 1 - 0.17 / height, fit(note, width - 0.16, TITLE), color=MUTED)
    _legend(figure, entries, per_line)
    return figure


def _scales(panels: Sequence[Panel]) -> dict[str, tuple[float, float]]:
    """Limits of y by title of y, with a margin of 4 %."""
    scales = {}
    for title in {panel.axes[1] for panel in panels}:
        drawn = [panel for panel in panels if panel.axes[1] == title]
        values = np.concatenate(
            [np.ravel(values) for panel in drawn for values in (*panel.others, *map(np.stack, panel.lines.values()))]
        )
        values = values[np.isfinite(values)]
        low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
        margin = 0.04 * (high - low) or 0.5
        scales[title] = float(low - margin), float(high + margin)
    return scales


def _draw(axes: Axes, panel: Panel, styles: Mapping[str, dict[str, Any]], scale: tuple[float, float]) -> None:
    x = np.asarray(panel.x, float)
    for mean in panel.others:
        axes.plot(x, mean, color=PALE, linewidth=0.6, zorder=1)
    opacity = min(0.16, 0.5 / max(1, len(panel.lines)))  # many bands of full strength hide one another
    for name, line in panel.lines.items():
        if np.isfinite(line.low).all():
            axes.fill_between(x, line.low, line.high, color=styles[name]["color"], alpha=opacity, linewidth=0, zorder=2)
        axes.plot(x, line.mean, linewidth=1.1, zorder=3, **styles[name])
    axes.set_xlim(x.min(), x.max() if x.max() > x.min() else x.min() + 1)
    axes.set_ylim(scale)
    axes.set_title(panel.title, fontsize=TITLE, fontweight="bold", color=INK, loc="left", pad=4, wrap=True)
    axes.set_xlabel(panel.axes[0], color=INK, labelpad=2)
    axes.set_ylabel(panel.axes[1], color=INK, labelpad=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(labelsize=TICKS, labelcolor=INK, color=MUTED, length=2, width=0.6, pad=2)
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)


def _entries(styles: Mapping[str, dict[str, Any]], others: int, width: float) -> list[tuple[str, dict[str, Any]]]:
    """Names and line styles of the legend. A name is at most as wide as half of the figure [inches]."""
    entries = [(drawable(fit(name, width / 2 - SAMPLE, TITLE))[0], style) for name, style in styles.items()]
    if others:
        entries.append((f"{others} other methods" if others > 1 else "1 other method", {"color": PALE}))
    return entries


def _legend(figure: Figure, entries: Sequence[tuple[str, dict[str, Any]]], per_line: int) -> None:
    """One legend below all panels, read from left to right and then down."""
    from matplotlib.lines import Line2D

    # matplotlib fills a legend column by column
    order = [i for start in range(per_line) for i in range(start, len(entries), per_line)]
    figure.legend(
        [Line2D([], [], linewidth=1.3, **entries[i][1]) for i in order],
        [entries[i][0] for i in order],
        ncols=per_line,
        loc="lower center",
        frameon=False,
        fontsize=TITLE,
        labelcolor=INK,
        handlelength=2.6,
        columnspacing=1.4,
        borderaxespad=0.2,
    )
