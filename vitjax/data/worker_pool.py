"""Chunks decoded by worker processes, through grain; a worker that dies is an error that names its picture."""

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
from vitjax.data.decode import IGNORE, Decoded, decode, effective
from vitjax.data.source import Samples, Source
from vitjax.errors import ImageError, VitjaxError
from vitjax.images.geometry import Preprocessing

PIECE = 8  # pictures per message between processes: larger pieces balance worse, smaller ones cost more
_LOOK_S = 0.5  # how often a silent worker is looked after
_IDLE = -1

Piece = tuple[int, int, int]  # place of the chunk in the plan, first and last + 1 row


@dataclass
class _Log:
    """What each worker is at: int64 [workers, 2] in a file that all processes map: process id, index of the picture."""

    path: str
    workers: int

    def open(self) -> np.ndarray:
        return np.memmap(self.path, np.int64, "r+", shape=(self.workers, 2))


@dataclass
class _StartWorker:
    """Run in each worker before its first picture."""

    log: _Log

    def __call__(self, worker: int, workers: int) -> None:
        global _entry
        _entry = self.log.open()[worker]
        _entry[:] = os.getpid(), _IDLE
        # Ctrl-C reaches every process of the terminal; the parent ends the workers in order.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Nothing here computes with JAX; should anything try, it must not take the accelerator's memory.
        os.environ["JAX_PLATFORMS"] = "cpu"
        if "jax" in sys.modules:
            sys.modules["jax"].config.update("jax_platforms", "cpu")
        # grain takes exit code 0 for "still working" and would wait for ever.
        leave = os._exit
        os._exit = lambda code: leave(code or 1)  # type: ignore[assignment, return-value]
        threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()


_entry: np.ndarray | None = None


