"""Figures as pages with a single axes in inches from the top left: placing images and text, and saving.

Everything is placed explicitly. A grid of a thousand cells then costs no more than its images; with one axes per cell
and matplotlib's layout engines it takes minutes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vitjax.output.files import make_folder, write_file
from vitjax.plots.backend import import_matplotlib
from vitjax.plots.fonts import advance, drawable
from vitjax.plots.overlay import scheme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

INK, MUTED = "#1a1a1a", "#5c5c5c"
LINE = 1.2  # line height, in font sizes
MIDDLE = 0.36  # half the height of a capital letter, in font sizes
DPI = 300
MM = 1 / 25.4  # inches
ONE_COLUMN, TWO_COLUMNS = 89.0, 183.0  # widths of figures in a journal [mm]
TITLE, SIZE, SMALL = 7.0, 6.5, 6.0  # type [points]
MARGIN = 1.2 * MM
PLATE = {"boxstyle": "round,pad=0.3", "facecolor": "#000000b0", "edgecolor": "none"}
Box = tuple[float, float, float, float]
"""x, y of the top left corner, width, height; inches."""


def page(width: float, height: float, dpi: float = DPI) -> tuple[Figure, Axes]:
    """An empty white page and the axes that covers it: x to the right, y downwards, inches."""
    import_matplotlib()
    from vitjax.plots.print_figure import PrintFigure

    height = np.ceil(height * dpi) / dpi  # a whole number of pixels
    figure = PrintFigure((width, height), dpi=dpi, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def snap(inches: float) -> float:
    """A length in inches, rounded to a whole number of pixels: edges of images between two pixels would blur."""
    return round(inches * DPI) / DPI


def draw_image(axes: Axes, data: np.ndarray, box: Box, *, sharp: bool = False, **mapping: Any) -> None:
    """Draw an image in a box.

    Args:
        data: uint8 [H, W, 3], or values [h, w] that are mapped to colours by `cmap`, `vmin` and `vmax`.
        box: x, y, width, height [inches].
        sharp: nearest-neighbour interpolation, which draws each value as a rectangle.
        mapping: `cmap`, `vmin`, `vmax` of matplotlib's `AxesImage`.
    """
    from matplotlib.image import AxesImage

    x, y, width, height = box
    limits = {key: mapping.pop(key) for key in ("vmin", "vmax") if key in mapping}
    image = AxesImage(
        axes,
        extent=(x, x + width, y + height, y),
        origin="upper",
        interpolation="nearest" if sharp else "antialiased",
        **mapping,
    )
    image.set_data(data)
    image.set_clim(**limits)
    axes.add_image(image)


def bar(axes: Axes, box: Box, colormap: str | Colormap, low: float, high: float, *, size: float = 7) -> None:
    """A vertical colour bar with tick labels to its right.

    If the larger magnitude of low and high is below 1e-3 or at least 1e4, labels are scaled by a power of ten, which
    is written above the bar. Equal limits draw a single colour and one label.

    Args:
        box: x, y, width, height [inches].
        low, high: values at the bottom and at the top of the bar.
        size: font size [points].
    """
    from matplotlib.ticker import MaxNLocator

    x, y, width, height = box
    flat = not high > low
    ramp = np.zeros((1, 1)) if flat else np.linspace(1, 0, 256)[:, None]
    draw_image(axes, ramp, box, cmap=scheme(colormap), vmin=0, vmax=1)
    largest = max(abs(low), abs(high))
    power = int(np.floor(np.log10(largest))) if largest > 0 else 0
    power = 0 if -3 <= power <= 3 else power
    low, high = low / 10.0**power, high / 10.0**power
    locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    ticks = [low] if flat else [t for t in locator.tick_values(low, high) if low <= t <= high]
    step = abs(ticks[-1] - ticks[0]) / (len(ticks) - 1) if len(ticks) > 1 else abs(low)
    decimals = next((d for d in range(6) if abs(round(step, d) - step) < 1e-3 * step), 6) if step else 0
    for tick in ticks:
        at = y + height * (0.5 if flat else (high - tick) / (high - low))
        axes.plot([x + width, x + width + 0.04], [at, at], color=MUTED, linewidth=0.6)
        label = f"{tick:.{decimals}f}".replace("-", "−")
        write(axes, x + width + 0.07, at, label, size=size, color=MUTED, at="middle")
    if power:
        exponent = str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        write(axes, x, y - 0.07, f"×10{exponent}", size=size, color=MUTED)


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    bold: bool = False,
    color: str = INK,
    ha: Literal["left", "center", "right"] = "left",
    at: Literal["first", "middle", "last"] = "first",
    plate: bool = False,
    upwards: bool = False,
) -> None:
    """Draw lines of text without interpreting them: a "$" in a class name starts no formula.

    Baselines are computed here, because matplotlib aligns and spaces lines by the letters in them, so that "gem" and
    "tall" side by side would not be level.

    Args:
        x, y: position [inches].
        size: font size [points].
        ha: horizontal alignment at x.
        at: what y is: the baseline of the "first" or "last" line, or the "middle" of all lines.
        plate: draw a dark rounded rectangle behind the text.
        upwards: turn the text by 90 degrees, to be read from below; `at` then says what x is, and `ha` aligns at y.
    """
    text, families = drawable(text)
    lines = text.split("\n")
    step = LINE * size / 72
    first = -{"first": 0.0, "last": 1.0, "middle": 0.5}[at] * (len(lines) - 1) * step
    first += MIDDLE * size / 72 if at == "middle" else 0
    for row, line in enumerate(lines):
        down = first + row * step
        axes.text(
            x + (down if upwards else 0),
            y + (0 if upwards else down),
            line,
            fontsize=size,
            family=families,
            weight="bold" if bold else "normal",
            color=color,
            ha=ha,
            va="baseline",
            rotation=90 if upwards else 0,
            rotation_mode="anchor",
            parse_math=False,
            bbox=PLATE if plate else None,
        )


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width of one line of text [inches]."""
    return 1.03 * size / 72 * sum(advance(character, bold) for character in text)  # hinting widens a line by up to 3 %


