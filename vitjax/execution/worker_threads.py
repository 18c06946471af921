"""Worker threads, one on each core of a CPU, each running a program of its own.

On a CPU, XLA runs a batched matrix product, most of attention, on one core, whatever the machine has. With a part of
the batch in each of as many threads as there are cores, every core is busy all the time."""

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
    """Programs that are run side by side: one on each core of a CPU; one inside a lane, and on other devices."""
    if jax.default_backend() != "cpu" or getattr(_thread_state, "taken", False):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_threads(run: Callable[[T], R], items: Iterable[T], stop: threading.Event | None = None) -> list[R]:
    """[run(each) for each in items], as many at a time as there are lanes, under the caller's settings of precision.

    Raises what the first of them raises, or the interrupt of the caller, once those that have begun have ended; `stop`
    is set before that, for whoever wants to end early.
    """
    items = list(items)
    if worker_count() == 1 or len(items) < 2:
        return [run(each) for each in items]
    precision, wide = setting("jax_default_matmul_precision"), setting("jax_enable_x64")

    def in_thread(each: T) -> R:
        _thread_state.taken = True
        with jax.default_matmul_precision(precision), jax.enable_x64(wide):
            return run(each)

    futures = [_threads().submit(in_thread, each) for each in items]
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
    return ThreadPoolExecutor(worker_count(), "lane")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork
    os.register_at_fork(after_in_child=_threads.cache_clear)
