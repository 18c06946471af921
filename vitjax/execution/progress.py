"""How a computation tells its caller how far it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

OnProgress = Callable[[float], Any]
"""Called with the number of items that were just finished, or with a fraction of one that takes long."""


class Progress(Protocol):
    """(total, unit) -> a context manager that yields an `OnProgress`."""

    def __call__(self, total: int, unit: str) -> AbstractContextManager[OnProgress]: ...


class Silent:
    """A `Progress` without output."""

    def __init__(self, total: int, unit: str) -> None:
        pass

    def __enter__(self) -> OnProgress:
        return lambda count: None

    def __exit__(self, *_: object) -> None:
        pass
