"""Files that appear whole or not at all: text in UTF-8 whatever the locale, and CSV that is safe in spreadsheets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from vitjax.errors import shown
from vitjax.storage import write_whole, writing

# Spreadsheets take a cell that begins with one of these for a formula; some also the full-width forms.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|nan)", re.IGNORECASE)


def write_file(path: Path, write: Callable[[IO[bytes]], Any]) -> Path:
    """Write a file whole or not at all; after an error the old file is still there.

    Args:
        path: the file; its folder must exist.
        write: writes the content to a binary stream.

    Returns:
        `path`.

    Raises:
        OutputError: the file cannot be written; names it and the cause.
    """
    with writing(path):
        write_whole(path, write)
    return path


def make_folder(path: Path) -> Path:
    """Create a folder and those above it where they are missing.

    Raises:
        OutputError: it cannot be created; names it and the cause.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    """`write_file` of bytes."""
    return write_file(path, lambda stream: stream.write(content))


def write_text(path: Path, text: str) -> Path:
    """`write_file` of text in UTF-8. Surrogates, which UTF-8 does not have, are escaped."""
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV with a line of column names; text cells pass through `csv_cell`."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({column: csv_cell(value) for column, value in row.items()})
    return stream.getvalue()


def csv_cell(value: Any) -> Any:
    """The value of a cell; text that a spreadsheet would run as a formula gets an apostrophe in front.

    Control characters are escaped, as a line break in a cell can begin a row. Numbers stay as they are, also those in
    text: `csv_cell("-1.5")` is "-1.5".
    """
    if not isinstance(value, str):
        return value
    text = shown(value)
    return "'" + text if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
