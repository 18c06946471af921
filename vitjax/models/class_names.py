"""Class names: the name of a class index, and the class index of a name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

from vitjax.errors import LabelError, similar

SHOWN_CLASSES = 40
"""More classes than these are not listed where a text stands in the names of many."""


@dataclass(frozen=True)
class Labels:
    """Names of the classes of a model, in the order of its logits.

    names: one name per class.
    synsets: WordNet id of each class; None if the classes have none.
    synonyms: all names of each class, the one in `names` included; None if the classes have one name each.

    Raises:
        LabelError: `synsets` or `synonyms` is not as long as `names`.
    """

    names: tuple[str, ...]
    synsets: tuple[str, ...] | None = None
    synonyms: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        for field, values in (("synsets", self.synsets), ("synonyms", self.synonyms)):
            if values is not None and len(values) != len(self.names):
                raise LabelError(f"{field} has {len(values)} entries for {len(self.names)} names")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, index: int) -> str:
        """Name of a class.

        Args:
            index: 0 to k - 1; negative indices do not count from the end.

        Raises:
            LabelError: the index is out of range.
        """
        if not 0 <= index < len(self.names):
            raise LabelError(f"class {index} is outside 0..{len(self.names) - 1}")
        return self.names[index]

    def index(self, text: str) -> int:
        """Index of the class with this name.

        The text is compared, in this order, with synset ids, with names, with names in any case, and with synonyms, or
        all synonyms of a class joined by ", ", in any case. The first comparison that matches any class decides: for
        example, "crayfish" is the class with that name although it is also a synonym of another class.

        Args:
            text: synset id, name or synonym; surrounding white space is ignored.

        Raises:
            LabelError: no class matches (the message lists close matches), or several do (it lists the candidates).
        """
        folded = text.strip().casefold()
        for table, key in zip(self._tables, (folded, text.strip(), folded, folded), strict=True):
            indices = table.get(key, ())
            if len(indices) == 1:
                return indices[0]
            if indices:
                raise LabelError(f"label {text!r} is ambiguous: {', '.join(map(self._describe, indices))}")
        hint = self._similar(text) or f"there are {len(self)} classes, from {self.names[0]!r} to {self.names[-1]!r}"
        raise LabelError(f"unknown label {text!r}; {hint}")

    def _similar(self, text: str) -> str:
        """A name of each class that contains the text, or names that are spelt like it, as a question."""
        folded = text.strip().casefold()
        every = self.synonyms if self.synonyms is not None else [(name,) for name in self.names]
        containing = [next((name for name in words if folded in name.casefold()), None) for words in every]
        names = [name for name in containing if name is not None] or (name for words in every for name in words)
        return similar(text, names, cutoff=0.6, shown=SHOWN_CLASSES)

    @cached_property
    def _tables(self) -> tuple[dict[str, list[int]], ...]:
        """Class indices by synset id, by name, by case-folded name and by case-folded synonym."""
        synsets: dict[str, list[int]] = {}
        exact: dict[str, list[int]] = {}
        folded: dict[str, list[int]] = {}
        synonyms: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            if self.synsets is not None:
                synsets.setdefault(self.synsets[index].casefold(), []).append(index)
            exact.setdefault(name, []).append(index)
            folded.setdefault(name.casefold(), []).append(index)
            words = self.synonyms[index] if self.synonyms is not None else (name,)
            for key in {word.casefold() for word in (*words, ", ".join(words))}:
                synonyms.setdefault(key, []).append(index)
        return synsets, exact, folded, synonyms

    def _describe(self, index: int) -> str:
        """Index, all names and synset id of a class, for error messages."""
        all_names = ", ".join(self.synonyms[index]) if self.synonyms is not None else self.names[index]
        synset = f" {self.synsets[index]}" if self.synsets is not None else ""
        return f"{index} ({all_names}){synset}"


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """Class names of a file, in the order of the logits.

    Args:
        path: a text file with one name a line; or JSON: a list of names, {"0": name, ...} or {name: 0, ...}.

    Raises:
        LabelError: the file cannot be read, names no class, or its numbers are not 0 to k - 1.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix == ".json" or text.lstrip()[:1] in ("[", "{") else text.splitlines()
    except OSError as error:
        raise LabelError(f"{path}: the class names cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path}: no class names: {' '.join(str(error).split())[:200]}") from error
    if isinstance(content, dict):
        content = _in_order(content, path)
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise LabelError(f"{path}: class names must be a list of texts, or a dict of names and numbers")
    while content and not content[-1].strip():
        content.pop()
    names = tuple(name.strip() for name in content)
    if not names or not all(names):
        raise LabelError(f"{path}: {'a class name is empty' if names else 'contains no class names'}")
    return names


def _in_order(table: dict[str, object], path: Path) -> list[object]:
    """The names of {"0": name} or {name: 0} in the order of their numbers.

    Raises:
        LabelError: the numbers are not 0 to k - 1, each once.
    """
    numbers = {key: value for key, value in table.items() if isinstance(value, int) and not isinstance(value, bool)}
    pairs: list[tuple[int, object]] = []
    if len(numbers) == len(table):
        pairs = [(number, name) for name, number in numbers.items()]
    elif all(re.fullmatch(r"[0-9]{1,9}", key) for key in table):
        pairs = [(int(key), name) for key, name in table.items()]
    if sorted(number for number, _ in pairs) != list(range(len(table))):
        raise LabelError(f"{path}: the numbers of the classes must be 0 to {len(table) - 1}, each once")
    return [name for _, name in sorted(pairs, key=lambda pair: pair[0])]


@cache
def imagenet_labels() -> Labels:
    """The 1,000 classes of ImageNet-1k (ILSVRC 2012), ordered by synset id as in timm's models."""
    text = resources.files("vitjax").joinpath("assets/imagenet_labels.txt").read_text(encoding="utf-8")
    synsets, lines = zip(*(line.split(" ", 1) for line in text.splitlines()), strict=True)
    synonyms = tuple(tuple(line.split(", ")) for line in lines)
    return Labels(names=tuple(words[0] for words in synonyms), synsets=synsets, synonyms=synonyms)
