"""Statistics as text files: CSV at full precision, Markdown, LaTeX and plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vitjax.output import files
from vitjax.report.latex_table import latex
from vitjax.report.layout import BEST, SECOND, Cell, blocks, exclusions
from vitjax.report.statistics import Estimate
from vitjax.report.style import TableStyle, selection
from vitjax.report.summary import Summary

CSV_COLUMNS = (
    *("method", "metric", "figure", "family", "better", "display_factor", "value", "low", "high", "ci", "n"),
    *("excluded", "excluded_by_reason", "baseline", "difference", "difference_low", "difference_high", "difference_n"),
    *("images_per_second", "peak_memory_mib", "listed", "partial"),
)

EVERYTHING = TableStyle()

__all__ = ["CSV_COLUMNS", "Table", "caption", "csv_text", "latex", "markdown", "text"]


@dataclass(frozen=True, eq=False)
class Table(Summary):
    """A summary whose `str` is a plain-text table."""

    def __str__(self) -> str:
        return text(self)

    def __repr__(self) -> str:
        return text(self)


def csv_text(summary: Summary) -> str:
    """CSV in long form: one line per method and statistic, numbers at full precision and in the metric's own unit.

    Undefined numbers are empty. `display_factor` is the factor that the other formats apply (100 for percent).
    """
    lines = []
    for (method, name), row in summary.rows.items():
        shown, profile = summary.figures[name], summary.profile.get(method, {})
        difference = row.difference or Estimate(math.nan, math.nan, math.nan, 0)
        line = {
            "method": method,
            "metric": shown.label,
            "figure": name,
            "family": shown.metric.family,
            "better": shown.better or "",
            "display_factor": int(shown.factor),
            "value": row.estimate.value,
            "low": row.estimate.low,
            "high": row.estimate.high,
            "ci": summary.ci,
            "n": row.estimate.n,
            "excluded": sum(row.excluded.values()),
            "excluded_by_reason": ";".join(f"{reason}={count}" for reason, count in row.excluded.items()),
            "baseline": summary.baseline or "",
            "difference": difference.value,
            "difference_low": difference.low,
            "difference_high": difference.high,
            "difference_n": difference.n if row.difference else "",
            "images_per_second": profile.get("images_per_second", ""),
            "peak_memory_mib": profile.get("peak_memory_mib", ""),
            "listed": summary.coverage.listed,
            "partial": summary.mark,
        }
        lines.append({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in line.items()})
    return files.csv_text(CSV_COLUMNS, lines)


def caption(summary: Summary, *, intervals: bool = True) -> str:
    """One or two sentences that explain the numbers; the mark of a partial run comes first."""
    parts = [f"{summary.mark[0].upper()}{summary.mark[1:]}."] if summary.mark else []
    about = (
        f"{100 * summary.ci:g} % percentile-bootstrap intervals over images ({summary.resamples} resamples) in brackets"
    )
    parts.append(f"{summary.coverage.listed} images listed" + (f"; {about}." if intervals else "."))
    return " ".join(parts)


def remarks(summary: Summary, style: TableStyle = EVERYTHING, *, titles: bool = False) -> list[str]:
    """Excluded images: one line per method, with the shown statistics of equal exclusions grouped.

    Args:
        titles: call methods and statistics as in print instead of by their names.
    """
    lines = []
    figures = selection(summary, style.columns).figures
    for method in summary.methods:
        grouped: dict[str, list[str]] = {}
        for shown in figures:
            row = summary.rows[method, shown.name]
            if row.excluded:
                grouped.setdefault(exclusions(row.excluded), []).append(shown.title if titles else shown.name)
        parts = [
            f"{why} (all statistics)" if len(names) == len(figures) else f"{why} ({'; '.join(names)})"
            for why, names in grouped.items()
        ]
        if parts:
            lines.append(f"{summary.titles[method] if titles else method}: excluded " + "; ".join(parts))
    return lines


def markdown(summary: Summary, style: TableStyle = EVERYTHING) -> str:
    """A Markdown document of tables; best in bold, second underlined (as HTML: Markdown has no underline)."""
    about = _md(caption(summary, intervals=style.intervals)) + " Best in **bold**, second <u>underlined</u>."
    lines = ["# Results", "", about, ""]
    for block in blocks(summary, style):
        lines += [f"## {_md(block.title)}", ""]
        if summary.mark:
            lines += [f"*{_md(summary.mark)}*", ""]
        lines.append("| method | " + " | ".join(_md(heading.text) for heading in block.headings) + " |")
        lines.append("|---|" + "---:|" * len(block.headings))
        lines += [f"| {_md(row.title)} | " + " | ".join(map(_md_cell, row.cells)) + " |" for row in block.rows]
        lines += ["", _md(block.note), ""] if block.note else [""]
    excluded = remarks(summary, style, titles=True)
    if excluded:
        lines += ["## Excluded images", "", *(f"- {_md(line)}" for line in excluded), ""]
    return "\n".join(lines)


def text(summary: Summary, style: TableStyle = EVERYTHING, *, width: int = 140) -> str:
    """Plain-text tables for a terminal, with names as on the command line; * marks the best, ' the second.

    Args:
        style: what is shown.
        width: characters per line. Wider tables are split by columns; a single column may exceed the width.
    """
    lines = [caption(summary, intervals=style.intervals) + " * best, ' second."]
    for block in blocks(summary, style):
        names = ["method", *(row.method for row in block.rows)]
        left = max(map(len, names))
        columns = [
            [
                heading._replace(title=heading.name).text,
                *(row.cells[i].text + {BEST: "*", SECOND: "'"}.get(row.cells[i].rank, " ") for row in block.rows),
            ]
            for i, heading in enumerate(block.headings)
        ]
        for part in _packed(columns, width - left):
            lines += ["", block.title + (f" ({summary.mark})" if summary.mark else "")]
            for row, name in enumerate(names):
                cells = [f"{column[row].rstrip() if row == 0 else column[row]:>{_width(column)}}" for column in part]
                lines.append((name.ljust(left) + "  " + "  ".join(cells)).rstrip())
        if block.note:
            lines.append(block.note)
    excluded = remarks(summary, style)
    return "\n".join([*lines, *(["", *excluded] if excluded else [])])


def _width(column: Sequence[str]) -> int:
    return max(map(len, column))


def _packed(columns: list[list[str]], room: int) -> list[list[list[str]]]:
    """Columns in consecutive groups, each at most `room` characters wide unless it has only one column."""
    parts: list[list[list[str]]] = []
    left = 0
    for column in columns:
        need = 2 + _width(column)
        if not parts or left < need:
            parts.append([])
            left = room
        parts[-1].append(column)
        left -= need
    return parts


def _md_cell(cell: Cell) -> str:
    value = {BEST: f"**{cell.value}**", SECOND: f"<u>{cell.value}</u>"}.get(cell.rank, cell.value)
    return f"{value} [{cell.low}, {cell.high}]" if cell.low else value


def _md(plain: str) -> str:
    """`plain` with Markdown's and HTML's special characters escaped."""
    safe = "".join("\\" + c if c in "\\`*_[]|#~" else c for c in " ".join(plain.split()))
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
