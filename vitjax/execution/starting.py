"""Imported first by the package: the command `vitjax` ends with one line also while its modules are imported.

That takes seconds, in which Ctrl-C would print a traceback from the depths of a library, or be lost in it; and JAX
refuses environment variables that it cannot read when it is imported. In any other program that imports vitjax, nothing
is installed. `vitjax.execution.stopping` replaces the handlers when it begins.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType


def is_the_command() -> bool:
    """Whether this process is `vitjax ...` or `python -m vitjax ...`, and no worker process of it."""
    process = sys.modules.get("multiprocessing.process")  # loaded in every worker process
    if process is not None and process.parent_process() is not None:
        return False
    if sys.argv[:1] == ["-m"]:  # before Python knows the module's file
        return sys.orig_argv[sys.orig_argv.index("-m") :][1:2] == ["vitjax"]
    program = sys.argv[0] if sys.argv else ""
    return program.replace("\\", "/").rpartition("/")[2] in ("vitjax", "vitjax.exe")


def _end(number: int, _: FrameType | None) -> None:
    os.write(2, f"vitjax: stopped by {signal.Signals(number).name} before it began\n".encode())
    os._exit(128 + number)


if is_the_command() and threading.current_thread() is threading.main_thread():
    for _name in ("SIGTERM", "SIGHUP", "SIGINT"):
        _number = getattr(signal, _name, None)  # Windows has no SIGHUP
        if _number is not None and signal.getsignal(_number) is not signal.SIG_IGN:
            signal.signal(_number, _end)
    try:
        import jax  # noqa: F401
    except ValueError as error:
        raise SystemExit(f"vitjax: error: JAX cannot start: {error}") from None
