"""Statistics as LaTeX tables for a paper: booktabs, best in bold, second underlined, no wider than a column of text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from vitjax.report.latex_text import escape, width, wrapped
from vitjax.report.layout import BEST, SECOND, Block, Cell, Heading, score_blocks
from vitjax.report.style import TableStyle
from vitjax.report.summary import Summary
from vitjax.shapes import ceil_div

LINE_WIDTH = 345.0
"""\\linewidth of LaTeX's article class at 10 pt [points]."""
METHOD_WIDTH = 112.0
"""Longer titles of methods are broken into lines [points]."""
FIT = (
    r"\ifdim\wd4>\linewidth\sbox4{\resizebox{\linewidth}{!}{\usebox4}}\fi",
    r"\ifdim\dimexpr\ht4+\dp4\relax>.8\textheight\sbox4{\resizebox*{!}{.8\textheight}{\usebox4}}\fi",
    r"\usebox4",
)
"""Box 4, scaled down if it is wider or higher than the text. \resizebox works in box 0."""
PAGE_HEIGHT, HEAD_HEIGHT, LINE_HEIGHT, STACKED_HEIGHT = 480.0, 30.0, 10.0, 12.5
"""Of a page without the caption, of rules and gaps of a tabular, of a line in it, and of one with limits of intervals
one above the other [points]."""
INDENT = 8.0
"""Of their second and further lines, \\quad [points]."""
GAP = 8.0
"""Between two columns, 2 \\tabcolsep [points]."""


class Setting(NamedTuple):
    """How a table is set: the size of its type, and whether limits of intervals stand one above the other."""

    size: str
    stacked: bool


SETTINGS = (
    Setting("footnotesize", False),
    Setting("scriptsize", False),
    Setting("footnotesize", True),
    Setting("scriptsize", True),
)
"""In order of preference."""


def latex(summary: Summary, style: TableStyle | None = None) -> str:
    r"""One `table` for each family of metrics, \label{tab:FAMILY}; those columns that do not fit stand below.

    Columns are packed by estimated widths for \linewidth of an article at 10 pt. Where a table is wider than the text
    nevertheless, as in a narrow column, LaTeX scales it down. What is higher than a page goes on under its number.

    Raises:
        UnknownNameError: a column of the style is not one of the run.
    """
    style = style or TableStyle()
    lines = [r"% Needs \usepackage{booktabs} and \usepackage{graphicx} in the preamble."]
    if summary.mark:
        lines.append(f"% {summary.mark}")
    taken: set[str] = set()
    for block in score_blocks(summary, style):
        lines += ["", *_table(summary, block, style, _label(block.family, taken))]
    return "\n".join(lines) + "\n"


def _label(family: str, taken: set[str]) -> str:
    """tab:FAMILY in letters, digits and hyphens; with a number if another table has this label."""
    plain = "tab:" + (re.sub(r"[^a-z0-9]+", "-", family.lower()).strip("-") or "metrics")
    numbered = (plain, *(f"{plain}-{number}" for number in range(2, len(taken) + 2)))
    label = next(label for label in numbered if label not in taken)
    taken.add(label)
    return label


def _table(summary: Summary, block: Block, style: TableStyle, label: str) -> list[str]:
    setting, parts = _packed(block)
    caption = [rf"\caption{{{_caption(summary, block, style, setting)}}}", rf"\label{{{label}}}"]
    lines: list[str] = []
    for number, on_page in enumerate(_pages(block, parts, setting)):
        lines += [r"\begin{table}[tbp]", r"\centering", r"\setlength{\belowcaptionskip}{5pt}"]
        lines += [r"\addtocounter{table}{-1}", rf"\caption{{{escape(block.title)}, continued.}}"] if number else caption
        lines += [rf"\{setting.size}", r"\setlength{\tabcolsep}{4pt}"]
        lines += [r"\renewcommand{\arraystretch}{1.3}"] if setting.stacked else []
        for place, part in enumerate(on_page):
            lines += [r"\par\medskip"] if place else []
            lines += [
                r"\sbox4{%",
                *_tabular(block, part, setting),
                "}%",
                *FIT,
            ]
        lines.append(r"\end{table}")
    return lines


def _pages(block: Block, parts: Sequence[range], setting: Setting) -> list[list[range]]:
    """Parts of columns by page. A table that is higher than a page goes on under the same number."""
    rows = sum(len(wrapped(row.title, METHOD_WIDTH, setting.size)) for row in block.rows)
    line = STACKED_HEIGHT if setting.stacked else LINE_HEIGHT
    most = max(1, int(PAGE_HEIGHT / (HEAD_HEIGHT + 3 * LINE_HEIGHT + line * rows)))
    return [list(parts[start : start + most]) for start in range(0, len(parts), most)]


