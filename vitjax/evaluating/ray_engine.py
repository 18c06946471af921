"""Evaluation on a Ray cluster whose nodes may join and leave: each accelerator has an actor that evaluates chunks.

Ray schedules the actors and detects lost ones, whose chunks are given to new actors. Records are the same as those of
the local engine.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vitjax.errors import ConfigError, RunError
from vitjax.evaluating.engine import chunks_to_evaluate, is_open, publish
from vitjax.evaluating.job import Job
from vitjax.execution.progress import Progress, Silent
from vitjax.execution.stopping import keep_handlers
from vitjax.output.terminal import say
from vitjax.rundir.contents_file import read_contents
from vitjax.rundir.locks import Slot
from vitjax.rundir.store import RunStore

TRIES = 3
"""The run stops when the actors of one chunk are lost this many times, because the chunk is then the likely cause."""


class ChunkActor:
    """Evaluates chunks on one accelerator, or on the CPU cores that Ray assigns if there is none."""

    def __init__(self, job: Job, directory: str, batch_size: int, cache: str | None) -> None:
        from vitjax.evaluating.compute import Evaluator

        self.job, self.cache = job, None if cache is None else Path(cache)
        self.store = RunStore.open(Path(directory))
        self.store.contents = read_contents(self.store)
        self.evaluator = Evaluator(job, batch_size=batch_size)
        self.store.log("ray", event="started", **self.evaluator.environment())

    def run(self, chunk: int) -> int:
        """Evaluate a chunk and write its record file; returns the number of images."""
        from vitjax.data.loader import load_chunks

        plan = [self.job.chunks[chunk]]
        for samples in load_chunks(self.job.source, self.job.model.preprocessing, plan, workers=0, cache=self.cache):
            if not is_open(self.store, chunk, samples):
                publish(self.job, self.store, chunk, samples, self.evaluator.chunk(samples))
        return len(plan[0])


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
    """Evaluate the unfinished chunks of a run on the connected Ray cluster, or on a local one that is started for it.

    The run directory must be on a file system that all nodes share.

    Args:
        job: the evaluation.
        store: its run directory.
        batch_size: images in one call on each device.
        workers: ignored, since each actor decodes in threads.
        cache: folder for decoded images; None disables the cache.
        progress: shows the number of finished images.
        actors: number of actors; None: one per GPU or TPU of the cluster, or one per core if there are none.

    Raises:
        ConfigError: Ray is not installed.
        RunError: the actors of a chunk were lost TRIES times.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError("--engine ray needs Ray: pip install 'vitjax[ray]'") from None

    with Slot(store.directory, 0, 1) as slot:
        if slot.locked:
            store.remove_partial_files()
        for line in store.remove_damaged():
            say(line, error=True)
        unfinished = deque(chunks_to_evaluate(job, store))
        if not unfinished:
            return
        started = not ray.is_initialized()
        if started:
            ray.init(log_to_driver=False, include_dashboard=False)
        keep_handlers()
        try:
            _run(ray, job, store, unfinished, batch_size, cache, progress, actors)
        finally:
            if started:
                ray.shutdown()


def _run(
    ray: Any,
    job: Job,
    store: RunStore,
    unfinished: deque[int],
    batch_size: int,
    cache: Path | None,
    progress: Progress | None,
    actors: Any,
) -> None:
    resources, available = _resources(ray)
    actor_class = ray.remote(max_restarts=0, **resources)(ChunkActor)
    host_job = replace(job, model=replace(job.model, params=jax.tree.map(np.asarray, job.model.params)))
    shared_job = ray.put(host_job)
    options = str(store.directory.resolve()), batch_size, None if cache is None else str(cache.resolve())

    def new_actor() -> Any:
        return actor_class.remote(shared_job, *options)

    losses: dict[int, int] = {}
    total = sum(len(job.chunks[chunk]) for chunk in unfinished)
    with (progress or Silent)(total, "images") as on_progress:
        running: dict[Any, tuple[Any, int]] = {}
        for _ in range(min(actors or available, len(unfinished))):
            _start_next(new_actor(), unfinished, running)
        while running:
            (ready, *_), _ = ray.wait(list(running))
            actor, chunk = running.pop(ready)
            try:
                on_progress(ray.get(ready))
            except ray.exceptions.RayActorError as error:
                losses[chunk] = losses.get(chunk, 0) + 1
                if losses[chunk] == TRIES:
                    raise RunError(f"chunk {chunk}: its worker was lost {TRIES} times; last error: {error}") from error
                say(f"chunk {chunk}: its worker was lost; a new worker evaluates it again", error=True)
                unfinished.appendleft(chunk)
                actor = new_actor()
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, Exception) else error from None
            if unfinished:
                _start_next(actor, unfinished, running)


def _start_next(actor: Any, unfinished: deque[int], running: dict[Any, tuple[Any, int]]) -> None:
    chunk = unfinished.popleft()
    running[actor.run.remote(chunk)] = actor, chunk


def _resources(ray: Any) -> tuple[dict[str, Any], int]:
    """The resources of one actor, and the number of actors that the cluster has resources for."""
    cluster = ray.cluster_resources()
    for name in ("GPU", "TPU"):
        if cluster.get(name, 0) >= 1:
            resources: dict[str, Any] = {"num_gpus": 1} if name == "GPU" else {"resources": {"TPU": 1}}
            return resources, int(cluster[name])
    return {"num_cpus": 1}, max(1, int(cluster.get("CPU", 1)))
