"""Small tables for notebooks, as HTML without styles or scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(title: str, rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """A table with a line of title above it; every text is escaped.

    Args:
        title: shown in bold.
        rows: cells of each row.
        head: names of the columns; none by default.

    Example:
        >>> from vitjax.output.html import html_table
        >>> html_table("a < b", [["x", "1"]])
        '<div><b>a &lt; b</b><table><tbody><tr><td>x</td><td>1</td></tr></tbody></table></div>'
    """
    top = f"<thead><tr>{_cells(head, 'th')}</tr></thead>" if head else ""
    body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows)
    return f"<div><b>{escape(title)}</b><table>{top}<tbody>{body}</tbody></table></div>"


def html_lines(text: str) -> str:
    """Text whose columns are aligned by spaces."""
    return f"<pre>{escape(text)}</pre>"


def _cells(texts: Sequence[str], tag: str) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)
