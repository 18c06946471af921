"""The section "engine": as many images as ImageNet's validation set has, in memory, through the evaluation engine.

Run with: python -m benchmarks.accelerator --sections engine
Results:  seconds of one chunk with and without compilation; seconds and images per second of the complete run, and
          seconds extrapolated to 50,000 images
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accelerator.setup import Clock, Peaks, Setup
from benchmarks.harness import fold_methods, random_model
from vitjax.data.arrays import Arrays
from vitjax.data.loader import load_chunks
from vitjax.data.source import NO_LABEL, Raw, Samples
from vitjax.evaluating.compute import Evaluator
from vitjax.evaluating.engine import run_chunks
from vitjax.evaluating.job import Job
from vitjax.metrics import METRICS
from vitjax.models.model import Model
from vitjax.rundir.store import RunStore

BATCH, BATCHES = 256, 4
"""Images per call, and calls per chunk."""
IMAGENET = 50_000
"""Images of ImageNet's validation set."""


def measure(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """Yield the times of one chunk, which compiles, and of the run, with all attention and gradient methods of the
    shared pass and all localisation metrics.

    If not all images can be evaluated before the deadline, the run is limited to as many chunks as can.
    """
    model = random_model(setup.model, dtype=setup.dtype, **setup.changes)
    methods = fold_methods(model.config)
    metrics = [name for name, metric in METRICS.items() if metric.family == "localisation"]
    batch = min(BATCH, max(1, setup.images // (2 * BATCHES)))
    chunk = batch * BATCHES
    row = {"case": "engine", "model": setup.model, "dtype": setup.dtype, "methods": methods, "metrics": metrics}
    records = importlib.util.find_spec("pyarrow") is not None
    source = synthetic_images(setup.images, model.config.image_size)
    with tempfile.TemporaryDirectory() as folder:
        seconds = {name: _evaluate(model, source, row, chunk, chunk, batch, Path(folder) / name) for name in "ab"}
        yield {**row, "case": "one chunk", "first_s": round(seconds["a"], 2), "again_s": round(seconds["b"], 2)}
        possible = int(0.8 * clock.left / seconds["b"]) * chunk
        count = max(chunk, min(setup.images, possible))
        elapsed = _evaluate(model, source, row, count, chunk, batch, Path(folder) / "run")
    yield {
        **row,
        "records": "written" if records else "not written: no pyarrow",
        "images": count,
        "batch": batch,
        "seconds": round(elapsed, 3),
        "images_per_s": round(count / elapsed, 2),
        "seconds_for_50000": round(IMAGENET * elapsed / count, 2),
    }


@dataclass(frozen=True, eq=False)
class Repeated(Arrays):
    """Arrays repeated up to `count` images, so that a large data set takes the memory of a small one."""

    count: int = 0

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"{number:06d}" for number in range(self.count))

    @cached_property
    def labels(self) -> tuple[int, ...]:
        return (NO_LABEL,) * self.count

    def read(self, index: int) -> Raw:
        return super().read(index % len(self.pixels))

    def _samples(self, indices: np.ndarray) -> Samples:
        samples = super()._samples(indices % len(self.pixels))
        return replace(samples, index=indices, ids=tuple(self.ids[index] for index in indices))


def synthetic_images(count: int, size: tuple[int, int], distinct: int = 64) -> Repeated:
    """Coarse random images, each with a rectangle as its object mask.

    Args:
        count: number of images.
        size: (height, width) in pixels.
        distinct: number of different images, which are repeated.
    """
    rng = np.random.default_rng(0)
    distinct = min(distinct, count)
    down, across = (np.arange(side) * 14 // side for side in size)
    coarse = rng.integers(0, 256, (distinct, 14, 14, 3), dtype=np.uint8)
    top, left = rng.integers(0, 7, (2, distinct, 1))
    rows, columns = ((cells >= edge) & (cells < edge + 6) for cells, edge in ((down, top), (across, left)))
    masks = np.where(rows[:, :, None] & columns[:, None, :], 255, 0).astype(np.uint8)
    return Repeated(coarse[:, down][:, :, across], masks, name="synthetic", count=count)


def _evaluate(
    model: Model, source: Arrays, row: dict[str, Any], count: int, chunk: int, batch: int, out: Path
) -> float:
    """Seconds from arrays in memory to written records; without pyarrow to the values that records would contain."""
    job = Job.of(model, source, row["methods"], row["metrics"], chunk_size=chunk, limit=count)
    out.mkdir()
    if importlib.util.find_spec("pyarrow") is not None:
        store = RunStore.create(out / "run", job.config)
        started = time.perf_counter()
        run_chunks(job, store, batch_size=batch, workers=0)
        return time.perf_counter() - started
    started = time.perf_counter()
    evaluator = Evaluator(job, batch_size=batch)
    for samples in load_chunks(source, model.preprocessing, job.chunks, workers=0):
        evaluator.chunk(samples)
    return time.perf_counter() - started