def _leave_with(parent: int) -> None:
    """A parent that is killed cannot stop its workers: they must notice."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


@dataclass
class _DecodePiece:
    """Piece of a chunk -> (piece, pixels, masks or None, notes), or the error instead of it."""

    source: Source
    preprocessing: Preprocessing
    plan: Sequence[tuple[int, ...]]

    def __call__(self, piece: Piece) -> tuple[Any, ...]:
        place, start, stop = piece
        rows: list[Decoded] = []
        try:
            for index in self.plan[place][start:stop]:
                if _entry is not None:
                    _entry[1] = index
                rows.append(decode(self.source, index, self.preprocessing))
        except BaseException as cause:  # SystemExit, too: the parent must hear of it
            message = str(cause) if isinstance(cause, VitjaxError) else f"{type(cause).__name__}: {cause}"
            return piece, f"{message}"
        if _entry is not None:
            _entry[1] = _IDLE
        pixels = np.stack([row.pixels for row in rows])
        masks = None
        if any(row.mask is not None for row in rows):
            blank = np.full(pixels.shape[1:3], IGNORE, np.uint8)
            masks = np.stack([blank if row.mask is None else row.mask for row in rows])
        # As bytes they go through a pipe: grain puts arrays into shared memory, and where a container has 64 MB of
        # that, a full one kills the worker.
        return piece, pixels.tobytes(), masks.tobytes() if masks is not None else None, [row[2:] for row in rows]


def load_in_processes(
    source: Source, preprocessing: Preprocessing, plan: Sequence[tuple[int, ...]], workers: int, ahead: int
) -> Generator[Samples, None, None]:
    """As `load_chunks`, in `workers` processes. Raises ImageError naming source, index and id where one dies."""
    size = effective(source, preprocessing).size
    pieces = _cut(plan)
    workers = min(workers, max(1, len(pieces)))
    if not pieces:
        for chunk in plan:
            yield Batch(source, chunk, size).samples()
        return
    with tempfile.TemporaryDirectory(prefix="vitjax-loader-") as folder:
        log = _Log(str(Path(folder) / "log"), workers)
        np.memmap(log.path, np.int64, "w+", shape=(workers, 2))[:] = 0, _IDLE
        run = _Run(source, plan, pieces, log, ahead)
        run.start(_DecodePiece(source, preprocessing, plan), size)
        try:
            for _ in plan:
                yield run.next()
        finally:
            run.stop()


def _cut(plan: Sequence[tuple[int, ...]]) -> list[Piece]:
    return [
        (place, start, min(start + PIECE, len(chunk)))
        for place, chunk in enumerate(plan)
        for start in range(0, len(chunk), PIECE)
    ]


class _Run:
    """Workers, a thread that puts their pieces together, and a short queue of finished chunks."""

    def __init__(
        self, source: Source, plan: Sequence[tuple[int, ...]], pieces: Sequence[Piece], log: _Log, ahead: int
    ) -> None:
        self._source, self._plan, self._pieces, self._log, self._ahead = source, plan, pieces, log, ahead
        self._seen = log.open()
        self._done: queue.Queue[Samples | BaseException] = queue.Queue()
        # A chunk takes a place when its assembly begins and frees it when it is asked for.
        self._room = threading.Semaphore(ahead)
        self._stopping = threading.Event()
        self._received = 0

    def start(self, transform: _DecodePiece, size: tuple[int, int]) -> None:
        import grain
        from absl import flags

        if not flags.FLAGS.is_parsed():  # grain asks absl for its options, and nobody here calls absl's main
            flags.FLAGS.mark_as_parsed()
        # One piece waits in each worker's queue, one more is in the making: no further buffers.
        dataset = (
            grain.MapDataset.source(self._pieces)
            .map(transform)
            .to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
            .mp_prefetch(
                grain.MultiprocessingOptions(num_workers=self._log.workers, per_worker_buffer_size=1),
                worker_init_fn=_StartWorker(self._log),
            )
        )
        self._iterator = iter(dataset)
        self._thread = threading.Thread(target=self._assemble, args=(size,), name="vitjax-assemble", daemon=True)
        self._thread.start()

    def next(self) -> Samples:
        received = -1
        while True:
            try:
                item = self._done.get(timeout=_LOOK_S)
            except queue.Empty:
                # Should one have left with exit code 0 all the same.
                dead = self._dead() if received == self._received else None
                received = self._received
                if dead is not None:
                    raise self._died(dead, None) from None
                continue
            if isinstance(item, VitjaxError):
                raise item
            if isinstance(item, BaseException):
                raise self._died(self._dead(), item) from item
            self._room.release()
            return item

    def stop(self) -> None:
        self._stopping.set()
        self._room.release()
        # grain joins its workers, and waits for ever for one that is gone without a trace.
        closing = threading.Thread(target=self._iterator.close, daemon=True)
        closing.start()
        closing.join(timeout=20)
        pids = set(self._seen[:, 0].tolist())
        for process in multiprocessing.active_children():
            if process.pid in pids:
                process.kill()
                process.join()
        self._thread.join(timeout=5)

    def _assemble(self, size: tuple[int, int]) -> None:
        try:
            pieces = iter(self._pieces)
            for chunk in self._plan:
                self._room.acquire()
                if self._stopping.is_set():
                    return
                batch = Batch(self._source, chunk, size)
                left = len(chunk)
                while left:
                    left -= self._receive(batch, next(pieces))
                self._done.put(batch.samples())
        except BaseException as cause:
            self._done.put(cause)

    def _receive(self, batch: Batch, expected: Piece) -> int:
        piece, *content = next(self._iterator)
        self._received += 1
        if tuple(piece) != expected:
            raise ImageError(f"{self._source.name}: the loader sent piece {piece} for {expected}")
        if len(content) == 1:
            raise ImageError(content[0])
        pixels, masks, notes = content
        _, start, stop = expected
        for rows, sent in ((batch.pixels[start:stop], pixels), (batch.masks[start:stop], masks)):
            if sent is not None:
                rows[:] = np.frombuffer(sent, np.uint8).reshape(rows.shape)
        batch.notes[start:stop] = [_notes(note) for note in notes]
        return stop - start

    def _dead(self) -> int | None:
        """A worker that is gone in the middle of a picture."""
        alive = {process.pid for process in multiprocessing.active_children()}
        for worker, (pid, index) in enumerate(self._seen.tolist()):
            if pid and pid not in alive and index != _IDLE:
                return worker
        return None

    def _died(self, worker: int | None, cause: BaseException | None) -> ImageError:
        name = self._source.name
        if worker is not None:
            index = int(self._seen[worker, 1])
            how = f" ({' '.join(str(cause).split('.')[0].split())})" if cause is not None else ""
            return ImageError(f"{name}: a loader worker died at picture {index} ({self._source.ids[index]}){how}")
        if not self._seen[:, 0].any():
            return ImageError(
                f"{name}: the loader workers did not start: {cause}; a script needs `if __name__ == '__main__':`, "
                "and workers=0 needs no processes"
            )
        place, start, stop = self._pieces[min(self._received, len(self._pieces) - 1)]
        indices = self._plan[place][start:stop]
        ids = f"{self._source.ids[indices[0]]} to {self._source.ids[indices[-1]]}"
        return ImageError(
            f"{name}: a loader worker failed near pictures {indices[0]} to {indices[-1]} ({ids}): {cause}"
        )


def _notes(note: Sequence[str]) -> Notes:
    status, cause, mask_state, mode, size = note
    return status, cause, mask_state, mode, size
