"""Text on the terminal: whole in every encoding, without control characters of file names."""

from __future__ import annotations

import sys
from typing import Any

from vitjax.errors import shown


def say(text: object, *, error: bool = False) -> None:
    """Print text to stdout, or to stderr if `error`, escaped by `vitjax.errors.shown`. Line breaks are kept."""
    print(shown(str(text), lines=True), file=sys.stderr if error else sys.stdout)


def accept_all_characters() -> None:
    """Let stdout and stderr escape what their encoding lacks, instead of raising: for pipes that are not UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)  # a notebook's streams have none
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
