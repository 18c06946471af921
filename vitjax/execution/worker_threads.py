"""Worker threads for a CPU: one for each core, each running an executable on its part of the work.

XLA's CPU backend runs a batched matrix product, which is most of attention, on one core. With a part of the batch in
each of as many threads as there are cores, all cores are busy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import jax

from vitjax.execution.jax_settings import setting

T, R = TypeVar("T"), TypeVar("R")

_thread_state = threading.local()


def worker_count() -> int:
    """Number of worker threads: the cores of a CPU; 1 inside a worker thread and on other platforms."""
    if jax.default_backend() != "cpu" or getattr(_thread_state, "taken", False):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_threads(run: Callable[[T], R], items: Iterable[T], stop: threading.Event | None = None) -> list[R]:
    """[run(item) for item in items] in worker threads, under the caller's settings of precision and of JAX's debugger.

    Raises: the exception of the first item that fails, or the caller's KeyboardInterrupt, after all calls that have
        begun have ended. `stop` is set first, so that they can end early.
    """
    items = list(items)
    if worker_count() == 1 or len(items) < 2:
        return [run(item) for item in items]
    precision, wide = setting("jax_default_matmul_precision"), setting("jax_enable_x64")
    nans, infs = setting("jax_debug_nans"), setting("jax_debug_infs")

    def in_thread(item: T) -> R:
        _thread_state.taken = True
        with jax.default_matmul_precision(precision), jax.enable_x64(wide), jax.debug_nans(nans), jax.debug_infs(infs):
            return run(item)

    futures = [_threads().submit(in_thread, item) for item in items]
    try:
        return [future.result() for future in futures]
    except BaseException:
        if stop is not None:
            stop.set()
        raise
    finally:
        for future in futures:
            future.cancel()
        wait(futures)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(worker_count(), "vitjax-worker")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork
    os.register_at_fork(after_in_child=_threads.cache_clear)
