"""The evaluations of one image's map, distributed over the worker threads of a CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, reduce
from operator import add
from typing import Any

import jax
import numpy as np

from vitjax.execution.map_reduce import MapReduce
from vitjax.execution.plan import ExecutionPlan
from vitjax.execution.program import Program
from vitjax.execution.worker_threads import run_in_threads, worker_count


class ParallelMapReduce:
    """Maps of fewer images than there are worker threads: each image's evaluations are divided among several threads.

    explain: (params, *arguments of one image, seed) -> its map, or a `MapReduce`.
    """

    def __init__(self, explain: Callable[..., Any], plan: ExecutionPlan) -> None:
        self._explain, self._plan = explain, plan
        self._round = cache(self._program)

    def __call__(self, params: Any, images: Sequence[tuple[Any, ...]], seed: Any) -> np.ndarray:
        """(params, [arguments of one image, ...], seed) -> maps [b, ...].

        One program for each `MapReduce` in turn, and one for the map; each receives the values of those before it.
        """
        parts = max(1, worker_count() // len(images))
        values: list[tuple[Any, ...]] = [() for _ in images]
        while True:
            calls = [
                [(params, *image, seed, before, np.int32(number)) for number in range(parts)]
                for image, before in zip(images, values, strict=True)
            ]
            run = self._round(parts).executable(*calls[0][0])
            done = "map" in jax.tree.unflatten(run.out_tree, range(run.out_tree.num_leaves))
            parts = 1 if done else parts
            flat = [call for of_image in calls for call in of_image[:parts]]
            results = iter(run_in_threads(_fetching(run), flat))
            joined = [_joined([next(results) for _ in range(parts)]) for _ in images]
            if done:
                return np.stack(joined)
            values = [(*before, new) for before, new in zip(values, joined, strict=True)]

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


def _fetching(run: Callable[..., Any]) -> Callable[[tuple[Any, ...]], Any]:
    return lambda arguments: jax.device_get(run(*arguments))


def _joined(parts: list[dict[str, Any]]) -> Any:
    """The values of all parts of one image, concatenated or summed as their key says."""
    (kind,) = parts[0]
    trees = [part[kind] for part in parts]
    if kind == "kept":
        return jax.tree.map(lambda *values: np.concatenate(values), *trees)
    return jax.tree.map(lambda *values: reduce(add, values), *trees)
