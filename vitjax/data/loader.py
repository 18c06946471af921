"""Decode the chunks of a source in the background, in threads of this process or in worker processes."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from vitjax.data.arrays import Arrays
from vitjax.data.batch import Batch
from vitjax.data.cache import Cache
from vitjax.data.decode import effective
from vitjax.data.retries import decode_with_retries
from vitjax.data.source import Samples, Source
from vitjax.errors import ConfigError
from vitjax.images.geometry import Preprocessing
from vitjax.output.terminal import say

ChunkPlan = Sequence[tuple[int, ...]]
"""The chunks of a run in order, each the indices of its images in the source."""


def default_workers() -> int:
    """The default number of worker processes of `load_chunks`: 0 below 8 cores, and for a script without a main guard.

    Threads share one interpreter and keep about four cores busy with decoding. A worker process takes one to four
    seconds to start and 200 MB of memory.
    """
    cores = _cores()
    if cores < 8:
        return 0
    script = _unguarded_script()
    if script is not None:
        say(
            f"decoding in threads: worker processes would run {script} again, which has no "
            "`if __name__ == '__main__':`",
            error=True,
        )
        return 0
    return min(cores - 2, 16)


def _unguarded_script() -> str | None:
    """The script that runs, if worker processes, which import it, would run it again."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path is None or getattr(main, "__spec__", None) is not None:  # interactive, or python -m
        return None
    try:
        return None if b"__main__" in Path(path).read_bytes() else str(path)
    except OSError:
        return None


def load_chunks(
    source: Source,
    preprocessing: Preprocessing,
    chunks: Sequence[Sequence[int]],
    *,
    workers: int,
    ahead: int = 2,
    cache: Path | None = None,
) -> Generator[Samples, None, None]:
    """Decode chunks of a source in the background and yield them in order.

    Args:
        source: the data set.
        preprocessing: the model's; `decode.effective` adapts it to the source.
        chunks: indices into the source, one sequence per chunk.
        workers: 0 decodes in threads of this process. n > 0 decodes in n processes, which grain starts and which never
            use the accelerator; the script then needs the guard `if __name__ == "__main__":`.
        ahead: at most this many chunks are decoded before they are requested, which bounds the memory.
        cache: folder for decoded chunks. A second run reads them and decodes nothing.

    Yields:
        One `Samples` per chunk. Unusable images have a status and do not affect the others; an image that the storage
        does not give, after several tries, has the status UNAVAILABLE. Close the iterator to stop
        early: its threads and processes then end.

    Raises:
        ImageError: a worker process died or the source failed; names source, index and id of the image.
        ConfigError: a chunk contains an index outside the source, or `workers` or `ahead` is out of range.
        OutputError: the cache cannot be written.

    Memory: 4 n H W bytes for a chunk of n images of H x W pixels, times `ahead` + 2.
    """
    if workers < 0 or ahead < 1:
        raise ConfigError(f"workers must be at least 0 and ahead at least 1, not {workers} and {ahead}")
    plan = [tuple(int(index) for index in chunk) for chunk in chunks]
    count = len(source.ids)
    for number, chunk in enumerate(plan):
        outside = [index for index in chunk if not 0 <= index < count]
        if outside:
            raise ConfigError(f"chunk {number} contains image {outside[0]}, but {source.name} has {count} images")
    if isinstance(source, Arrays):
        return _one_ahead(source.chunks(plan, effective(source, preprocessing).size))
    if cache is None:
        return _decode_chunks(source, preprocessing, plan, workers, ahead)
    store = Cache.at(cache, source, effective(source, preprocessing))
    return _load_with_cache(source, preprocessing, plan, workers, ahead, store)


def _one_ahead(chunks: Generator[Samples, None, None]) -> Generator[Samples, None, None]:
    """The same chunks; a thread prepares the next one while the caller uses the one before it."""
    with ThreadPoolExecutor(1, thread_name_prefix="vitjax-decode") as pool:
        upcoming = pool.submit(next, chunks, None)
        while (samples := upcoming.result()) is not None:
            upcoming = pool.submit(next, chunks, None)
            yield samples


def _decode_chunks(
    source: Source, preprocessing: Preprocessing, plan: ChunkPlan, workers: int, ahead: int
) -> Generator[Samples, None, None]:
    if workers == 0:
        return _load_in_threads(source, preprocessing, plan, ahead)
    from vitjax.data.worker_pool import load_in_processes

    return load_in_processes(source, preprocessing, plan, workers, ahead)


def _load_in_threads(
    source: Source, preprocessing: Preprocessing, plan: ChunkPlan, ahead: int
) -> Generator[Samples, None, None]:
    size = effective(source, preprocessing).size
    pool = ThreadPoolExecutor(_cores(), thread_name_prefix="vitjax-decode")
    pending: deque[tuple[Batch, list[Future[None]]]] = deque()

    def decode_into(batch: Batch, position: int) -> None:
        batch.put(position, decode_with_retries(source, batch.chunk[position], preprocessing))

    def submit(chunk: tuple[int, ...]) -> None:
        batch = Batch(source, chunk, size)
        pending.append((batch, [pool.submit(decode_into, batch, position) for position in range(len(chunk))]))

    try:
        for chunk in plan:
            submit(chunk)
            if len(pending) > ahead:
                yield _next_samples(pending)
        while pending:
            yield _next_samples(pending)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _next_samples(pending: deque[tuple[Batch, list[Future[None]]]]) -> Samples:
    batch, decodes = pending.popleft()
    for decoding in decodes:
        decoding.result()
    return batch.samples()


def _load_with_cache(
    source: Source,
    preprocessing: Preprocessing,
    plan: ChunkPlan,
    workers: int,
    ahead: int,
    store: Cache,
) -> Generator[Samples, None, None]:
    """Read chunks from the cache; decode the ones that it lacks, in order, and write them to the cache."""
    in_cache = [store.has(chunk) for chunk in plan]
    missing = [chunk for chunk, cached in zip(plan, in_cache, strict=True) if not cached]
    decoded = _decode_chunks(source, preprocessing, missing, workers, ahead)
    # A thread each for reading and writing, so that the caller computes while the disk works.
    reader, writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    to_read = deque(chunk for chunk, cached in zip(plan, in_cache, strict=True) if cached)
    reads: deque[Future[Samples | None]] = deque()
    writing: Future[None] | None = None
    try:
        for chunk, cached in zip(plan, in_cache, strict=True):
            while to_read and len(reads) < ahead:
                reads.append(reader.submit(store.read, source, to_read.popleft()))
            samples = reads.popleft().result() if cached else next(decoded)
            if samples is None:  # the file is truncated or altered
                with closing(_decode_chunks(source, preprocessing, [chunk], 0, 1)) as again:
                    samples = next(again)
                cached = False
            if not cached:
                if writing is not None:
                    writing.result()
                writing = writer.submit(store.write, source, samples)
            yield samples
        if writing is not None:
            writing.result()
    finally:
        reader.shutdown(wait=True, cancel_futures=True)
        writer.shutdown(wait=True)
        decoded.close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
