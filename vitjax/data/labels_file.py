"""Lists of pictures that lie beside them: index.json, labels.csv, labels.json."""

from __future__ import annotations

import csv
import json
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from vitjax.errors import ConfigError


class Row(NamedTuple):
    """One line of a list. image, mask: paths relative to the list's folder. where: what errors call the line."""

    image: str
    label: Any
    mask: str | None
    id: str | None
    where: str


def read_index(path: Path) -> list[Row]:
    """index.json: {"items": [{"image", "id"?, "mask"?, "target_class"?}]}. Raises ConfigError naming item and field."""
    document = _json(path)
    items = document.get("items") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise ConfigError(f'{path}: no list "items"')
    return [_record(item, row, path, "target_class") for row, item in enumerate(items)]


def read_labels(path: Path) -> list[Row]:
    """labels.csv (columns image, label, mask?) or labels.json ({image: label} or a list of such records).

    Raises: ConfigError naming file, row and field.
    """
    if path.suffix == ".csv":
        return _read_csv(path)
    document = _json(path)
    if isinstance(document, dict):
        return [_row(path, row, image, label, None, None) for row, (image, label) in enumerate(document.items())]
    if not isinstance(document, list):
        raise ConfigError(f"{path}: neither an object {{image: label}} nor a list of records")
    return [_record(item, row, path, "label") for row, item in enumerate(document)]


def _read_csv(path: Path) -> list[Row]:
    # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, skipinitialspace=True)
        lacking = [column for column in ("image", "label") if column not in (reader.fieldnames or [])]
        if lacking:
            raise ConfigError(f"{path}: no column {' and '.join(map(repr, lacking))} in {reader.fieldnames}")
        return [_record(record, row, path, "label") for row, record in enumerate(reader)]


def _record(item: Any, row: int, path: Path, label: str) -> Row:
    if not isinstance(item, dict) or not isinstance(item.get("image"), str) or not item["image"]:
        raise ConfigError(f"{path}: row {row} has no field 'image'")
    return _row(path, row, item["image"], item.get(label), item.get("mask"), item.get("id"))


def _row(path: Path, row: int, image: str, label: Any, mask: Any, identity: Any) -> Row:
    if mask is not None and not isinstance(mask, str):
        raise ConfigError(f"{path}: row {row} ({image}): mask {mask!r} is not a path")
    for field in (image, mask or "."):
        parts = PurePosixPath(field).parts
        if PurePosixPath(field).is_absolute() or ".." in parts:
            raise ConfigError(f"{path}: row {row}: {field!r} leaves the folder")
    return Row(image, label, mask or None, None if identity is None else str(identity), f"{path}: row {row} ({image})")


def _json(path: Path) -> Any:
    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = dict(pairs)
        if len(keys) < len(pairs):  # JSON keeps the last of two; a label would vanish silently
            names = [key for key, _ in pairs]
            twice = next(name for row, name in enumerate(names) if name in names[:row])
            raise ConfigError(f"{path}: {twice!r} is listed twice")
        return keys

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=no_duplicates)
    except (json.JSONDecodeError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{path}: not JSON: {cause}") from cause
