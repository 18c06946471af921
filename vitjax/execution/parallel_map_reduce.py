"""The queries that one map is made of, spread over the cores of a CPU."""

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
    """Maps of fewer images than there are lanes: every image's queries are cut into parts, one for each lane.

    explain: (params, *what there is of one image, seed) -> its map, or Queries.
    """

    def __init__(self, explain: Callable[..., Any], plan: ExecutionPlan) -> None:
        self._explain, self._plan = explain, plan
        self._round = cache(self._program)

    def __call__(self, params: Any, images: Sequence[tuple[Any, ...]], seed: Any) -> np.ndarray:
        """(params, [what there is of one image, ...], seed) -> maps [b, ...].

        One program for each round of queries, and one for what comes of the last; each is given what those before
        found.
        """
        parts = max(1, worker_count() // len(images))
        found: list[tuple[Any, ...]] = [() for _ in images]
        while True:
            calls = [
                [(params, *image, seed, before, np.int32(number)) for number in range(parts)]
                for image, before in zip(images, found, strict=True)
            ]
            run = self._round(parts).executable(*calls[0][0])
            done = "map" in jax.tree.unflatten(run.out_tree, range(run.out_tree.num_leaves))
            parts = 1 if done else parts
            flat = [call for of_image in calls for call in of_image[:parts]]
            results = iter(run_in_threads(_fetching(run), flat))
            joined = [_joined([next(results) for _ in range(parts)]) for _ in images]
            if done:
                return np.stack(joined)
            found = [(*before, each) for before, each in zip(found, joined, strict=True)]

    def _program(self, parts: int) -> Program:
        def run(*arguments):
            *plain, before, number = arguments
            found = self._explain(*plain)
            for each in before:
                found = found.after(each)
            if not isinstance(found, MapReduce):
                return {"map": found}
            return {"kept" if found.kept else "sum": found.part(number, parts)}

        return Program(run, (), self._plan)


def _fetching(run: Callable[..., Any]) -> Callable[[tuple[Any, ...]], Any]:
    return lambda arguments: jax.device_get(run(*arguments))


def _joined(parts: list[dict[str, Any]]) -> Any:
    """What all parts of one image found; the key says how it goes together."""
    (kind,) = parts[0]
    trees = [each[kind] for each in parts]
    if kind == "kept":
        return jax.tree.map(lambda *each: np.concatenate(each), *trees)
    return jax.tree.map(lambda *each: reduce(add, each), *trees)
