"""Names of output files: made of ids that may be anything, unique, and short enough for the file system."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable

LONGEST = 255
"""Bytes in a file name on common file systems."""

# What no file name may have on some system, what moves a cursor, and what UTF-8 does not have.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff/]")


def text_of(name: str) -> str:
    """A file name as text that is the same in every locale: ids of images are made of it.

    Bytes that are not UTF-8 and control characters are written as in URLs: b"caf\\xe9" becomes "caf%E9".
    """
    try:
        decoded = os.fsencode(name).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # not from the file system, but from a list
        decoded = name
    return _without(decoded, keep="/")


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Number repeated names; a name that is given only once stays as it is: a, a_2, a -> a, a_2, a_3."""
    names = list(names)
    taken, result, seen = set(names), [], set()
    for name in names:
        chosen = name
        if name in seen:
            chosen = _numbered(name, taken)
            taken.add(chosen)
        seen.add(chosen)
        result.append(chosen)
    return tuple(result)


def file_stem(label: str) -> str:
    """The label of a method as a file name: "rollout(head_fusion=max)" becomes "rollout_head_fusion-max".

    A colon, as in "my_methods:METHOD", becomes a point: some systems have no colons in names.
    """
    return label.replace(", ", "_").translate(str.maketrans("( =/:", "__--.", ")"))


class FileNames:
    """The names of all files that one command writes to one directory: no two are equal, none is too long.

    Args:
        reserved: names that are already given away, such as "manifest.json".

    Example:
        >>> from vitjax.output.names import FileNames
        >>> names = FileNames()
        >>> names.claim("cat_rollout", ".png"), names.claim("Cat_rollout", ".png")
        ('cat_rollout.png', 'Cat_rollout_2.png')
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = {_key(name) for name in reserved}

    def claim(self, stem: str, *endings: str) -> str:
        """A new file name.

        Args:
            stem: the wanted name, without its ending; characters that file names cannot have are replaced.
            endings: such as ".png". With several, the name is new with each of them; they have one length.

        Returns:
            The stem and the first ending, numbered if another file has this name on a file system that ignores case.
            Of a name of more than 255 bytes the end is replaced by a digest of it.
        """
        stem = _without(stem)
        number = 1
        while True:
            # A digest is of the whole stem, so that long names with one beginning remain distinct.
            chosen = _fitted(stem, ("" if number == 1 else f"_{number}"), max(map(len, endings)))
            keys = {_key(chosen + ending) for ending in endings}
            if not keys & self._taken:
                self._taken |= keys
                return on_disk(chosen + endings[0])
            number += 1


def on_disk(name: str) -> str:
    """The text as a file name whose bytes are UTF-8, also where the locale has another encoding."""
    return os.fsdecode(name.encode("utf-8"))


def _fitted(stem: str, number: str, ending: int) -> str:
    room = LONGEST - len(number) - ending
    encoded = stem.encode("utf-8")
    if len(encoded) <= room:
        return stem + number
    digest = "~" + hashlib.sha256(encoded).hexdigest()[:12]
    return encoded[: room - len(digest)].decode("utf-8", "ignore") + digest + number


def _numbered(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _key(name: str) -> str:
    """Equal for names that are one file on a file system that ignores case or the form of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _without(text: str, keep: str = "") -> str:
    def escaped(match: re.Match[str]) -> str:
        character = match[0]
        if character in keep:
            return character
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            return f"%{code - 0xDC00:02X}"
        return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))

    return _UNSAFE.sub(escaped, text)
