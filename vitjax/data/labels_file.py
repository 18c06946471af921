"""Lists of images and their labels: index.json, labels.csv, labels.json, and lists of names."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from vitjax.errors import ConfigError
from vitjax.output.names import LONGEST, on_disk

LARGEST_FILE = 2**30
"""Bytes of a list, about 20 million images."""
LONGEST_FIELD = 4096
"""Characters of a field: no path and no class name is longer."""

_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class LabelRow(NamedTuple):
    """One entry of a list.

    image, mask: paths relative to the list's folder. where: location of the entry in error messages.
    """

    image: str
    label: Any
    mask: str | None
    id: str | None
    where: str


def read_index(path: Path) -> list[LabelRow]:
    """Read index.json: {"items": [{"image", "id"?, "mask"?, "target_class"?}]}.

    Raises:
        ConfigError: the file is malformed; names file, row and field.
    """
    document = _read_json(path)
    items = document.get("items") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise ConfigError(f'{path}: contains no list "items"')
    return [_row_of_record(item, row, path, "target_class") for row, item in enumerate(items)]


def read_labels(path: Path) -> list[LabelRow]:
    """Read labels.csv (columns image, label, mask?) or labels.json ({image: label}, or a list of such records).

    Raises:
        ConfigError: the file is malformed; names file, row and field.
    """
    if path.suffix == ".csv":
        return _read_csv(path)
    document = _read_json(path)
    if isinstance(document, dict):
        return [_row(path, row, image, label, None, None) for row, (image, label) in enumerate(document.items())]
    if not isinstance(document, list):
        raise ConfigError(f"{path}: is neither an object {{image: label}} nor a list of records")
    return [_row_of_record(item, row, path, "label") for row, item in enumerate(document)]


def read_list(path: Path) -> str:
    """The text of a list in UTF-8, with or without a byte order mark.

    Raises:
        ConfigError: the file is not regular, cannot be read, has more than LARGEST_FILE bytes, or is in another
            encoding.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path}: is not a regular file")
            if status.st_size > LARGEST_FILE:
                raise ConfigError(f"{path}: {status.st_size} bytes are more than the {LARGEST_FILE} of a list")
            content = stream.read()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    advice = "save it as UTF-8 ('CSV UTF-8' in spreadsheets)"
    for mark, encoding in _OTHER_ENCODINGS:
        if content.startswith(mark):
            raise ConfigError(f"{path}: is {encoding}; {advice}")
    if b"\0" in content:
        raise ConfigError(f"{path}: contains zero bytes, so it is UTF-16 or no text; {advice}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}: line {line} is not UTF-8 (byte 0x{content[error.start]:02x}), perhaps Windows-1252 or Latin-1; "
            f"{advice}"
        ) from None


def _without_waiting(path: str, flags: int) -> int:
    """Open a file for `open`; a FIFO would make a plain one wait for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read_csv(path: Path) -> list[LabelRow]:
    reader = csv.reader(io.StringIO(read_list(path), newline=""), skipinitialspace=True, strict=True)
    try:
        columns = _columns(next(reader, []), path)
        return [
            _row_of_record(dict(zip(columns, fields, strict=True)), row, path, "label")
            for row, fields in enumerate(_rows(reader, columns, path))
        ]
    except csv.Error as error:
        raise ConfigError(f"{path}: line {reader.line_num}: {error}") from None


def _columns(names: list[str], path: Path) -> list[str]:
    """The names of the columns, each of which must have one meaning."""
    names = [name.strip() for name in names]
    missing = [column for column in ("image", "label") if column not in names]
    if missing:
        hint = "; columns are separated by commas" if len(names) == 1 and set(names[0]) & set(";\t|") else ""
        raise ConfigError(f"{path}: no column {' and '.join(map(repr, missing))} in {_short(names)}{hint}")
    folded = [name.casefold() for name in names]
    for name in ("image", "label", "mask", "id"):
        if folded.count(name) > 1:
            raise ConfigError(f"{path}: more than one column {name!r} in {_short(names)}")
    return names


def _rows(reader: Any, columns: list[str], path: Path) -> Any:
    """Rows with as many fields as columns; empty lines are left out."""
    for fields in reader:
        if not fields:
            continue
        if len(fields) != len(columns):
            raise ConfigError(f"{path}: line {reader.line_num}: {len(fields)} fields in {len(columns)} columns")
        yield fields


def _row_of_record(record: Any, row: int, path: Path, label: str) -> LabelRow:
    if not isinstance(record, dict) or not isinstance(record.get("image"), str) or not record["image"]:
        raise ConfigError(f"{path}: row {row} has no field 'image'")
    return _row(path, row, record["image"], record.get(label), record.get("mask"), record.get("id"))


def _row(path: Path, row: int, image: str, label: Any, mask: Any, identity: Any) -> LabelRow:
    for value in (image, label, mask, identity):
        if isinstance(value, str) and len(value) > LONGEST_FIELD:
            raise ConfigError(f"{path}: row {row}: a field of {len(value)} characters begins with {value[:40]!r}")
    if mask is not None and not isinstance(mask, str):
        raise ConfigError(f"{path}: row {row} ({image}): mask {_short(mask)} is not a path")
    if identity is not None and (isinstance(identity, bool) or not isinstance(identity, str | int)):
        raise ConfigError(f"{path}: row {row} ({image}): id {_short(identity)} is neither text nor an integer")
    return LabelRow(
        _file(path, row, image),
        label,
        _file(path, row, mask) if mask else None,
        None if identity is None else str(identity),
        f"{path}: row {row} ({image})",
    )


def _file(path: Path, row: int, field: str) -> str:
    """The field as a file name below the folder of the list."""
    parts = PurePosixPath(field).parts
    if PurePosixPath(field).is_absolute() or ".." in parts:
        raise ConfigError(f"{path}: row {row}: {field!r} points outside the folder")
    try:
        # With its folder, a path may have 4096 bytes.
        too_long = len(field.encode("utf-8")) > 2048 or any(len(part.encode("utf-8")) > LONGEST for part in parts)
    except UnicodeEncodeError:
        raise ConfigError(f"{path}: row {row}: {field!r} is not text") from None
    if too_long or "\0" in field:
        raise ConfigError(f"{path}: row {row}: {_short(field)} cannot be the name of a file")
    return on_disk(field)


def _read_json(path: Path) -> Any:
    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = dict(pairs)
        if len(keys) < len(pairs):  # the parser keeps only the last value of a repeated key
            seen: set[str] = set()
            repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ConfigError(f"{path}: {_short(repeated)} is listed twice")
        return keys

    def integer(digits: str) -> int:
        if len(digits) > 19:  # int() refuses thousands of digits with an error of its own
            raise ConfigError(f"{path}: {digits[:20]}... is an integer of {len(digits)} digits")
        return int(digits)

    def constant(name: str) -> Any:
        raise ConfigError(f"{path}: contains {name}, which is not JSON")

    text = read_list(path)
    try:
        return json.loads(text, object_pairs_hook=no_duplicates, parse_int=integer, parse_constant=constant)
    except json.JSONDecodeError as cause:
        raise ConfigError(f"{path}: is not valid JSON: {cause}") from cause
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply for a list of labels") from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
