"""Checks of labels, file names and ids when a data set is opened, before any image is decoded."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.data.source import NO_LABEL
from vitjax.errors import ImageError, LabelError
from vitjax.models.class_names import Labels
from vitjax.output.names import text_of

_LONGEST_NUMBER = 18  # digits, fewer than int64 has


@dataclass(frozen=True)
class Classes:
    """The classes that a label may refer to.

    labels: the model's class names; None if it has none.
    count: number of classes; None if the range of labels is not checked.
    """

    labels: Labels | None
    count: int | None

    def number(self, value: Any, where: str) -> int:
        """The class number of a stored label.

        Args:
            value: an integer, digits, or a class name. Digits are read as a number even if a class has that name.
            where: location of the label, such as file and row; error messages begin with it.

        Returns:
            The class number; NO_LABEL if the value is None or an empty string.

        Raises:
            LabelError: the label is out of range, not a class of the model, or of another type.
        """
        if value is None or (isinstance(value, str) and not value.strip()):
            return NO_LABEL
        if isinstance(value, str):
            value = value.strip()
            # Only plain digits are a number: int() also reads "1_0" and the digits of other scripts.
            if not re.fullmatch(r"-?[0-9]+", value):
                return self._number_of_name(value, where)
            if len(value) > _LONGEST_NUMBER:
                raise LabelError(f"{where}: label {value[:20]}... is out of range{self._valid_range()}")
            value = int(value)
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
            raise LabelError(f"{where}: label {value!r} is neither an int nor a name{self._valid_range()}")
        if value < 0 or (self.count is not None and value >= self.count):
            # -1 is NO_LABEL only inside vitjax; in a data set it is a mistake.
            raise LabelError(f"{where}: label {value} is out of range{self._valid_range()}")
        return int(value)

    def _number_of_name(self, text: str, where: str) -> int:
        if self.labels is None:
            raise LabelError(
                f"{where}: label {text!r} is not an int, and the model has no class names{self._valid_range()}"
            )
        try:
            return self.number(self.labels.index(text), where)
        except LabelError as cause:
            raise LabelError(f"{where}: {cause}") from None

    def _valid_range(self) -> str:
        return "" if self.count is None else f"; the model has {self.count} classes, 0..{self.count - 1}"


def check_same_images(listed: Sequence[str], present: Sequence[str], where: str) -> None:
    """Check that a list names every image of a folder, each once.

    Names that are listed but not present are not checked: `check_images` reports missing files.

    Args:
        listed: image names in the order of the list.
        present: image names in the folder.
        where: the list's file; error messages begin with it.

    Raises:
        LabelError: a name is listed twice, or present and not listed.
    """
    first_row: dict[str, int] = {}
    for row, image in enumerate(listed):
        if image in first_row:
            raise LabelError(f"{where}: row {row}: {image!r} is already listed in row {first_row[image]}")
        first_row[image] = row
    unlisted = [image for image in present if image not in first_row]
    if unlisted:
        raise LabelError(
            f"{where}: {len(listed)} labels for {len(present)} images; the first image without one is {unlisted[0]!r}"
        )


def unique_ids(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Ids from relative file names: the extension is removed, "/" becomes "__", and `text_of` is applied.

    Raises:
        ImageError: two names give the same id, ignoring case.
    """
    name_of_id: dict[str, str] = {}
    ids = []
    for name in names:
        identity = text_of(name.removesuffix(Path(name).suffix)).replace(os.sep, "/").replace("/", "__")
        # Ids become file names, and some file systems ignore case: Cat and cat would be the same file.
        other = name_of_id.setdefault(identity.casefold(), name)
        if other is not name:
            raise ImageError(f"{where}: {other!r} and {name!r} would both get the id {identity!r}; rename one")
        ids.append(identity)
    return tuple(ids)


def digest_of(*parts: Any) -> str:
    """SHA-256 (hex) of JSON-serialisable values."""
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()  # names may be other than UTF-8