def _caption(summary: Summary, block: Block, style: TableStyle, setting: Setting) -> str:
    mark = f" ({summary.mark})" if summary.mark else ""
    sentences = [f"{block.title} on {summary.coverage.listed} images{mark}."]
    shown = any(cell.low for row in block.rows for cell in row.cells)
    if style.intervals and shown:
        where = "small numbers" if setting.stacked else "in brackets"
        sentences.append(f"Intervals ({where}): {100 * summary.ci:g} % bootstrap over images.")
    if any(cell.rank for row in block.rows for cell in row.cells):
        sentences.append("Best in bold, second underlined.")
    return escape(" ".join([*sentences, block.note]))


def _packed(block: Block) -> tuple[Setting, list[range]]:
    """The first of the settings with the fewest parts, and the parts, which have about equally many columns."""
    return min(((setting, _parts(block, setting)) for setting in SETTINGS), key=lambda packed: len(packed[1]))


def _parts(block: Block, setting: Setting) -> list[range]:
    """Columns that fit side by side; a single column may be too wide."""
    left, widths = _widths(block, setting)
    count = len(widths)
    for parts in range(1, count + 1):
        size = ceil_div(count, parts)
        ranges = [range(start, min(start + size, count)) for start in range(0, count, size)]
        if all(left + sum(widths[i] for i in part) <= LINE_WIDTH for part in ranges):
            break
    return ranges


def _widths(block: Block, setting: Setting) -> tuple[float, list[float]]:
    """Widths of the column of methods and of the others, each with its gap [points]."""
    size = setting.size
    titles = [wrapped(row.title, METHOD_WIDTH, size) for row in block.rows]
    left = max(width(line, size) + (INDENT if at else 0) for lines in titles for at, line in enumerate(lines))
    columns = []
    for i, heading in enumerate(block.headings):
        numbers = max(_cell_width(row.cells[i], setting) for row in block.rows)
        columns.append(GAP + max(numbers, *(width(line, size) for line in _heading_lines(heading, numbers, size))))
    return left, columns


def _cell_width(cell: Cell, setting: Setting) -> float:
    own = width(cell.value, setting.size) * (1.15 if cell.rank == BEST else 1)
    if not cell.low:
        return own
    if setting.stacked:
        return own + 2 + max(width(cell.low, "tiny"), width(cell.high, "tiny"))
    return own + 2 + width(f"[{cell.low}, {cell.high}]", "6 pt")


def _heading_lines(heading: Heading, points: float, size: str) -> list[str]:
    words = wrapped(heading.title, max(points, 30), size)
    if heading.unit:
        return [*words, f"({heading.unit}) {heading.arrow}".rstrip()]
    return [*words[:-1], f"{words[-1]} {heading.arrow}".rstrip()]


def _tabular(block: Block, part: range, setting: Setting) -> list[str]:
    """Numbers are right-aligned at the intervals, which are a column of their own."""
    headings = [_heading(block, i, setting) for i in part]
    alignments = [r"r@{\,}l" if _has_intervals(block, i) else "r" for i in part]
    rows = []
    for row in block.rows:
        title = _stack(wrapped(row.title, METHOD_WIDTH, setting.size), "[t]", "l", r"\quad ")
        cells = [_cell(row.cells[i], setting, interval=_has_intervals(block, i)) for i in part]
        rows.append(" & ".join([title, *cells]) + r" \\")
    return [
        rf"\begin{{tabular}}{{@{{}}l{''.join(alignments)}@{{}}}}",
        r"\toprule",
        " & ".join(["", *headings]) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}%",
    ]


def _heading(block: Block, i: int, setting: Setting) -> str:
    numbers = max(_cell_width(row.cells[i], setting) for row in block.rows)
    lines = _heading_lines(block.headings[i], numbers, setting.size)
    return rf"\multicolumn{{{1 + _has_intervals(block, i)}}}{{c}}{{{_stack(lines, '[b]', 'c')}}}"


def _has_intervals(block: Block, i: int) -> bool:
    return any(row.cells[i].low for row in block.rows)


def _stack(lines: Sequence[str], position: str, alignment: str, indent: str = "") -> str:
    """Lines of text one below the other in a cell; all but the first are indented."""
    if len(lines) == 1:
        return escape(lines[0])
    text = rf"\\{indent}".join(map(escape, lines))
    return (
        rf"\renewcommand{{\arraystretch}}{{1}}\begin{{tabular}}{position}{{@{{}}{alignment}@{{}}}}{text}\end{{tabular}}"
    )


def _cell(cell: Cell, setting: Setting, *, interval: bool) -> str:
    """A number, and its interval in a column of its own if any number of the column has one."""
    value = escape(cell.value)
    value = {BEST: rf"\textbf{{{value}}}", SECOND: rf"\underline{{{value}}}"}.get(cell.rank, value)
    if not interval:
        return value
    if not cell.low:
        return f"{value} &"
    if setting.stacked:
        low, high = (limit.replace("−", "-") for limit in (cell.low, cell.high))
        return rf"{value} & {{\tiny$^{{{high}}}_{{{low}}}$}}"
    return rf"{value} & {{\fontsize{{6}}{{7}}\selectfont[{escape(cell.low)}, {escape(cell.high)}]}}"
