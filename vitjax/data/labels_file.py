"""Lists of images and their labels: index.json, labels.csv, labels.json."""

from __future__ import annotations

import csv
import json
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from vitjax.errors import ConfigError


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


def _read_csv(path: Path) -> list[LabelRow]:
    # utf-8-sig: spreadsheets write a byte order mark before the first column's name.
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, skipinitialspace=True)
        missing = [column for column in ("image", "label") if column not in (reader.fieldnames or [])]
        if missing:
            raise ConfigError(f"{path}: no column {' and '.join(map(repr, missing))} in {reader.fieldnames}")
        return [_row_of_record(record, row, path, "label") for row, record in enumerate(reader)]


def _row_of_record(record: Any, row: int, path: Path, label: str) -> LabelRow:
    if not isinstance(record, dict) or not isinstance(record.get("image"), str) or not record["image"]:
        raise ConfigError(f"{path}: row {row} has no field 'image'")
    return _row(path, row, record["image"], record.get(label), record.get("mask"), record.get("id"))


def _row(path: Path, row: int, image: str, label: Any, mask: Any, identity: Any) -> LabelRow:
    if mask is not None and not isinstance(mask, str):
        raise ConfigError(f"{path}: row {row} ({image}): mask {mask!r} is not a path")
    for field in (image, mask or "."):
        parts = PurePosixPath(field).parts
        if PurePosixPath(field).is_absolute() or ".." in parts:
            raise ConfigError(f"{path}: row {row}: {field!r} points outside the folder")
    return LabelRow(
        image, label, mask or None, None if identity is None else str(identity), f"{path}: row {row} ({image})"
    )


def _read_json(path: Path) -> Any:
    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = dict(pairs)
        if len(keys) < len(pairs):  # the parser keeps only the last value of a repeated key
            names = [key for key, _ in pairs]
            repeated = next(name for i, name in enumerate(names) if name in names[:i])
            raise ConfigError(f"{path}: {repeated!r} is listed twice")
        return keys

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=no_duplicates)
    except (json.JSONDecodeError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{path}: is not valid JSON: {cause}") from cause