_WORD = (
    r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]"
    r"|\(*[^ \t_,/()=\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef-]*[ \t_,/)=-]+"
    r"|\(*[^ \t_,/()=\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef-]+|\(+"
)
"""A letter of a script without spaces, or a word with the separators that may end a line. "(" belongs to the next word;
a no-break space ends no word."""


def fit(text: str, inches: float, size: float, *, bold: bool = False, lines: int = 1) -> str:
    """The text broken into at most `lines` lines no wider than `inches`, truncated with "…" if it does not fit.

    Lines are broken at spaces and punctuation; line breaks in the text are kept. If there are too few lines, earlier
    paragraphs are truncated so that later ones remain.
    """

    def too_wide(line: str) -> bool:
        return text_width(line.rstrip(), size, bold) > inches

    def cut(line: str) -> str:
        widths = [text_width(character, size, bold) for character in line]
        room = inches - text_width("…", size, bold)
        return line[: int(np.searchsorted(np.cumsum(widths), room, side="right"))].rstrip(" ,_") + "…"

    paragraphs = text.split("\n")
    fitted: list[str] = []
    for index, paragraph in enumerate(paragraphs):
        broken = [""]
        for word in re.findall(_WORD, paragraph):
            if broken[-1] and too_wide(broken[-1] + word):
                broken.append("")
            broken[-1] += word
        room = max(1, lines - len(fitted) - (len(paragraphs) - 1 - index))
        if len(broken) > room:
            broken[room - 1 :] = [cut("".join(broken[room - 1 :]))]
        fitted += [cut(line) if too_wide(line) else line.rstrip() for line in broken]
    return "\n".join(fitted[:lines])


def fit_together(
    texts: Sequence[str], inches: float, size: float, *, bold: bool = False, lines: int = 1, smallest: float = 5.0
) -> tuple[list[str], float]:
    """The texts as `fit` breaks them, at the largest common size from `size` down to `smallest` that cuts none of them.

    Returns:
        The texts, and the size; `smallest` if some are cut even then.
    """
    for step in range(int(4 * (size - smallest)) + 1):
        at = size - step / 4
        fitted = [fit(text, inches, at, bold=bold, lines=lines) for text in texts]
        if all(map(_is_whole, fitted, texts)):
            return fitted, at
    shortened = [text if _is_whole(new, text) else _end_apart(text) for new, text in zip(fitted, texts, strict=True)]
    return [fit(text, inches, smallest, bold=bold, lines=lines) for text in shortened], smallest


def _is_whole(fitted: str, text: str) -> bool:
    return fitted.count("…") <= text.count("…")


def _end_apart(text: str) -> str:
    """A text with what it ends with in parentheses, such as a probability, on a line of its own, which is not cut."""
    start, space, end = text.rpartition(" (")
    return f"{start}\n({end}" if space and len(end) < 12 else text


def save(figure: Figure, path: str | Path, *, pdf: bool = False) -> list[Path]:
    """Write the figure as a PNG at its own resolution, and optionally as a PDF with vector text.

    Equal figures give equal bytes: the files contain no dates and no versions. The PDF embeds TrueType fonts, so that
    its text can be selected and edited. Directories are created.

    Args:
        path: of the PNG; ".png" is appended if missing.
        pdf: also write a PDF, under the same name with the suffix ".pdf".

    Returns:
        The paths written.

    Raises:
        OutputError: a file cannot be written; a file of its name is kept.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        path = path.with_name(path.name + ".png")
    make_folder(path.parent)
    png = partial(figure.savefig, format="png", metadata={"Software": None})
    written = [write_file(path, png)]
    if pdf:
        no_metadata = dict.fromkeys(("Creator", "Producer", "CreationDate"))
        vector = partial(figure.savefig, format="pdf", metadata=no_metadata)
        written.append(write_file(path.with_suffix(".pdf"), vector))
    return written
