"""Decode chunks in worker processes, using grain. If a worker dies, the error names the image that it was decoding."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.data.batch import Batch, Notes
from vitjax.data.decode import Decoded, effective
from vitjax.data.retries import decode_with_retries
from vitjax.data.source import Samples, Source
from vitjax.errors import ImageError, VitjaxError
from vitjax.images.geometry import Preprocessing
from vitjax.images.mask_values import IGNORE

PIECE = 8  # images per message between processes: larger pieces balance the load worse, smaller ones cost more messages
_POLL_S = 0.5  # interval of the checks for dead workers while no chunk arrives [s]
_IDLE = -1

Piece = tuple[int, int, int]  # number of the chunk, start and stop of the piece within the chunk


@dataclass
class _WorkerTable:
    """A memory-mapped file that all processes share: int64 [workers, 2], process id and index of the current image."""

    path: str
    workers: int

    def open(self) -> np.ndarray:
        return np.memmap(self.path, np.int64, "r+", shape=(self.workers, 2))


@dataclass
class _StartWorker:
    """Initialises a worker process before it decodes its first image."""

    table: _WorkerTable

    def __call__(self, worker: int, workers: int) -> None:
        global _table_entry
        _table_entry = self.table.open()[worker]
        _table_entry[:] = os.getpid(), _IDLE
        # Ctrl-C interrupts every process of the terminal, but the parent process is to stop the workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as above: Slurm sends it to every process of a step
        # Workers do not compute with JAX; if a source does, it must not allocate the accelerator's memory.
        os.environ["JAX_PLATFORMS"] = "cpu"
        if "jax" in sys.modules:
            sys.modules["jax"].config.update("jax_platforms", "cpu")
        # grain treats exit code 0 as "still running" and would wait forever.
        exit_process = os._exit
        os._exit = lambda code: exit_process(code or 1)  # type: ignore[assignment, return-value]
        threading.Thread(target=_exit_with_parent, args=(os.getppid(),), daemon=True).start()


_table_entry: np.ndarray | None = None


def _exit_with_parent(parent: int) -> None:
    """End this process when its parent has ended: a parent that is killed cannot stop its workers."""
    while os.getppid() == parent:
        time.sleep(0.25)
    os._exit(1)


@dataclass
class _DecodePiece:
    """Piece of a chunk -> (piece, pixels, masks or None, notes), or (piece, error message) if the source fails."""

    source: Source
    preprocessing: Preprocessing
    plan: Sequence[tuple[int, ...]]

    def __call__(self, piece: Piece) -> tuple[Any, ...]:
        number, start, stop = piece
        images: list[Decoded] = []
        try:
            for index in self.plan[number][start:stop]:
                if _table_entry is not None:
                    _table_entry[1] = index
                images.append(decode_with_retries(self.source, index, self.preprocessing))
        except BaseException as cause:  # includes SystemExit, which must reach the parent as well
            message = str(cause) if isinstance(cause, VitjaxError) else f"{type(cause).__name__}: {cause}"
            return piece, f"{message}"
        if _table_entry is not None:
            _table_entry[1] = _IDLE
        pixels = np.stack([image.pixels for image in images])
        masks = None
        if any(image.mask is not None for image in images):
            blank = np.full(pixels.shape[1:3], IGNORE, np.uint8)
            masks = np.stack([blank if image.mask is None else image.mask for image in images])
        notes = [image[2:] for image in images]
        # grain sends arrays through shared memory, of which a container may have only 64 MB; when it is full, the
        # worker is killed. Bytes are sent through a pipe.
        return piece, pixels.tobytes(), masks.tobytes() if masks is not None else None, notes


def load_in_processes(
    source: Source, preprocessing: Preprocessing, plan: Sequence[tuple[int, ...]], workers: int, ahead: int
) -> Generator[Samples, None, None]:
    """`load_chunks` with `workers` processes.

    Raises:
        ImageError: a worker died or the source failed; names source, index and id of the image.
    """
    size = effective(source, preprocessing).size
    pieces = _split(plan)
    workers = min(workers, max(1, len(pieces)))
    if not pieces:
        for chunk in plan:
            yield Batch(source, chunk, size).samples()
        return
    with tempfile.TemporaryDirectory(prefix="vitjax-loader-") as folder:
        table = _WorkerTable(str(Path(folder) / "workers"), workers)
        np.memmap(table.path, np.int64, "w+", shape=(workers, 2))[:] = 0, _IDLE
        pool = _Pool(source, plan, pieces, table, ahead)
        pool.start(_DecodePiece(source, preprocessing, plan), size)
        patience_s = 0.3  # for workers that are stopped before the end: their work is not needed
        try:
            for _ in plan:
                yield pool.next()
            patience_s = 20.0
        finally:
            pool.stop(patience_s)


def _split(plan: Sequence[tuple[int, ...]]) -> list[Piece]:
    return [
        (number, start, min(start + PIECE, len(chunk)))
        for number, chunk in enumerate(plan)
        for start in range(0, len(chunk), PIECE)
    ]


class _Pool:
    """Worker processes, a thread that assembles their pieces to chunks, and a queue of at most `ahead` chunks."""

    def __init__(
        self, source: Source, plan: Sequence[tuple[int, ...]], pieces: Sequence[Piece], table: _WorkerTable, ahead: int
    ) -> None:
        self._source, self._plan, self._pieces, self._table = source, plan, pieces, table
        self._workers = table.open()
        self._assembled: queue.Queue[Samples | BaseException] = queue.Queue()
        # Acquired before a chunk is assembled, released when the chunk is requested.
        self._free_places = threading.Semaphore(ahead)
        self._stopping = threading.Event()
        self._received = 0

    def start(self, transform: _DecodePiece, size: tuple[int, int]) -> None:
        import grain
        from absl import flags

        if not flags.FLAGS.is_parsed():  # grain reads absl flags, which only absl's own main function parses
            flags.FLAGS.mark_as_parsed()
        # Each worker has one finished piece in its queue and decodes one more; no other buffers are needed.
        dataset = (
            grain.MapDataset.source(self._pieces)
            .map(transform)
            .to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
            .mp_prefetch(
                grain.MultiprocessingOptions(num_workers=self._table.workers, per_worker_buffer_size=1),
                worker_init_fn=_StartWorker(self._table),
            )
        )
        self._iterator = iter(dataset)
        self._thread = threading.Thread(target=self._assemble, args=(size,), name="vitjax-assemble", daemon=True)
        self._thread.start()

    def next(self) -> Samples:
        """The next chunk, or the error that stopped the workers."""
        received = -1
        while True:
            try:
                item = self._assembled.get(timeout=_POLL_S)
            except queue.Empty:
                # grain does not report a worker with exit code 0, which can still occur in spite of `_StartWorker`.
                dead = self._dead_worker() if received == self._received else None
                received = self._received
                if dead is not None:
                    raise self._worker_error(dead, None) from None
                continue
            if isinstance(item, VitjaxError):
                raise item
            if isinstance(item, BaseException):
                raise self._worker_error(self._dead_worker(), item) from item
            self._free_places.release()
            return item

    def stop(self, patience_s: float) -> None:
        """End the worker processes and the thread; kill the processes that have not ended after `patience_s`.

        A process that is still starting has not told its id yet and cannot be killed: it is waited for.
        """
        if not self._workers[:, 0].all():
            patience_s = 20.0
        self._stopping.set()
        self._free_places.release()
        # grain joins its workers and waits forever for one that has disappeared, hence the timeout.
        closing = threading.Thread(target=self._iterator.close, daemon=True)
        closing.start()
        closing.join(timeout=patience_s)
        pids = set(self._workers[:, 0].tolist())
        for process in multiprocessing.active_children():
            if process.pid in pids:
                process.kill()
                process.join()
        self._thread.join(timeout=min(patience_s, 5.0))

    def _assemble(self, size: tuple[int, int]) -> None:
        try:
            pieces = iter(self._pieces)
            for chunk in self._plan:
                self._free_places.acquire()
                if self._stopping.is_set():
                    return
                batch = Batch(self._source, chunk, size)
                remaining = len(chunk)
                while remaining:
                    remaining -= self._receive(batch, next(pieces))
                self._assembled.put(batch.samples())
        except BaseException as cause:
            self._assembled.put(cause)

    def _receive(self, batch: Batch, expected: Piece) -> int:
        """Copy the next piece of the workers into the chunk; returns its number of images."""
        piece, *content = next(self._iterator)
        self._received += 1
        if tuple(piece) != expected:
            raise ImageError(f"{self._source.name}: the workers sent piece {piece} instead of {expected}")
        if len(content) == 1:
            raise ImageError(content[0])
        pixels, masks, notes = content
        _, start, stop = expected
        for destination, data in ((batch.pixels[start:stop], pixels), (batch.masks[start:stop], masks)):
            if data is not None:
                destination[:] = np.frombuffer(data, np.uint8).reshape(destination.shape)
        batch.notes[start:stop] = [_notes(note) for note in notes]
        return stop - start

    def _dead_worker(self) -> int | None:
        """The number of a worker that ended while it decoded an image, or None."""
        alive = {process.pid for process in multiprocessing.active_children()}
        for worker, (pid, index) in enumerate(self._workers.tolist()):
            if pid and pid not in alive and index != _IDLE:
                return worker
        return None

    def _worker_error(self, worker: int | None, cause: BaseException | None) -> ImageError:
        """The error for a dead worker, or for workers that failed otherwise if `worker` is None."""
        name = self._source.name
        if worker is not None:
            index = int(self._workers[worker, 1])
            detail = f" ({' '.join(str(cause).split('.')[0].split())})" if cause is not None else ""
            return ImageError(
                f"{name}: a loader worker died while decoding image {index} ({self._source.ids[index]}){detail}"
            )
        if not self._workers[:, 0].any():
            return ImageError(
                f"{name}: the loader workers did not start: {cause}; a script needs the guard "
                "`if __name__ == '__main__':`; workers=0 starts no processes"
            )
        number, start, stop = self._pieces[min(self._received, len(self._pieces) - 1)]
        indices = self._plan[number][start:stop]
        ids = f"{self._source.ids[indices[0]]} to {self._source.ids[indices[-1]]}"
        return ImageError(f"{name}: a loader worker failed near images {indices[0]} to {indices[-1]} ({ids}): {cause}")


def _notes(note: Sequence[str]) -> Notes:
    status, cause, mask_state, mode, size, notes = note
    return status, cause, mask_state, mode, size, notes
