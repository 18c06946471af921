"""The loop over the unfinished chunks of a run: decode in the background, evaluate, write the record file."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import jax

from vitjax.data.loader import default_workers, load_chunks
from vitjax.data.source import UNAVAILABLE, Samples
from vitjax.evaluating.compute import Evaluator
from vitjax.evaluating.identity import chunks_to_ask_again, digests
from vitjax.evaluating.job import Job
from vitjax.evaluating.profile import profile
from vitjax.evaluating.records import table
from vitjax.evaluating.results import Results
from vitjax.execution import compilation_cache
from vitjax.execution.progress import Progress, Silent
from vitjax.maps import deliberate_nans
from vitjax.output.terminal import say
from vitjax.rundir.contents_file import DIGESTS
from vitjax.rundir.locks import Slot
from vitjax.rundir.saved_maps import MAPS, chunks_without_maps, save_maps
from vitjax.rundir.sealed import sealed
from vitjax.rundir.store import RunStore


@deliberate_nans
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
    """Evaluate the unfinished chunks of one process of a run. Calling it again resumes the run.

    Args:
        job: the evaluation.
        store: its run directory.
        process: (i, n): this is process i of n, which evaluates chunks i, i + n, i + 2n, ...
        batch_size: images in one call on each device.
        devices: devices of this process; None uses all.
        workers: processes that decode; 0 uses threads, None `default_workers()`.
        cache: folder for decoded images; None disables the cache.
        progress: shows the number of finished images.
        profiled: whether process 0 first runs every quick method alone on one batch, for profile.json.

    Raises:
        RunError: another process holds the lock of this one, the disk is full, or one image per device exceeds the
            device's memory. Completed chunks are preserved.
        ImageError: a loader worker died. Completed chunks are preserved.
        OutputError: a file of the run cannot be written.

    A chunk with an image that the storage does not give, after several tries, is left open, and a line on stderr says
    so.
    """
    with Slot(store.directory, *process) as slot:
        if process[1] == 1 and slot.locked:
            store.remove_partial_files()
        for line in store.remove_damaged(process):
            say(line, error=True)
        unfinished = chunks_to_evaluate(job, store, process)
        if unfinished:
            profiles = profiled and process[0] == 0
            _run(job, store, slot.name, unfinished, batch_size, devices, workers, cache, progress, profiles)


def chunks_to_evaluate(job: Job, store: RunStore, process: tuple[int, int] = (0, 1)) -> list[int]:
    """The chunks of process (i, n) that are not finished, or lack their maps, or of which a missing image is back."""
    number, count = process
    own = range(number, len(job.chunks), count)
    done = {chunk: path for chunk, path in store.finished().items() if chunk in own}
    again = chunks_to_ask_again(job.source, done)
    for chunk, image in again.items():
        say(f"chunk {chunk}: an image that was missing is back ({image}); it is evaluated again", error=True)
    lost = chunks_without_maps(store)
    for chunk in lost & done.keys():
        say(f"chunk {chunk}: its saved maps are missing or damaged; it is evaluated again", error=True)
    return [chunk for chunk in own if chunk not in done or chunk in again or chunk in lost]


def is_open(store: RunStore, chunk: int, samples: Samples) -> bool:
    """Whether a chunk must be left open because the storage did not give an image; if so, prints a line."""
    if UNAVAILABLE not in samples.status:
        return False
    first = samples.cause[samples.status.index(UNAVAILABLE)]
    say(
        f"chunk {chunk} is left open: {samples.status.count(UNAVAILABLE)} of {len(samples)} images could not be read, "
        f"the first is {first}; the same command evaluates it when the storage is back",
        error=True,
    )
    store.log("open", event="left open", chunk=chunk, cause=first)
    return True


def _run(
    job: Job,
    store: RunStore,
    slot: str,
    unfinished: Sequence[int],
    batch_size: int,
    devices: Sequence[jax.Device] | None,
    workers: int | None,
    cache: Path | None,
    progress: Progress | None,
    profiled: bool,
) -> None:
    compilation_cache.enable()
    total = sum(len(job.chunks[chunk]) for chunk in unfinished)
    profile_file = store.directory / "profile.json"
    started = time.perf_counter()
    with (progress or Silent)(total, "images") as on_progress, ThreadPoolExecutor(1) as writer:
        evaluator = Evaluator(job, batch_size=batch_size, devices=devices, on_progress=on_progress)
        passed_over = dict(getattr(job.source, "skipped", {}))
        store.log(
            slot,
            event="started",
            chunks=len(unfinished),
            images=total,
            passed_over=passed_over,
            **evaluator.environment(),
        )
        writing: Future[None] | None = None
        loading = _load(job, unfinished, workers, cache)
        with closing(loading):
            for chunk, samples in zip(unfinished, loading, strict=True):
                if is_open(store, chunk, samples):
                    on_progress(len(samples))
                    continue
                if profiled and not profile_file.exists():
                    _write_profile(store, chunk, profile_file, profile(evaluator, samples))
                results = evaluator.chunk(samples)
                if writing is not None:
                    writing.result()
                writing = writer.submit(publish, job, store, chunk, samples, results)
                # The evaluator has already counted the images that it evaluated.
                on_progress(len(samples) - int((results.target >= 0).sum()))
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
        peak_host_mib=host_peak(),
        peak_device_mib=device_peak(evaluator),
    )


def publish(job: Job, store: RunStore, chunk: int, samples: Samples, results: Results) -> None:
    """Write the results of a chunk. The record file comes last, because it makes the chunk finished.

    Raises:
        RunError: a file cannot be written.
    """
    metadata: dict[bytes, str] = {}
    if job.save_maps:
        metadata[MAPS] = save_maps(store, chunk, samples.ids, results.maps, job.save_maps)
    records = table(job, samples, results)
    digests_of_files = digests(store, job.source, samples.index.tolist(), chunk)
    if digests_of_files:
        metadata[DIGESTS] = json.dumps(digests_of_files)
    store.write(chunk, records.replace_schema_metadata(metadata))


def _write_profile(store: RunStore, chunk: int, path: Path, measured: dict[str, Any]) -> None:
    content = json.dumps(sealed(measured, of=store.identity), indent=1, default=str) + "\n"
    store.publish(chunk, path, lambda stream: stream.write(content.encode()))


def host_peak() -> float | None:
    """The peak memory of this process [MiB], or None where the system does not report it (Windows)."""
    try:
        import resource
    except ModuleNotFoundError:
        return None
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def device_peak(evaluator: Evaluator) -> float | None:
    """The largest peak memory of a device [MiB], or None if the platform does not report it."""
    stats = [device.memory_stats() or {} for device in evaluator.devices.devices]
    peaks = [stat["peak_bytes_in_use"] for stat in stats if "peak_bytes_in_use" in stat]
    return round(max(peaks) / 2**20, 1) if peaks else None


def _load(
    job: Job, unfinished: Sequence[int], workers: int | None, cache: Path | None
) -> Generator[Samples, None, None]:
    workers = default_workers() if workers is None else workers
    chunks = [job.chunks[chunk] for chunk in unfinished]
    return load_chunks(job.source, job.model.preprocessing, chunks, workers=workers, cache=cache)
