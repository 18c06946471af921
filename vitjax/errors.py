"""Errors that name the file or field and the cause, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VitjaxError(Exception):
    """Base of every error that a user can cause; the command line prints it without a traceback."""


class ImageError(VitjaxError):
    """A picture that is missing, damaged or unusable."""


class WeightsError(VitjaxError):
    """A checkpoint that is missing, damaged, unsafe or of another architecture."""


class ConfigError(VitjaxError):
    """A setting that cannot be."""


class LabelError(VitjaxError):
    """A class that the model does not have."""


class UnknownNameError(VitjaxError):
    """A name that is not registered."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """`unknown method 'rolout'; did you mean 'rollout'?`, or all names where nothing is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        hint = "did you mean " + " or ".join(map(repr, close)) + "?"
    else:
        hint = "known: " + ", ".join(names) if names else "there are none"
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}")


class OutputError(VitjaxError):
    """A place that cannot be written to."""


class RunError(VitjaxError):
    """An evaluation that cannot go on, or a run directory that does not fit what is asked of it."""
