"""Locks on a run directory: each of the processes 0..n-1 of a run may write to it once, for a single value of n.

The locks are kernel locks (flock), which the kernel releases when a process is killed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path

from vitjax.errors import RunError
from vitjax.output.terminal import say
from vitjax.storage import writing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM})
"""Answers of file systems without locks, such as NFS without its lock daemon."""


class Slot:
    """A context manager that holds the lock of process `process` of `count` on a run directory.

    locked: whether the file system has locks. Without them a warning names the directory, and the caller must not
        start two processes with the same number: nothing prevents it.
    """

    def __init__(self, directory: Path, process: int, count: int) -> None:
        self.directory, self.process, self.count = directory / "locks", process, count
        self.locked = True
        self._stream: int | None = None

    @property
    def name(self) -> str:
        return f"{self.process}-of-{self.count}"

    def __enter__(self) -> Slot:
        """Acquire the lock.

        Raises:
            RunError: another process holds this lock, or one for another `count`.
            OutputError: a file cannot be written.
        """
        own_path = self.directory / self.name
        with writing(own_path), contextlib.ExitStack() as guarded:
            self.directory.mkdir(exist_ok=True)
            guard = os.open(self.directory / "guard", os.O_RDWR | os.O_CREAT, 0o666)
            guarded.callback(os.close, guard)
            if not self._lock(guard, wait=True):
                return self
            for path in sorted(self.directory.glob("*-of-*")):
                if path.name == self.name or not path.name.endswith(f"-of-{self.count}"):
                    self._refuse_if_held(path)
            own = os.open(own_path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._lock(own)
                os.ftruncate(own, 0)
                os.write(own, f"process {os.getpid()} on {socket.gethostname()}".encode())
            except BaseException:
                os.close(own)
                raise
            self._stream = own
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            os.close(self._stream)
            self._stream = None

    def _lock(self, stream: int, *, wait: bool = False) -> bool:
        """Lock an open file; False, after a warning, if there are no locks here.

        Raises:
            BlockingIOError: another process holds it, and `wait` is False.
        """
        try:
            if fcntl is None:
                raise OSError(errno.ENOSYS, "this system has no flock")
            fcntl.flock(stream, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            self.locked = False
            say(
                f"{self.directory.parent}: no file locks here ({error.strerror}): take care that no second process is "
                f"started as {self.process}/{self.count} of this run",
                error=True,
            )
        return self.locked

    def _refuse_if_held(self, path: Path) -> None:
        stream = os.open(path, os.O_RDWR)
        try:
            self._lock(stream)
        except BlockingIOError:
            holder = path.read_text(encoding="utf-8", errors="replace") or "another process"
            raise RunError(
                f"{self.directory.parent}: {holder} is writing to it as process {path.name}; this process would be "
                f"{self.name}. Start all processes with the same n and different i (--process i/n)"
            ) from None
        finally:
            os.close(stream)
