"""Executables of the devices of one process, each compiled once."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any

from vitjax.execution.devices import Devices
from vitjax.execution.flops import flops


class ProgramCache:
    """Compiles a program at its first call under a key, checks it for communication, and runs it from then on.

    Threads may call it at the same time; one of them compiles.
    """

    def __init__(self, devices: Devices) -> None:
        self.devices = devices
        self.counter: FlopCounter | None = None
        self._executables: dict[Hashable, Any] = {}
        self._compiling = threading.Lock()

    def __call__(self, key: Hashable, program: Any, *arguments: Any) -> Any:
        """Results of the program, which may still be computing. The key says program and shapes."""
        with self._compiling:
            if key not in self._executables:
                self._executables[key] = self.devices.compile(program, *arguments)
            if self.counter is not None:
                self.counter.add(key, program, *arguments)
            executable = self._executables[key]
        return executable(*arguments)

    def clear(self) -> None:
        """Forget everything: the shapes are others from now on."""
        self._executables.clear()


class FlopCounter:
    """Floating-point operations of all calls so far; each program is traced once more for it."""

    def __init__(self) -> None:
        self.total = 0.0
        self._known: dict[Hashable, float] = {}

    def add(self, key: Hashable, program: Any, *arguments: Any) -> None:
        """Count one call."""
        if key not in self._known:
            self._known[key] = flops(program, *arguments)
        self.total += self._known[key]
