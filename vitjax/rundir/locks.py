"""Locks on a run directory: each of the processes 0..n-1 of a run may write to it once, for a single value of n.

The locks are kernel locks (flock), which the kernel releases when a process is killed.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from vitjax.errors import RunError

try:
    import fcntl
except ModuleNotFoundError:  # Windows: everything but evaluations works there
    fcntl = None  # type: ignore[assignment]


class Slot:
    """A context manager that holds the lock of process `process` of `count` on a run directory."""

    def __init__(self, directory: Path, process: int, count: int) -> None:
        self.directory, self.process, self.count = directory / "locks", process, count
        self._stream: int | None = None

    @property
    def name(self) -> str:
        return f"{self.process}-of-{self.count}"

    def __enter__(self) -> Slot:
        """Acquire the lock.

        Raises:
            RunError: another process holds this lock, or one for another `count`.
        """
        if fcntl is None:
            raise RunError("an evaluation needs the file locks of Linux or macOS; on Windows, run it under WSL")
        self.directory.mkdir(exist_ok=True)
        guard = os.open(self.directory / "guard", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX)
            for path in sorted(self.directory.glob("*-of-*")):
                if path.name == self.name or not path.name.endswith(f"-of-{self.count}"):
                    self._refuse_if_held(path)
            own = os.open(self.directory / self.name, os.O_RDWR | os.O_CREAT)
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(own, 0)
            os.write(own, f"process {os.getpid()} on {socket.gethostname()}".encode())
            self._stream = own
        finally:
            os.close(guard)
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            os.close(self._stream)
            self._stream = None

    def _refuse_if_held(self, path: Path) -> None:
        stream = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text(encoding="utf-8", errors="replace") or "another process"
            raise RunError(
                f"{self.directory.parent}: {holder} is writing to it as process {path.name}; this process would be "
                f"{self.name}. Start all processes with the same n and different i (--process i/n)"
            ) from None
        finally:
            os.close(stream)
