"""What is checked when a data set is opened, before anything is decoded or computed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.data.source import NO_LABEL
from vitjax.errors import ImageError, LabelError
from vitjax.models.class_names import Labels


@dataclass(frozen=True)
class Classes:
    """What a label may be.

    labels: the model's class names, or None where it has none. count: how many classes it has, None: not checked.
    """

    labels: Labels | None
    count: int | None

    def number(self, value: Any, where: str) -> int:
        """Class number of a stored label: an int, digits, or a name; NO_LABEL for None and for an empty text.

        Digits are a number even where a class has such a name. Raises: LabelError that begins with `where`.
        """
        if value is None or (isinstance(value, str) and not value.strip()):
            return NO_LABEL
        if isinstance(value, str):
            try:
                value = int(value)
            except ValueError:
                return self._named(value.strip(), where)
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
            raise LabelError(f"{where}: label {value!r} is neither an int nor a name{self._range()}")
        if value < 0 or (self.count is not None and value >= self.count):
            # -1 is how we say "no label"; in a data set it is a mistake.
            raise LabelError(f"{where}: label {value} is out of range{self._range()}")
        return int(value)

    def _named(self, text: str, where: str) -> int:
        if self.labels is None:
            raise LabelError(f"{where}: label {text!r} is not an int, and the model has no class names{self._range()}")
        try:
            return self.number(self.labels.index(text), where)
        except LabelError as cause:
            raise LabelError(f"{where}: {cause}") from None

    def _range(self) -> str:
        return "" if self.count is None else f"; the model has {self.count} classes, 0..{self.count - 1}"


def check_same_images(listed: Sequence[str], present: Sequence[str], where: str) -> None:
    """Raise LabelError where a list of labels and a folder differ: a name twice, or present and not listed.

    A name that is listed and not present is for `check_images` to count.
    """
    seen: dict[str, int] = {}
    for row, item in enumerate(listed):
        if item in seen:
            raise LabelError(f"{where}: row {row}: {item!r} is listed already in row {seen[item]}")
        seen[item] = row
    unlisted = [item for item in present if item not in seen]
    if unlisted:
        raise LabelError(
            f"{where}: {len(listed)} labels for {len(present)} images; the first image without one is {unlisted[0]!r}"
        )


def unique_ids(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Ids for file names: relative names without extension, "/" as "__". Two equal ones: ImageError names both."""
    seen: dict[str, str] = {}
    ids = []
    for name in names:
        identity = name.removesuffix(Path(name).suffix).replace(os.sep, "/").replace("/", "__")
        # On some file systems Cat.png and cat.png are one file, and so would be their records.
        other = seen.setdefault(identity.casefold(), name)
        if other is not name:
            raise ImageError(f"{where}: {other!r} and {name!r} would both be called {identity!r}; rename one")
        ids.append(identity)
    return tuple(ids)


def digest_of(*parts: Any) -> str:
    """sha256 (hex) of values that JSON can write."""
    return hashlib.sha256(json.dumps(parts, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()
