"""The loop: chunks that are not done -> decoded in the background -> computed -> published, one file each."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, Protocol

import jax

from vitjax.data.loader import default_workers, load_chunks
from vitjax.data.source import Samples
from vitjax.evaluating.compute import Evaluator
from vitjax.evaluating.job import Job
from vitjax.evaluating.profile import profile
from vitjax.evaluating.records import table
from vitjax.evaluating.results import Results
from vitjax.execution import compilation_cache
from vitjax.rundir.locks import Slot
from vitjax.rundir.saved_maps import save_maps
from vitjax.rundir.store import RunStore


class Progress(Protocol):
    """(total, unit) -> a context that yields a function to call with the number just finished."""

    def __call__(self, total: int, unit: str) -> AbstractContextManager[Callable[[int], Any]]: ...


def run_chunks(
    job: Job,
    store: RunStore,
    *,
    process: tuple[int, int] = (0, 1),
    batch_size: int = 16,
    devices: Sequence[jax.Device] | None = None,
    workers: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    profiled: bool = False,
) -> None:
    """Compute every chunk of this process that has no sound record file yet.

    `profiled`: process 0 first runs every quick method alone on one batch, for profile.json.

    Raises RunError where another process has this slot, the disk is full, or a picture is too much for the device;
    ImageError where a loader worker dies. What was published stays, and the same call goes on from there.
    """
    with Slot(store.directory, *process) as slot:
        if process[1] == 1:
            store.sweep()
        for path in store.damaged():
            if int(path.name.split("-")[1]) % process[1] == process[0]:
                print(f"{path}: damaged, its chunk is computed again", file=sys.stderr)
                path.unlink(missing_ok=True)
        done = store.finished()
        todo = [chunk for chunk in range(process[0], len(job.chunks), process[1]) if chunk not in done]
        if todo:
            first = profiled and process[0] == 0
            _compute(job, store, slot.name, todo, batch_size, devices, workers, cache, progress, first)


def _compute(job, store, slot, todo, batch_size, devices, workers, cache, progress, profiled) -> None:
    compilation_cache.enable()
    total = sum(len(job.chunks[chunk]) for chunk in todo)
    profile_file = store.directory / "profile.json"
    started = time.perf_counter()
    with (progress or Silent)(total, "images") as on_progress, ThreadPoolExecutor(1) as writer:
        evaluator = Evaluator(job, batch_size=batch_size, devices=devices, on_progress=on_progress)
        store.log(slot, event="started", chunks=len(todo), images=total, **evaluator.surroundings())
        writing: Future[None] | None = None
        loading = _loaded(job, todo, workers, cache)
        with closing(loading):
            for chunk, samples in zip(todo, loading, strict=True):
                if profiled and not profile_file.exists():
                    _write_profile(store, chunk, profile_file, profile(evaluator, samples))
                results = evaluator.chunk(samples)
                if writing is not None:
                    writing.result()
                writing = writer.submit(publish, job, store, chunk, samples, results)
                on_progress(len(samples) - int((results.target >= 0).sum()))  # the others were counted as they came
            if writing is not None:
                writing.result()
    seconds = time.perf_counter() - started
    store.log(
        slot,
        event="finished",
        images=total,
        seconds=round(seconds, 3),
        images_per_second=round(total / seconds, 3),
        batch_halved_to=evaluator.halved,
        slow_methods=evaluator.seconds,
        peak_host_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        peak_device_mib=device_peak(evaluator),
    )


def publish(job: Job, store: RunStore, chunk: int, samples: Samples, results: Results) -> None:
    """Write what one chunk gave; the record file last, since it is what makes the chunk done."""
    if job.save_maps:
        save_maps(store, chunk, samples.ids, results.maps, job.save_maps)
    store.write(chunk, table(job, samples, results))


def _write_profile(store: RunStore, chunk: int, path: Path, found: dict[str, Any]) -> None:
    store.publish(chunk, path, lambda stream: stream.write((json.dumps(found, indent=1) + "\n").encode()))


def device_peak(evaluator: Evaluator) -> float | None:
    """Peak bytes in use on a device [MiB], where the platform counts them."""
    stats = [device.memory_stats() or {} for device in evaluator.devices.devices]
    peaks = [each["peak_bytes_in_use"] for each in stats if "peak_bytes_in_use" in each]
    return round(max(peaks) / 2**20, 1) if peaks else None


def _loaded(job: Job, todo: Sequence[int], workers: int | None, cache: Path | None) -> Generator[Samples, None, None]:
    workers = default_workers() if workers is None else workers
    chunks = [job.chunks[chunk] for chunk in todo]
    return load_chunks(job.source, job.model.preprocessing, chunks, workers=workers, cache=cache)


class Silent:
    """A `Progress` that says nothing."""

    def __init__(self, total: int, unit: str) -> None:
        pass

    def __enter__(self) -> Callable[[int], None]:
        return lambda count: None

    def __exit__(self, *_: object) -> None:
        pass
