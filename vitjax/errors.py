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


MANY = 80
"""More names than this are not listed in an error message."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An error that suggests similar names.

    Args:
        kind: what the name refers to, such as "method" or "metric".
        name: the unknown name.
        known: the registered names.

    Returns:
        The error, for the caller to raise. Its message lists up to three close matches. If none is close, it lists all
        registered names, or three of them if there are many.

    Example: `unknown_name("method", "rolout", METHODS)` says "unknown method 'rolout'; did you mean 'rollout'?".
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if not close and len(name) > 2:
        close = [known_name for known_name in names if name in known_name][:3]
    if close:
        hint = "did you mean " + " or ".join(map(repr, close)) + "?"
    elif len(names) > MANY:
        hint = f"there are {len(names)}, such as " + ", ".join(names[:: len(names) // 3][:3])
    else:
        hint = "known: " + ", ".join(names) if names else "known: none"
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}")


class OutputError(VitjaxError):
    """An output file or directory cannot be written."""


class RunError(VitjaxError):
    """An evaluation cannot continue, or its run directory does not match the requested settings, listed in lines."""

    _lines = True
