"""The same chunks on a Ray cluster whose nodes may come and go: an actor for each accelerator pulls the next chunk.

Ray schedules and notices what is lost; a lost actor's chunk goes to another. Rows are those of the local engine.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vitjax.errors import ConfigError, RunError
from vitjax.evaluating.engine import Progress, Silent, publish
from vitjax.evaluating.job import Job
from vitjax.rundir.locks import Slot
from vitjax.rundir.store import RunStore

TRIES = 3
"""A chunk whose actor is lost so often is taken to be the cause."""


class ChunkActor:
    """Lives on one accelerator (or, without any, on the cores that Ray gives it) and computes chunks."""

    def __init__(self, job: Job, directory: str, batch_size: int, cache: str | None) -> None:
        from vitjax.evaluating.compute import Evaluator

        self.job, self.cache = job, None if cache is None else Path(cache)
        self.store = RunStore.open(Path(directory))
        self.evaluator = Evaluator(job, batch_size=batch_size)
        self.store.log("ray", event="started", **self.evaluator.surroundings())

    def run(self, chunk: int) -> int:
        """Compute and publish; returns the number of images."""
        from vitjax.data.loader import load_chunks

        places = [self.job.chunks[chunk]]
        for samples in load_chunks(self.job.source, self.job.model.preprocessing, places, workers=0, cache=self.cache):
            publish(self.job, self.store, chunk, samples, self.evaluator.chunk(samples))
        return len(places[0])


def run_on_ray(
    job: Job,
    store: RunStore,
    *,
    batch_size: int = 16,
    workers: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    actors: int | None = None,
) -> None:
    """Compute every chunk without a sound record file on the Ray cluster that is running, or on a local one.

    The run directory must be one that every node sees. `workers` is of no use here: each actor decodes in threads.

    Args: actors: how many; otherwise one for each GPU or TPU of the cluster, or for each core where there are none.
    Raises ConfigError where Ray is not installed; RunError where a chunk's actor is lost TRIES times.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError("--engine ray needs Ray: pip install 'vitjax[ray]'") from None

    with Slot(store.directory, 0, 1):
        store.sweep()
        for path in store.damaged():
            path.unlink(missing_ok=True)
        done = store.finished()
        todo = deque(chunk for chunk in range(len(job.chunks)) if chunk not in done)
        if not todo:
            return
        started = not ray.is_initialized()
        if started:
            ray.init(log_to_driver=False, include_dashboard=False)
        try:
            _pull(ray, job, store, todo, batch_size, cache, progress, actors)
        finally:
            if started:
                ray.shutdown()


def _pull(ray: Any, job: Job, store: RunStore, todo, batch_size, cache, progress, actors) -> None:
    needs, most = _resources(ray)
    remote = ray.remote(max_restarts=0, **needs)(ChunkActor)
    portable = replace(job, model=replace(job.model, params=jax.tree.map(np.asarray, job.model.params)))
    shared = ray.put(portable)
    where = str(store.directory.resolve()), batch_size, None if cache is None else str(cache.resolve())

    def hire() -> Any:
        return remote.remote(shared, *where)

    tries: dict[int, int] = {}
    total = sum(len(job.chunks[chunk]) for chunk in todo)
    with (progress or Silent)(total, "images") as on_progress:
        running: dict[Any, tuple[Any, int]] = {}
        for _ in range(min(actors or most, len(todo))):
            _give(hire(), todo, running)
        while running:
            (ready, *_), _ = ray.wait(list(running))
            actor, chunk = running.pop(ready)
            try:
                on_progress(ray.get(ready))
            except ray.exceptions.RayActorError as error:
                tries[chunk] = tries.get(chunk, 0) + 1
                if tries[chunk] == TRIES:
                    raise RunError(f"chunk {chunk}: its worker was lost {TRIES} times; the last: {error}") from error
                print(f"chunk {chunk}: its worker was lost, another takes it", file=sys.stderr)
                todo.appendleft(chunk)
                actor = hire()
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, Exception) else error from None
            if todo:
                _give(actor, todo, running)


def _give(actor: Any, todo: deque[int], running: dict[Any, tuple[Any, int]]) -> None:
    chunk = todo.popleft()
    running[actor.run.remote(chunk)] = actor, chunk


def _resources(ray: Any) -> tuple[dict[str, Any], int]:
    """What one actor asks for, and how many of them the cluster holds."""
    there = ray.cluster_resources()
    for name in ("GPU", "TPU"):
        if there.get(name, 0) >= 1:
            needs: dict[str, Any] = {"num_gpus": 1} if name == "GPU" else {"resources": {"TPU": 1}}
            return needs, int(there[name])
    return {"num_cpus": 1}, max(1, int(there.get("CPU", 1)))
