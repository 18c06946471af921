"""Seconds of a call on a device that computes while the host goes on, and the batch at which it is fastest."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import jax

from benchmarks.accelerator.setup import Clock
from benchmarks.harness import Case

LONGEST, FEWEST = 2.0, 3
"""Seconds after which no round begins, once there are so many."""
GROWTH = 1.03
"""Twice the batch must give this much more images per second to be worth it."""
NO_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "OUT_OF_MEMORY")


class Timed(NamedTuple):
    """Median seconds of a call, and of a call in each round."""

    seconds: float
    rounds: list[float]


class Found(NamedTuple):
    """The best batch of a search, its case and times; and every batch that was tried, as rows of the results."""

    batch: int
    case: Case
    timed: Timed
    tried: list[dict[str, Any]]


def timed(run: Callable[[], Any], clock: Clock) -> Timed:
    """Time calls after one that warms up. A round calls several times before it waits, as a pipeline does."""
    jax.block_until_ready(run())
    calls = max(1, round(clock.round_seconds / max(_seconds(run, 1), 1e-6)))
    rounds: list[float] = []
    started = time.perf_counter()
    while len(rounds) < clock.rounds:
        enough = time.perf_counter() - started > LONGEST or not clock.allows(calls * rounds[-1] if rounds else 0)
        if enough and len(rounds) >= FEWEST:
            break
        rounds.append(_seconds(run, calls))
    return Timed(median(rounds), [float(f"{each:.6g}") for each in rounds])


def _seconds(run: Callable[[], Any], calls: int) -> float:
    started = time.perf_counter()
    results = [run() for _ in range(calls)]
    jax.block_until_ready(results)
    return (time.perf_counter() - started) / calls


def best_batch(case_at: Callable[[int], Case], first: int, most: int, clock: Clock) -> Found | None:
    """Double the batch from `first` until images per second stop growing, memory ends, or there is no time.

    Where `first` does not fit, halves of it are tried. None where nothing fits.
    """
    best: Found | None = None
    tried: list[dict[str, Any]] = []
    batch = first
    while 1 <= batch <= most:
        started = time.perf_counter()
        try:
            case = case_at(batch)
            found = timed(case.run, clock)
        except RuntimeError as error:  # JAX's and PyTorch's are subclasses
            if not any(each in str(error) for each in NO_MEMORY):
                raise
            tried.append({"batch": batch, "error": "out of memory"})
            if best is not None:
                break
            batch //= 2
            continue
        rate = case.items / found.seconds
        tried.append({"batch": batch, "images_per_s": round(rate, 1), "compile_s": case.compile_s})
        grown = best is None or rate > GROWTH * best.case.items / best.timed.seconds
        if best is None or rate > best.case.items / best.timed.seconds:
            best = Found(batch, case, found, tried)
        spent = time.perf_counter() - started
        if not grown or not clock.allows(1.5 * spent) or any("error" in each for each in tried):
            break
        batch *= 2
    return best
