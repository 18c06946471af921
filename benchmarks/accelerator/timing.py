"""Times calls on a device that runs asynchronously to the host, and finds the batch at which they are fastest.

Has no command of its own: the sections of `python -m benchmarks.accelerator` use it. Prints nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import jax

from benchmarks.accelerator.setup import Clock
from benchmarks.harness import Case

LONGEST, FEWEST = 2.0, 3
"""Seconds after which no round begins, once so many rounds are complete."""
GROWTH = 1.03
"""The search for the best batch stops when twice the batch gives less than this many times the images per second."""
NO_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "OUT_OF_MEMORY")
"""Texts that identify an out-of-memory error."""


class Timed(NamedTuple):
    """Seconds of a call: the median over the rounds, and in each round."""

    seconds: float
    rounds: list[float]


class BestBatch(NamedTuple):
    """The best batch of a search with its case and times, and every batch that was tried, as rows of the results."""

    batch: int
    case: Case
    timed: Timed
    tried: list[dict[str, Any]]


def timed(run: Callable[[], Any], clock: Clock) -> Timed:
    """Time calls, after one call for warming up.

    A round starts several calls before it waits for their results, as a pipeline does, so that it takes about
    `clock.round_seconds`.
    """
    jax.block_until_ready(run())
    calls = max(1, round(clock.round_seconds / max(_seconds(run, 1), 1e-6)))
    rounds: list[float] = []
    started = time.perf_counter()
    while len(rounds) < clock.rounds:
        enough = time.perf_counter() - started > LONGEST or not clock.allows(calls * rounds[-1] if rounds else 0)
        if enough and len(rounds) >= FEWEST:
            break
        rounds.append(_seconds(run, calls))
    return Timed(median(rounds), [float(f"{seconds:.6g}") for seconds in rounds])


def _seconds(run: Callable[[], Any], calls: int) -> float:
    """Mean seconds of consecutive calls. Results are dropped at once but for the last: those of all calls may exceed
    the memory, and the allocator then waits 10 s before it fails."""
    started = time.perf_counter()
    result = None
    for _ in range(calls):
        result = run()
    jax.block_until_ready(result)  # a device runs programs in the order in which they were started
    return (time.perf_counter() - started) / calls


def best_batch(case_at: Callable[[int], Case], first: int, most: int, clock: Clock) -> BestBatch | None:
    """Find the batch with the most images per second.

    The batch is doubled from `first` until images per second stop growing, memory is exhausted, `most` is reached or no
    time is left. If `first` does not fit into memory, it is halved until it fits.

    Args:
        case_at: batch -> case.
        first: the first batch.
        most: the largest batch.
        clock: the time that is left.

    Returns:
        None if no batch fits.
    """
    best: BestBatch | None = None
    tried: list[dict[str, Any]] = []
    batch = first
    while 1 <= batch <= most:
        started = time.perf_counter()
        try:
            case = case_at(batch)
            times = timed(case.run, clock)
        except RuntimeError as error:  # JAX's and PyTorch's out-of-memory errors are subclasses
            if not any(text in str(error) for text in NO_MEMORY):
                raise
            tried.append({"batch": batch, "error": "out of memory"})
            if best is not None:
                break
            batch //= 2
            continue
        rate = case.items / times.seconds
        tried.append({"batch": batch, "images_per_s": round(rate, 1), "compile_s": case.compile_s})
        grown = best is None or rate > GROWTH * best.case.items / best.timed.seconds
        if best is None or rate > best.case.items / best.timed.seconds:
            best = BestBatch(batch, case, times, tried)
        spent = time.perf_counter() - started
        if not grown or not clock.allows(1.5 * spent) or any("error" in attempt for attempt in tried):
            break
        batch *= 2
    return best
