"""Class names: what a class index is called, and which class a text means."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources

from vitjax.errors import LabelError


@dataclass(frozen=True)
class Labels:
    """The classes of a model in the order of its logits.

    names: one per class. synonyms: every name of each class, the one in `names` included.
    synsets: WordNet ids. The last two are None where there are none.
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
        """Name of class `index`, 0 to k - 1. Raises LabelError outside: a negative class is a mistake."""
        if not 0 <= index < len(self.names):
            raise LabelError(f"class {index} is outside 0..{len(self.names) - 1}")
        return self.names[index]

    def index(self, text: str) -> int:
        """Index of the class that `text` means.

        Tried in turn: synset id; name as written; name in any case; any synonym, or all of them joined by
        ", ", in any case. The first of these that fits exactly one class decides, so "crayfish" is the class
        of that name although it is a synonym of another.

        Raises: LabelError with close matches where nothing fits, or with the candidates where several do.
        """
        folded = text.strip().casefold()
        for table, key in zip(self._tables, (folded, text.strip(), folded, folded), strict=True):
            found = table.get(key, ())
            if len(found) == 1:
                return found[0]
            if found:
                raise LabelError(f"label {text!r} is ambiguous: {', '.join(map(self._describe, found))}")
        spellings = list(dict.fromkeys(key for table in self._tables[2:] for key in table))
        close = difflib.get_close_matches(folded, spellings, n=3)
        if close:
            hint = f"did you mean {' or '.join(map(repr, close))}?"
        else:
            hint = f"there are {len(self)} classes, from {self.names[0]!r} to {self.names[-1]!r}"
        raise LabelError(f"unknown label {text!r}; {hint}")

    @cached_property
    def _tables(self) -> tuple[dict[str, list[int]], ...]:
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
        full = ", ".join(self.synonyms[index]) if self.synonyms is not None else self.names[index]
        synset = f" {self.synsets[index]}" if self.synsets is not None else ""
        return f"{index} ({full}){synset}"


@cache
def imagenet_labels() -> Labels:
    """The 1,000 classes of ImageNet-1k (ILSVRC 2012), ordered by synset id as timm's models order them."""
    text = resources.files("vitjax").joinpath("assets/imagenet_labels.txt").read_text(encoding="utf-8")
    synsets, lines = zip(*(line.split(" ", 1) for line in text.splitlines()), strict=True)
    synonyms = tuple(tuple(line.split(", ")) for line in lines)
    return Labels(names=tuple(words[0] for words in synonyms), synsets=synsets, synonyms=synonyms)
