"""A figure as a page: one axes in inches from the top left, pictures and fitted text placed on it, saving.

Placed by hand, a grid of a thousand cells costs no more than its images; with an axes per cell and
matplotlib's layout engines it takes minutes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vitjax.plots.overlay import scheme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONT = "DejaVu Sans"  # comes with matplotlib, so that pictures are the same everywhere
INK, MUTED = "#1a1a1a", "#6e6e6e"
LINE = 1.25  # line height in font sizes
MIDDLE = 0.36  # half the height of a capital
PNG_DPI, PDF_DPI = 150, 200
MARGIN = 0.16
PLATE = {"boxstyle": "round,pad=0.35", "facecolor": "#000000b0", "edgecolor": "none"}
Box = tuple[float, float, float, float]
"""x, y of the top left corner, width, height; inches."""


def page(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty white page and the axes that covers it: x to the right, y downwards, inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Whole pixels, or the edges of pictures fall between two and blur.
    width, height = (np.ceil(side * PNG_DPI) / PNG_DPI for side in (width, height))
    figure = Figure((width, height), dpi=PNG_DPI, facecolor="white")
    figure.suppressComposite = True  # else the PDF holds one page-sized raster instead of the pictures
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def snap(inches: float) -> float:
    """The nearest whole number of pixels."""
    return round(inches * PNG_DPI) / PNG_DPI


def picture(axes: Axes, data: np.ndarray, box: Box, *, sharp: bool = False, **mapping: Any) -> None:
    """Draw uint8 [H, W, 3], or [h, w] under `cmap`, `vmin`, `vmax`; `sharp` shows each cell as a square."""
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


def bar(axes: Axes, box: Box, colormap: str, low: float, high: float, *, size: float = 7) -> None:
    """A vertical colour bar, values right of it and, where they are tiny or huge, a power of ten above."""
    from matplotlib.ticker import MaxNLocator

    x, y, width, height = box
    flat = not high > low
    ramp = np.zeros((1, 1)) if flat else np.linspace(1, 0, 256)[:, None]
    picture(axes, ramp, box, cmap=scheme(colormap), vmin=0, vmax=1)
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
) -> None:
    """Lines of text as given (a "$" in a class name is no formula).

    y is the baseline of the first or the last line, or the middle of the block. Baselines are set here, since
    matplotlib aligns and spaces lines by the letters in them: "gem" and "tall" side by side look askew.
    """
    lines = text.split("\n")
    step = LINE * size / 72
    first = y - {"first": 0.0, "last": 1.0, "middle": 0.5}[at] * (len(lines) - 1) * step
    first += MIDDLE * size / 72 if at == "middle" else 0
    weight = "bold" if bold else "normal"
    for row, line in enumerate(lines):
        axes.text(
            x,
            first + row * step,
            line,
            fontsize=size,
            family=FONT,
            weight=weight,
            color=color,
            ha=ha,
            va="baseline",
            parse_math=False,
            bbox=PLATE if plate else None,
        )


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width in inches of one line."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(family=FONT, size=size, weight="bold" if bold else "normal")
    points, _, _ = TextToPath().get_text_width_height_descent(text, font, False)
    return 1.03 * points / 72  # hinting to the pixel grid widens a line by up to 3 %


_WORD = r"\(*[^ \t_,/()-]*[ \t_,/)-]+|\(*[^ \t_,/()-]+|\(+"
"""With what may stand at the end of a line; a parenthesis opens on the next one, a no-break space is no end."""


def fit(text: str, inches: float, size: float, *, bold: bool = False, lines: int = 1) -> str:
    """The text broken at spaces and punctuation into at most `lines` no wider than `inches`, cut with "…".

    Line breaks in the text stay; where room is short, what comes before them is cut and not what follows.
    """

    def wide(line: str) -> bool:
        return text_width(line.rstrip(), size, bold) > inches

    def cut(line: str) -> str:
        while line and wide(line + "…"):
            line = line[:-1].rstrip(" ,_")
        return line + "…"

    paragraphs = text.split("\n")
    rows: list[str] = []
    for index, paragraph in enumerate(paragraphs):
        broken = [""]
        for word in re.findall(_WORD, paragraph):
            if broken[-1] and wide(broken[-1] + word):
                broken.append("")
            broken[-1] += word
        room = max(1, lines - len(rows) - (len(paragraphs) - 1 - index))
        if len(broken) > room:
            broken[room - 1 :] = [cut("".join(broken[room - 1 :]))]
        rows += [cut(row) if wide(row) else row.rstrip() for row in broken]
    return "\n".join(rows[:lines])


def save(figure: Figure, path: str | Path, *, pdf: bool = False) -> list[Path]:
    """Write the figure as PNG at 150 dpi and, if asked, as a PDF with vector text beside it.

    The same figure gives the same bytes: nothing in the files tells when or by which version they were made.
    Fonts are embedded as TrueType, so that text can be selected and edited. Directories are created.

    Args:
        path: the PNG; ".png" is added where it is missing. The PDF's name differs in the ending only.

    Returns:
        The paths written.
    """
    import matplotlib

    path = Path(path)
    if path.suffix.lower() != ".png":
        path = path.with_name(path.name + ".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path]
    figure.savefig(path, format="png", dpi=PNG_DPI, metadata={"Software": None})
    if pdf:
        written.append(path.with_suffix(".pdf"))
        with matplotlib.rc_context({"pdf.fonttype": 42}):
            nothing = dict.fromkeys(("Creator", "Producer", "CreationDate"))
            figure.savefig(written[-1], format="pdf", dpi=PDF_DPI, metadata=nothing)
    return written
