"""Statistics as LaTeX tables for a paper: booktabs, best in bold, second underlined."""

from __future__ import annotations

from collections.abc import Sequence

from vitjax.report.layout import BEST, SECOND, Block, Cell, Heading, blocks
from vitjax.report.summary import Summary

COLUMNS = 4
"""Statistics per table; more do not fit the width of a page."""
ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # at the start of a row LaTeX would read it as the optional argument of the line break before it
    "]": "{]}",
    "−": "$-$",
    "–": "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


def latex(summary: Summary) -> str:
    r"""One `table` environment for each part of a block with at most four statistics; requires only booktabs."""
    lines = [r"% Needs \usepackage{booktabs} in the preamble."]
    if summary.mark:
        lines.append(f"% {summary.mark}")
    about = (
        f"{100 * summary.ci:g} % bootstrap intervals over {summary.coverage.listed} images in brackets; "
        "best in bold, second underlined."
    )
    for block in blocks(summary):
        scores = [i for i, heading in enumerate(block.headings) if not heading.cost]
        parts = [scores[start : start + COLUMNS] for start in range(0, len(scores), COLUMNS)]
        # Columns of costs are narrow enough to fit beside four statistics.
        parts[-1] += [i for i, heading in enumerate(block.headings) if heading.cost]
        for part in parts:
            lines += ["", *_table(block, part, about, summary.mark)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """`text` with LaTeX's special characters escaped; characters that its default fonts may lack become "?"."""
    one_line = " ".join(text.split())
    return "".join(ESCAPES.get(c, c if c.isprintable() and ord(c) < 0x250 else "?") for c in one_line)


def _table(block: Block, part: Sequence[int], about: str, mark: str) -> list[str]:
    headings = [block.headings[i] for i in part]
    title = block.title + (f" ({mark})" if mark else "")
    return [
        r"\begin{table}[tbp]",
        r"\centering",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{escape(title)}. {escape(about)}}}",
        rf"\begin{{tabular}}{{@{{}}l{'r' * len(headings)}@{{}}}}",
        r"\toprule",
        "method & " + " & ".join(_heading(heading) for heading in headings) + r" \\",
        r"\midrule",
        *(f"{escape(method)} & " + " & ".join(_cell(cells[i]) for i in part) + r" \\" for method, cells in block.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _heading(heading: Heading) -> str:
    """A stacked heading: name, options and unit on separate lines, which keeps the column narrow."""
    name, *rest = heading.name.replace("(", " (", 1).split()
    last = " ".join(part for part in (f"({heading.unit})" if heading.unit else "", heading.arrow) if part)
    lines = [name, *rest, last] if last else [name, *rest]
    return r"\shortstack[r]{" + r" \\ ".join(map(escape, lines)) + "}"


def _cell(cell: Cell) -> str:
    value = escape(cell.value)
    value = {BEST: rf"\textbf{{{value}}}", SECOND: rf"\underline{{{value}}}"}.get(cell.rank, value)
    return rf"{value} {{\scriptsize [{escape(cell.low)}, {escape(cell.high)}]}}" if cell.low else value
