"""Class names: the name of a class index, and the class index of a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources

from vitjax.errors import LabelError


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
        spellings = list(dict.fromkeys(key for table in self._tables[2:] for key in table))
        close_matches = difflib.get_close_matches(folded, spellings, n=3)
        if close_matches:
            hint = f"did you mean {' or '.join(map(repr, close_matches))}?"
        else:
            hint = f"there are {len(self)} classes, from {self.names[0]!r} to {self.names[-1]!r}"
        raise LabelError(f"unknown label {text!r}; {hint}")

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


@cache
def imagenet_labels() -> Labels:
    """The 1,000 classes of ImageNet-1k (ILSVRC 2012), ordered by synset id as in timm's models."""
    text = resources.files("vitjax").joinpath("assets/imagenet_labels.txt").read_text(encoding="utf-8")
    synsets, lines = zip(*(line.split(" ", 1) for line in text.splitlines()), strict=True)
    synonyms = tuple(tuple(line.split(", ")) for line in lines)
    return Labels(names=tuple(words[0] for words in synonyms), synsets=synsets, synonyms=synonyms)
