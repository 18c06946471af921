"""Curves over levels: one panel per curve, one line per method, with bands for the highlighted methods."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vitjax.plots.figures import INK, MARGIN, MUTED, fit, page, write
from vitjax.plots.fonts import main_family
from vitjax.shapes import ceil_div

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 8
"""Lines per panel that can be distinguished by colour and dashes."""
COLOURS = ("#1f5fbf", "#d1491b", "#178054", "#8a3fb0", "#a87400", "#0f93a8", "#c2347d", "#333333")
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
PALE, GRID = "#c9ccd1", "#e9ebee"
WIDTH, HEIGHT = 3.5, 2.5
"""Size of a plot [inches]."""
LEGEND, GAP, LEFT, HEAD, FOOT = 1.75, 0.15, 0.55, 0.42, 0.5
"""Widths and heights around a plot [inches]: legend, gap before it, left axis, title, bottom axis."""


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
        x_label: label of the x axis.
        lines: highlighted methods by label, at most MOST.
        others: mean curves of the other methods by label, drawn in pale grey without names.
    """

    title: str
    x: np.ndarray
    x_label: str
    lines: Mapping[str, Line]
    others: Mapping[str, np.ndarray] = {}


def prominent(means: Mapping[str, np.ndarray], always: Collection[str] = (), most: int = MOST) -> list[str]:
    """Labels of the curves to highlight, in the order of `means`.

    All curves if there are at most `most`; else those in `always`, then the highest and the lowest curves in turn, by
    the mean over levels. Taking both ends makes the choice independent of which direction is better. Curves with NaN or
    infinities are not chosen, except from `always`.

    Args:
        means: mean curves [levels] by label.
        always: labels to highlight in any case.
        most: largest number of labels returned.
    """
    if len(means) <= most:
        return list(means)
    chosen = [label for label in means if label in always][:most]
    defined = [label for label in means if label not in chosen and np.isfinite(means[label]).all()]
    ranked = sorted(defined, key=lambda label: float(np.mean(means[label])), reverse=True)
    while len(chosen) < most and ranked:
        chosen.append(ranked.pop(0))
        if len(chosen) < most and ranked:
            chosen.append(ranked.pop())
    return [label for label in means if label in chosen]


def curves(panels: Sequence[Panel], *, note: str = "", across: int = 2) -> Figure:
    """All panels on one page, each with its own legend, sorted by the height of the lines.

    A method has the same colour and dashes in all panels, unless another method of a panel already uses them.

    Args:
        panels: at least one, each with at most MOST lines.
        note: a line above all panels, for example that the run is partial.
        across: panels per row.

    Raises:
        ValueError: no panels, or more than MOST lines in a panel.
    """
    if not panels or any(len(panel.lines) > MOST for panel in panels):
        raise ValueError(f"expected at least one panel, each with at most {MOST} lines")
    across = min(across, len(panels))
    rows = ceil_div(len(panels), across)
    cell = LEFT + WIDTH + GAP + LEGEND, HEAD + HEIGHT + FOOT
    top = MARGIN + (0.3 if note else 0)
    figure, sheet = page(2 * MARGIN + across * cell[0], top + rows * cell[1] + MARGIN)
    if note:
        write(sheet, MARGIN, MARGIN + 0.13, fit(note, across * cell[0], 9), size=9, color=MUTED)
    for i, (panel, styles) in enumerate(zip(panels, _styles(panels), strict=True)):
        x, y = MARGIN + (i % across) * cell[0], top + (i // across) * cell[1]
        title = fit(panel.title, WIDTH + GAP + LEGEND - 0.1, 10, bold=True)
        write(sheet, x + LEFT, y + HEAD - 0.14, title, size=10, bold=True)
        axes = _axes(figure, x + LEFT, y + HEAD)
        _draw(axes, panel, styles)
        _legend(sheet, panel, styles, x + LEFT + WIDTH + GAP, y + HEAD)
    return figure


def _styles(panels: Sequence[Panel]) -> list[dict[str, dict]]:
    """Colour and dashes of each label of each panel.

    All panels together may name more than MOST methods; within a panel, no two methods look alike.
    """
    known: dict[str, int] = {}
    styles = []
    for panel in panels:
        own: dict[str, int] = {}
        for label in sorted(panel.lines, key=lambda label: label not in known):
            taken = set(own.values())
            free = next(number for number in range(MOST) if number not in taken)
            own[label] = known[label] if label in known and known[label] not in taken else free
            known.setdefault(label, own[label])
        styles.append({k: {"color": COLOURS[i], "linestyle": DASHES[i % len(DASHES)]} for k, i in own.items()})
    return styles


def _axes(figure: Figure, x: float, y: float) -> Axes:
    """Axes of one plot; x, y: its top left corner [inches from the top left of the page]."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((x / width, 1 - (y + HEIGHT) / height, WIDTH / width, HEIGHT / height))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(labelsize=8, labelcolor=INK, color=MUTED, length=2.5, labelfontfamily=main_family())
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    return axes


def _draw(axes: Axes, panel: Panel, styles: Mapping[str, dict]) -> None:
    x = np.asarray(panel.x, float)
    for mean in panel.others.values():
        axes.plot(x, mean, color=PALE, linewidth=0.8, zorder=1)
    for label, line in panel.lines.items():
        style = styles[label]
        if np.isfinite(line.low).all():
            axes.fill_between(x, line.low, line.high, color=style["color"], alpha=0.14, linewidth=0, zorder=2)
        axes.plot(x, line.mean, linewidth=1.5, zorder=3, **style)
    axes.set_xlim(x.min(), x.max() if x.max() > x.min() else x.min() + 1)
    axes.set_xlabel(panel.x_label, fontsize=8.5, color=INK, family=main_family(), labelpad=3, parse_math=False)


def _legend(sheet: Axes, panel: Panel, styles: Mapping[str, dict], x: float, y: float) -> None:
    """Line samples and names to the right of the plot, the highest line first."""
    ranked = sorted(panel.lines, key=lambda label: -np.nan_to_num(np.mean(panel.lines[label].mean), nan=-np.inf))
    at = y + 0.1
    for label in ranked:
        text = fit(label, LEGEND - 0.45, 8, lines=2)
        half = 0.07 * text.count("\n")
        sheet.plot([x, x + 0.32], [at + half, at + half], linewidth=1.7, clip_on=False, **styles[label])
        write(sheet, x + 0.4, at + half, text, size=8, at="middle")
        at += 0.21 + 2 * half
    if panel.others:
        sheet.plot([x, x + 0.32], [at, at], linewidth=1, color=PALE)
        write(sheet, x + 0.4, at, f"{len(panel.others)} others", size=8, color=MUTED, at="middle")
