"""Exceptions that users can cause. Each message is one line that names the file or option and the cause."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VitjaxError(Exception):
    """Base class of every error that a user can cause. The command line prints it without a traceback."""


class ImageError(VitjaxError):
    """An image is missing, damaged or unusable."""


class WeightsError(VitjaxError):
    """A checkpoint is missing, damaged, unsafe or of another architecture."""


class ConfigError(VitjaxError):
    """Invalid configuration."""


class LabelError(VitjaxError):
    """The model does not have the requested class."""


class UnknownNameError(VitjaxError):
    """A name is not registered."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An error that suggests similar names.

    Args:
        kind: what the name refers to, such as "method" or "metric".
        name: the unknown name.
        known: the registered names.

    Returns:
        The error, for the caller to raise. Its message lists up to three close matches, or all registered names if
        none is close.

    Example: `unknown_name("method", "rolout", METHODS)` says "unknown method 'rolout'; did you mean 'rollout'?".
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        hint = "did you mean " + " or ".join(map(repr, close)) + "?"
    else:
        hint = "known: " + ", ".join(names) if names else "known: none"
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}")


class OutputError(VitjaxError):
    """An output file or directory cannot be written."""


class RunError(VitjaxError):
    """An evaluation cannot continue, or its run directory does not match the requested settings."""
