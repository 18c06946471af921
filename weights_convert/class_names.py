"""Class names beside weights: under the usual keys of a training script's checkpoint, or of a safetensors header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

KEYS = ("class_names", "classes", "class_to_idx", "idx_to_class", "id2label", "label_names")
"""Entries that hold a list of names, {number: name} or {name: number}."""


def names_in(content: Any) -> tuple[str, ...] | None:
    """The class names among the entries of a checkpoint, in the order of the logits; None if there are none.

    Args:
        content: what the file contains beside its tensors, or the text metadata of a header, whose values are JSON.
    """
    if not isinstance(content, Mapping):
        return None
    lists = (_names(content[key]) for key in KEYS if key in content)
    return next((names for names in lists if names is not None), None)


def _names(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, Mapping):
        value = _in_order(value)
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) and name for name in value):
        return None
    return tuple(value)


def _in_order(table: Mapping[Any, Any]) -> list[Any] | None:
    """The names of {number: name} or {name: number}, whose numbers are 0 to k - 1; None for any other table."""
    if all(isinstance(number, int) for number in table.values()):
        table = {number: name for name, number in table.items()}
    numbers = {int(key): name for key, name in table.items() if str(key).isdecimal() and len(str(key)) < 10}
    if len(numbers) != len(table) or sorted(numbers) != list(range(len(numbers))):
        return None
    return [numbers[number] for number in range(len(numbers))]
