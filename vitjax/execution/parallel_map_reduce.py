"""The evaluations of one image's map, distributed over the worker threads of a CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cache, reduce
from operator import add
from typing import Any

import jax
import numpy as np

from vitjax.execution.map_reduce import MapReduce, layout
from vitjax.execution.plan import ExecutionPlan, planned
from vitjax.execution.program import Program
from vitjax.execution.progress import OnProgress
from vitjax.execution.worker_threads import run_in_threads, worker_count
from vitjax.shapes import ceil_div

CALLS, LEAST = 16, 8
"""A `MapReduce` is computed in about so many calls, each a step of the progress, of at least so many evaluations."""


def parts_of(size: int, together: int, threads: int) -> int:
    """Number of calls that share the evaluations of a `MapReduce`: the most of those that keep a thread least busy.

    A call may compute more evaluations than it needs, since parts and rounds are equal: 196 evaluations in 16 parts of
    13, two at a time, are 224. In 14 parts they are 196, as many as in one part a thread.
    """

    def evaluations_of_a_thread(parts: int) -> int:
        _, rounds, vmapped = layout(size, parts, together)
        return ceil_div(parts, threads) * rounds * vmapped

    most = max(threads, min(size // LEAST, threads * ceil_div(CALLS, threads)))
    return min(range(threads, most + 1), key=lambda parts: (evaluations_of_a_thread(parts), -parts))


class ParallelMapReduce:
    """Maps of fewer images than there are worker threads: each image's evaluations are divided among several threads.

    explain: (params, *arguments of one image, seed) -> its map, or a `MapReduce`.
    """

    def __init__(self, explain: Callable[..., Any], plan: ExecutionPlan) -> None:
        self._explain, self._plan = explain, plan
        self._round = cache(self._program)
        self._sizes: list[tuple[int, int]] | None = None

    def __call__(
        self, params: Any, images: Sequence[tuple[Any, ...]], seed: Any, on_progress: OnProgress = lambda count: None
    ) -> np.ndarray:
        """(params, [arguments of one image, ...], seed) -> maps [b, ...].

        One program for each `MapReduce` in turn, and one for the map; each receives the values of those before it.
        `on_progress` is called with the fraction of an image that is done, after each call of a program.
        """
        sizes = self._sizes = self._sizes or self._count(params, *images[0], seed)
        progress = _Shared(on_progress, sum(size for size, _ in sizes))
        threads = max(1, worker_count() // len(images))
        values: list[tuple[Any, ...]] = [() for _ in images]
        for size, together in sizes:
            parts = parts_of(size, together, threads)
            joined = self._joined(params, images, seed, values, parts, progress.step(size / parts))
            values = [(*before, new) for before, new in zip(values, joined, strict=True)]
        maps = np.stack(self._joined(params, images, seed, values, 1, lambda: None))
        progress.finish(len(images))
        return maps

    def _joined(
        self,
        params: Any,
        images: Sequence[tuple[Any, ...]],
        seed: Any,
        values: Sequence[tuple[Any, ...]],
        parts: int,
        step: Callable[[], None],
    ) -> list[Any]:
        """The results of one program for each image, which is called `parts` times."""
        calls = [
            (params, *image, seed, before, np.int32(number))
            for image, before in zip(images, values, strict=True)
            for number in range(parts)
        ]
        run = self._round(parts).executable(*calls[0])

        def fetch(arguments: tuple[Any, ...]) -> Any:
            result = jax.device_get(run(*arguments))
            step()
            return result

        results = iter(run_in_threads(fetch, calls))
        return [_joined([next(results) for _ in range(parts)]) for _ in images]

    def _count(self, *arguments: Any) -> list[tuple[int, int]]:
        """`size` and `together` of each `MapReduce` of an image in turn, found without computing them."""
        sizes: list[tuple[int, int]] = []

        def run(*arguments: Any) -> Any:
            result = self._explain(*arguments)
            while isinstance(result, MapReduce):
                sizes.append((result.size, result.together))
                result = result.after(result.part(0, 1))
            return result

        jax.eval_shape(planned(self._plan, run), *arguments)
        return sizes

    def _program(self, parts: int) -> Program:
        def run(*arguments: Any) -> dict[str, Any]:
            *plain, before, number = arguments
            result = self._explain(*plain)
            for values in before:
                result = result.after(values)
            if not isinstance(result, MapReduce):
                return {"map": result}
            return {"kept" if result.kept else "sum": result.part(number, parts)}

        return Program(run, (), self._plan)


class _Shared:
    """Fractions of images that several threads finish, handed on one at a time."""

    def __init__(self, on_progress: OnProgress, evaluations: int) -> None:
        self._on_progress, self._evaluations = on_progress, max(evaluations, 1)
        self._lock, self._done = threading.Lock(), 0.0

    def step(self, evaluations: float) -> Callable[[], None]:
        """What a thread calls when it has finished that many evaluations of one image."""
        return lambda: self._add(evaluations / self._evaluations)

    def finish(self, images: int) -> None:
        """Hand on what is left of all images: an image's fractions add up to 1 only but for rounding."""
        self._add(images - self._done)

    def _add(self, fraction: float) -> None:
        with self._lock:
            self._done += fraction
            self._on_progress(fraction)


def _joined(parts: list[dict[str, Any]]) -> Any:
    """The values of all parts of one image, concatenated or summed as their key says."""
    (kind,) = parts[0]
    trees = [part[kind] for part in parts]
    if kind == "kept":
        return jax.tree.map(lambda *values: np.concatenate(values), *trees)
    return jax.tree.map(lambda *values: reduce(add, values), *trees)
