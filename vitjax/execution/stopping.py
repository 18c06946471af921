"""SIGTERM, SIGINT and SIGHUP end a command soon, with one line and an exit code of its own, whatever it is doing."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from vitjax.output.terminal import say

GRACE_S = {"SIGTERM": 20.0, "SIGHUP": 20.0, "SIGINT": 1.3}
"""Time for what is under way to end. Slurm and Kubernetes kill 30 s after SIGTERM; Ctrl-C is waited for."""


class Stopped(BaseException):
    """Raised in the main thread by the first signal. As with KeyboardInterrupt, handlers of `Exception` let it pass."""


class SignalsEndThis:
    """A context manager for the main thread of a command: the first signal raises `Stopped`, the second ends at once.

    Python runs signal handlers between two of its instructions, thus not while the main thread compiles a program or
    waits for a device. Therefore a second thread, which the operating system's handler wakes, ends the process when
    the time of `GRACE_S` is over. This loses nothing that is finished: files appear whole or not at all, and the kernel
    releases the locks.

    received: the first signal, or None. resumable: the directory that the same command resumes, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.resumable: object = None
        self._before: dict[signal.Signals, Any] = {}
        self._reader, self._writer = socket.socketpair()
        self._wakeup_before = -1

    @property
    def exit_code(self) -> int:
        """128 + the number of the signal, as shells report it: 143, 130 or 129."""
        return 128 + (self.received or signal.SIGTERM)

    @property
    def kept(self) -> str:
        """What the end of the process leaves, and how to go on, for the line that the user reads."""
        if self.resumable is None:
            return "what is finished is kept"
        return f"what is finished is kept: run the same command again to resume {self.resumable}"

    def __enter__(self) -> SignalsEndThis:
        global _active
        self._writer.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self.install()
        _active = self
        threading.Thread(target=self._watch, name="vitjax-signals", daemon=True).start()
        return self

    def install(self) -> None:
        """Set the handlers. A signal that is ignored, as SIGHUP is under nohup, stays ignored."""
        for name in GRACE_S:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before = signal.signal(number, self._on_signal)
                self._before.setdefault(number, before)

    def __exit__(self, *_: object) -> None:
        global _active
        if self.received is not None:
            return  # the process is ending; handlers and thread stay, for a second signal and for what does not end
        _active = None
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._writer.close()

    def end(self) -> NoReturn:
        """End the process now that its files are closed: the interpreter's own end can take seconds."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        _release_semaphores()
        os._exit(self.exit_code)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number)
            raise Stopped(self.received.name)

    def _watch(self) -> None:
        first = self._next_signal()
        if first is None:
            return
        if self._next_signal(GRACE_S[first.name]) is not None:
            self._end(first, "again")
        self._end(first, f"did not end within {GRACE_S[first.name]:g} s")

    def _end(self, first: signal.Signals, why: str) -> NoReturn:
        os.write(2, f"\nvitjax: ended at once by {first.name} ({why}); {self.kept}\n".encode())
        _release_semaphores()
        os._exit(128 + first)

    def _next_signal(self, seconds: float | None = None) -> signal.Signals | None:
        self._reader.settimeout(seconds)
        while True:
            try:
                data = self._reader.recv(1)
            except TimeoutError:
                return None
            if not data:
                return None
            if (number := signal.Signals(data[0])).name in GRACE_S:
                return number


def _release_semaphores() -> None:
    """Unlink the named semaphores of this process. Python's resource tracker would do that later, but with warnings on
    stderr after the command's last line."""
    synchronize, util = (sys.modules.get(f"multiprocessing.{name}") for name in ("synchronize", "util"))
    with suppress(Exception):  # a private part of the standard library: at worst, there are warnings
        cleanup = synchronize.SemLock._cleanup  # type: ignore[union-attr]
        for finalizer in list(util._finalizer_registry.values()):  # type: ignore[union-attr]
            if finalizer._callback is cleanup:
                finalizer()


def until_a_signal(run: Callable[[], None]) -> None:
    """Run a command; a signal ends it with one line on stderr and the signal's exit code."""
    with SignalsEndThis() as signals:
        try:
            run()
        except BaseException:  # a library may have made another exception of the signal's
            if signals.received is None:
                raise
            say(f"vitjax: stopped by {signals.received.name}; {signals.kept}", error=True)
            signals.end()


def keep_handlers() -> None:
    """Set the handlers again after a library has replaced them, as jax.distributed and Ray do."""
    if _active is not None and threading.current_thread() is threading.main_thread():
        _active.install()


def resumes(directory: object) -> None:
    """Let the line after a signal say that the same command resumes this directory."""
    if _active is not None:
        _active.resumable = directory


_active: SignalsEndThis | None = None
