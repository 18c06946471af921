"""Methods and metrics of one's own by reference: "module:name", imported when they are first asked for."""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from vitjax.errors import ConfigError

T = TypeVar("T")
_REFERENCE = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")


def is_reference(name: str) -> bool:
    """Whether a name has the form "module:name".

    Example:
        >>> from vitjax.methods.own import is_reference
        >>> is_reference("my_methods:METHOD"), is_reference("rollout"), is_reference("rollout:head_fusion=max")
        (True, False, False)
    """
    return _REFERENCE.fullmatch(name) is not None


def load_own(reference: str, kind: type[T]) -> T:
    """The object that "module:name" names.

    Args:
        reference: the module is searched for where Python finds modules, and in the working directory.
        kind: what the object must be, `Method` or `Metric`.

    Raises:
        ConfigError: the reference has another form, the module cannot be imported, or the object is of another kind.
    """
    if not is_reference(reference) or reference.partition(":")[0].endswith(".py"):
        raise ConfigError(f"{reference!r} is not of the form module:name{_without_suffix(reference)}")
    name = reference.partition(":")[2]
    module = _module_of(reference)
    value = getattr(module, name, None)
    if not isinstance(value, kind):
        cause = f"has no {name}" if value is None else f"{name} is not a vitjax.{kind.__name__}"
        raise ConfigError(f"{reference}: {getattr(module, '__file__', None) or module.__name__}: {cause}")
    return value


def source_digest(reference: str) -> str:
    """sha256 of the file of the module that a reference names; "" if it has none."""
    file = getattr(_module_of(reference), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def _module_of(reference: str) -> ModuleType:
    module = reference.partition(":")[0]
    here = str(Path.cwd())
    if not {here, ""} & set(sys.path):
        sys.path.append(here)  # at the end, where a file called random.py hides no module of Python's
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module)
    except Exception as error:  # whatever the user's module raises
        raise ConfigError(f"{reference}: cannot be imported: {_described(error, module)}") from error


def _described(error: Exception, module: str) -> str:
    """The error in one line, with the last place in a file of the working directory that led to it."""
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
        return (
            f"there is no module {error.name!r} in the working directory or among Python's packages; "
            f"run the command where {error.name}.py lies"
        )
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(Path.cwd()))]
    place = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {text}{place}"


def _without_suffix(reference: str) -> str:
    file, colon, name = reference.rpartition(":")
    return f"; write {Path(file).stem}:{name}" if colon and file.endswith(".py") else ""
