"""Exceptions that users can cause. Each message is one line that names the file or option and the cause."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# C0 and C1 control characters, marks that change the direction of text, line separators, and the surrogates that
# stand for the bytes of a file name that is not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str, *, lines: bool = False) -> str:
    """The text with control characters and undecodable bytes of file names escaped, as in `caf\\xe9` and `\\x1b[2J`.

    Args:
        text: any text, such as a message that quotes a file name.
        lines: keep line breaks and tabs.

    Returns:
        Text that UTF-8 can encode and that moves no cursor.
    """

    def escaped(match: re.Match[str]) -> str:
        character = match[0]
        if lines and character in "\n\t":
            return character
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:  # Python's surrogateescape: the byte is the low half
            code -= 0xDC00
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"

    return _UNPRINTABLE.sub(escaped, text)


class VitjaxError(Exception):
    """Base class of every error that a user can cause. The command line prints it without a traceback.

    `str` of it is escaped by `shown`, so that a file name in it can neither break the line nor reach the terminal raw.
    """

    _lines = False

    def __str__(self) -> str:
        return shown(super().__str__(), lines=self._lines)


class ImageError(VitjaxError):
    """An image is missing, damaged or unusable."""


class WeightsError(VitjaxError):
    """A checkpoint is missing, damaged, unsafe or of another architecture. All tensors at fault are listed in lines."""

    _lines = True


class ConfigError(VitjaxError):
    """Invalid configuration."""


class LabelError(VitjaxError):
    """The model does not have the requested class."""


class UnknownNameError(VitjaxError):
    """A name is not registered."""


MANY, SHOWN = 80, 8
"""More names than these are not listed in an error message: of all names, and of those that contain a text."""


def similar(text: str, names: Iterable[str], cutoff: float = 0.5, shown: int = SHOWN) -> str:
    """The names that contain a text, or else up to three that are spelt like it, as a question; "" if there are none.

    Args:
        text: what was asked for.
        names: those there are.
        cutoff: how alike the spelling must be, as for `difflib.get_close_matches`.
        shown: how many of the names that contain the text are listed.

    Example:
        >>> from vitjax.errors import similar
        >>> similar("ring", ["plain ring", "striped ring", "star"])
        "did you mean 'plain ring' or 'striped ring'?"
    """
    names, folded = list(names), text.strip().casefold()
    close = [name for name in names if folded in name.casefold()] if len(folded) > 2 else []
    close.sort(key=lambda name: not re.search(rf"\b{re.escape(folded)}\b", name.casefold()))  # whole words first
    if not close:
        close = difflib.get_close_matches(text, names, n=3, cutoff=cutoff)
    if not close:
        return ""
    if len(close) > shown:
        return f"did you mean one of {', '.join(map(repr, close[:shown]))} and {len(close) - shown} more?"
    *first, last = map(repr, close)
    return f"did you mean {', '.join(first)} or {last}?" if first else f"did you mean {last}?"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An error that suggests similar names.

    Args:
        kind: what the name refers to, such as "method" or "metric".
        name: the unknown name.
        known: the registered names.

    Returns:
        The error, for the caller to raise. Its message lists names that contain the unknown one, or up to three close
        matches; without any, it lists all registered names, or three of them if there are many.

    Example: `unknown_name("method", "rolout", METHODS)` says "unknown method 'rolout'; did you mean 'rollout'?".
    """
    names = sorted(known)
    hint = similar(name, names)
    if not hint and len(names) > MANY:
        hint = f"there are {len(names)}, such as " + ", ".join(names[:: len(names) // 3][:3])
    elif not hint:
        hint = "known: " + ", ".join(names) if names else "known: none"
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}")


class OutputError(VitjaxError):
    """An output file or directory cannot be written."""


class RunError(VitjaxError):
    """An evaluation cannot continue, or its run directory does not match the requested settings, listed in lines."""

    _lines = True
