"""Decoded chunks of a source, ahead of whoever computes on them: by threads here, or by worker processes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from vitjax.data.arrays import Arrays
from vitjax.data.batch import Batch
from vitjax.data.cache import Cache
from vitjax.data.decode import decode, effective
from vitjax.data.source import Samples, Source
from vitjax.errors import ConfigError
from vitjax.images.geometry import Preprocessing

Plan = Sequence[tuple[int, ...]]


def default_workers() -> int:
    """Worker processes for `load_chunks` on this machine: none below 8 cores.

    Threads share one interpreter, which is enough to keep about four cores busy with decoding; a worker process takes
    one to four seconds to start and 200 MB.
    """
    cores = _cores()
    return 0 if cores < 8 else min(cores - 2, 16)


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
      source: where pictures come from.
      preprocessing: the model's; a source with resize="squash" gets its variant of it.
      chunks: indices into the source, one sequence per chunk.
      workers: 0 decodes in threads of this process; n in n processes, started by grain, that never touch the
        accelerator. A script that asks for processes needs `if __name__ == "__main__":`.
      ahead: how many chunks may lie decoded before they are asked for; bounds the memory.
      cache: a folder that keeps what was decoded; a second run reads it and decodes nothing.

    Yields: one `Samples` per chunk; damaged pictures have a status and do not stop the others. Close the iterator to
      stop early: threads and processes end with it.
    Raises: ImageError that names source, index and id where a worker process dies or the source itself fails;
      ConfigError for a chunk that names an index outside the source; OutputError where the cache cannot be written.
    Cost: per chunk of n pictures at H x W: 4 n H W bytes, times `ahead` + 2.
    """
    if workers < 0 or ahead < 1:
        raise ConfigError(f"workers must be 0 or more and ahead 1 or more, not {workers} and {ahead}")
    plan = [tuple(int(index) for index in chunk) for chunk in chunks]
    count = len(source.ids)
    for place, chunk in enumerate(plan):
        wrong = [index for index in chunk if not 0 <= index < count]
        if wrong:
            raise ConfigError(f"chunk {place} asks for picture {wrong[0]}, but {source.name} has {count}")
    if isinstance(source, Arrays):
        return source.chunks(plan, effective(source, preprocessing).size)
    if cache is None:
        return _decoded(source, preprocessing, plan, workers, ahead)
    store = Cache.at(cache, source, effective(source, preprocessing))
    return _cached(source, preprocessing, plan, workers, ahead, store)


def _decoded(
    source: Source, preprocessing: Preprocessing, plan: Plan, workers: int, ahead: int
) -> Generator[Samples, None, None]:
    if workers == 0:
        return _threads(source, preprocessing, plan, ahead)
    from vitjax.data.worker_pool import load_in_processes

    return load_in_processes(source, preprocessing, plan, workers, ahead)


def _threads(source: Source, preprocessing: Preprocessing, plan: Plan, ahead: int) -> Generator[Samples, None, None]:
    size = effective(source, preprocessing).size
    pool = ThreadPoolExecutor(_cores(), thread_name_prefix="vitjax-decode")
    pending: deque[tuple[Batch, list[Future[None]]]] = deque()

    def fill(batch: Batch, row: int) -> None:
        batch.put(row, decode(source, batch.chunk[row], preprocessing))

    def submit(chunk: tuple[int, ...]) -> None:
        batch = Batch(source, chunk, size)
        pending.append((batch, [pool.submit(fill, batch, row) for row in range(len(chunk))]))

    try:
        for chunk in plan:
            submit(chunk)
            if len(pending) > ahead:
                yield _finish(pending)
        while pending:
            yield _finish(pending)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finish(pending: deque[tuple[Batch, list[Future[None]]]]) -> Samples:
    batch, rows = pending.popleft()
    for row in rows:
        row.result()
    return batch.samples()


def _cached(
    source: Source,
    preprocessing: Preprocessing,
    plan: Plan,
    workers: int,
    ahead: int,
    store: Cache,
) -> Generator[Samples, None, None]:
    """Chunks from the cache where it has them; the others are decoded, in order, and put there."""
    known = [store.has(chunk) for chunk in plan]
    lacking = [chunk for chunk, kept in zip(plan, known, strict=True) if not kept]
    decoded = _decoded(source, preprocessing, lacking, workers, ahead)
    # One thread reads ahead, one writes behind: a chunk is computed on while the next comes from the disk.
    reader, writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    places = deque(place for place, kept in enumerate(known) if kept)
    reads: deque[Future[Samples | None]] = deque()
    writing: Future[None] | None = None
    try:
        for chunk, kept in zip(plan, known, strict=True):
            while places and len(reads) < ahead:
                reads.append(reader.submit(store.read, source, plan[places.popleft()]))
            samples = reads.popleft().result() if kept else next(decoded)
            if samples is None:  # cut or altered: decode it again
                with closing(_decoded(source, preprocessing, [chunk], 0, 1)) as again:
                    samples = next(again)
                kept = False
            if not kept:
                if writing is not None:
                    writing.result()
                writing = writer.submit(store.write, samples)
            yield samples
        if writing is not None:
            writing.result()
    finally:
        reader.shutdown(wait=True, cancel_futures=True)
        writer.shutdown(wait=True)
        decoded.close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
