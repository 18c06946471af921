"""One chunk of pictures -> its numbers, the next batch under way before the last is fetched; on a CPU one in a lane."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.data.source import OK, Samples
from vitjax.errors import RunError
from vitjax.evaluating.job import Job
from vitjax.evaluating.programs import column_shapes, curve_ends, heat_maps, metric_columns, model_input, verdicts
from vitjax.evaluating.results import Results
from vitjax.execution.devices import Devices
from vitjax.execution.plan import plan_for
from vitjax.execution.program_cache import ProgramCache
from vitjax.execution.worker_threads import run_in_threads, worker_count
from vitjax.explaining.inputs import id_seeds
from vitjax.explaining.programs import compiled, image_keys
from vitjax.explaining.requests import Request
from vitjax.metrics.removal import wanted_ends
from vitjax.models.model import accumulation_dtype
from vitjax.rundir.manifest import versions
from vitjax.shapes import ceil_div

OnProgress = Callable[[int], None]
AHEAD = 2
"""Batches in flight: one computes while the one before it is fetched."""


class Evaluator:
    """Computes chunks on the devices of this process; calls `on_progress` with the number of images after each batch.

    batch_size: images in one call on EACH device; fewer where not every lane of a CPU would have a batch of a chunk.
    Every device then runs the same program whatever their number, which keeps rows equal to the last bit where the
    compiler does; another batch size moves maps by rounding, and a pixel that lies on a threshold may change sides.
    """

    def __init__(
        self,
        job: Job,
        *,
        batch_size: int = 16,
        devices: Sequence[jax.Device] | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.job, self.model = job, job.model
        self.devices = Devices(devices)
        # Several devices are busy side by side as it is.
        self.worker_count = (
            worker_count() if len(self.devices) == 1 and self.devices.devices[0].platform == "cpu" else 1
        )
        self.per_device = min(batch_size, ceil_div(min(job.chunk_size, job.count), self.worker_count))
        self.plan = plan_for(self.model.config, self.devices.devices[0].platform)
        self.params = self.devices.copy(job.model.params)
        self.on_progress = on_progress or (lambda count: None)
        self.halved: list[int] = []
        self.seconds: dict[str, list[float]] = {}  # of slow methods: [seconds, images]
        self.programs = ProgramCache(self.devices)
        self._settling, self._host = threading.Lock(), threading.Lock()
        self._batches_at_once = 1
        self._stop = threading.Event()  # what the other lanes do is not wanted any more
        self._common = tuple(each for each in job.metrics if "explainer" not in each.metric.needs)
        self._explaining = tuple(each for each in job.metrics if "explainer" in each.metric.needs)
        self._ends = wanted_ends([(each.metric, dict(each.options)) for each in job.metrics])

    @property
    def batch(self) -> int:
        """Pictures in one device call."""
        return self.per_device * len(self.devices)

    def surroundings(self) -> dict[str, Any]:
        """Where rows are computed, which they do not depend on."""
        first = self.devices.devices[0]
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": first.device_kind,
            "platform": first.platform,
            "devices": len(self.devices),
            "batch_per_device": self.per_device,
            "versions": versions(),
        }

    def chunk(self, samples: Samples) -> Results:
        """All numbers of these pictures. Where the devices run out of memory, again with half the batch.

        Raises RunError where one picture a device is too many.
        """
        while True:
            try:
                with jax.default_matmul_precision(self.model.precision):
                    return self._chunk(samples)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                cause = str(error).splitlines()[0]
            if self.per_device == 1:
                raise RunError(f"out of device memory with one picture a device: {cause}")
            self.per_device //= 2
            self.halved.append(self.per_device)
            self.programs.clear()
            print(f"out of device memory: going on with {self.per_device} pictures a device", file=sys.stderr)

    def _chunk(self, samples: Samples) -> Results:
        self._stop.clear()
        results = Results.blank(samples, len(self.job.requests))
        rows = np.flatnonzero([status == OK for status in samples.status])
        rows = self._select(samples, rows, results)
        batches = list(self._batches(rows, self.batch))
        count = self._batches_at_once = max(1, min(self.worker_count, len(batches)))
        shares = [batches[lane::count] for lane in range(count)]
        run_in_threads(lambda mine: self._in_flight(samples, mine, results), shares, self._stop)
        if not len(rows):
            for name, shape in self._shapes().items():
                results.columns[name] = np.full((*results.status.shape, *shape), np.nan)
        return results

    def _in_flight(self, samples: Samples, batches: Sequence[np.ndarray], results: Results) -> None:
        flying: deque[tuple[np.ndarray, Any]] = deque()
        for batch in batches:
            flying.append((batch, self._dispatch(samples, batch)))
            if len(flying) == AHEAD:
                self._settle(*flying.popleft(), results)
        while flying:
            self._settle(*flying.popleft(), results)

    def _select(self, samples: Samples, rows: np.ndarray, results: Results) -> np.ndarray:
        """The rows that `only_correct` and `min_confidence` leave; the others get their status."""
        if not (self.job.only_correct or self.job.min_confidence):
            return rows
        kept = []
        for batch in self._batches(rows, self.batch):
            x = self.inputs(samples, batch)
            logits, *_ = self._call(
                "logits", compiled(self.model.config, (), self.plan), *self.arguments(samples, batch, x)
            )
            found = self._call("verdicts", verdicts(self.model.dtype), logits)
            for row, prediction, confidence in zip(batch, *jax.device_get(found), strict=False):
                results.prediction[row], results.confidence[row] = prediction, confidence
                if self.job.only_correct and prediction != samples.labels[row]:
                    results.status[row] = "not_correct"
                elif confidence < self.job.min_confidence:
                    results.status[row] = "low_confidence"
                else:
                    kept.append(row)
        return np.asarray(kept, int)

    def _dispatch(self, samples: Samples, rows: np.ndarray) -> dict[str, Any]:
        """Everything of one batch as device arrays that may still be computing."""
        x = self.inputs(samples, rows)
        quick = tuple(each for each in self.job.requests if not each.method.slow)
        arguments = self.arguments(samples, rows, x)
        logits, target, maps = self._call(("explain", quick), compiled(self.model.config, quick, self.plan), *arguments)
        found = dict(zip(quick, maps, strict=True))
        program = curve_ends(self.model.config, self.model.preprocessing, self._ends, self.plan)
        ends = self._call("ends", program, self.params, x) if self._ends else {}
        shared = (
            self.devices.cut(_padded(samples.masks, rows, self.batch)),
            logits,
            target,
            self.devices.cut(_padded(samples.labels, rows, self.batch)),
            arguments[3],
            arguments[4],
            ends,
        )
        out: dict[str, Any] = {"verdict": (*self._call("verdicts", verdicts(self.model.dtype), logits), target)}
        for method, each in enumerate(self.job.requests):
            raw = found[each] if each in found else self._slow(each, samples, rows, target)
            heatmaps = heat_maps(self.model.config.image_size, accumulation_dtype(self.model.dtype))
            heatmap = self._call(("heat", raw.shape), heatmaps, raw)
            columns, degenerate, finite = self._metrics(self._common, None, x, raw, heatmap, shared)
            if self._explaining:
                columns = {**columns, **self._metrics(self._explaining, each, x, raw, heatmap, shared)[0]}
            out[str(method)] = (columns, degenerate, finite, raw if self.job.save_maps else None)
        return out

    def _metrics(self, metrics: Any, method: Request | None, x: Any, raw: Any, heatmap: Any, shared: Any) -> Any:
        program = metric_columns(self.model.config, self.model.preprocessing, metrics, method, self.plan)
        return self._call(("metrics", metrics, method, raw.shape), program, self.params, x, raw, heatmap, *shared)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one image's number in each metric column, for a chunk without an image that is evaluated."""
        found: dict[str, tuple[int, ...]] = {}
        for metrics, method in ((self._common, None), (self._explaining, self.job.requests[0])):
            found |= column_shapes(self.model, metrics, method, self._ends, self.plan)
        return found

    def _settle(self, rows: np.ndarray, flying: dict[str, Any], results: Results) -> None:
        """Fetch a batch and put its numbers in their places."""
        found = jax.device_get(flying)
        with self._settling:
            self._put(rows, found, results)

    def _put(self, rows: np.ndarray, found: dict[str, Any], results: Results) -> None:
        self.on_progress(len(rows))
        count = len(rows)
        prediction, confidence, target = (each[:count] for each in found.pop("verdict"))
        results.prediction[rows], results.confidence[rows], results.target[rows] = prediction, confidence, target
        for place, (columns, degenerate, finite, raw) in found.items():
            method = int(place)
            status = np.where(finite[:count], np.where(degenerate[:count], "degenerate", OK), "not_finite")
            results.status[rows, method] = status
            for name, values in columns.items():
                values = np.asarray(values[:count], np.float64).copy()
                values[status != OK] = np.nan
                results.put(name, rows, method, values)
            if raw is not None:
                label = self.job.requests[method].label
                if label not in results.maps:
                    results.maps[label] = np.full((len(results.status), *raw.shape[1:]), np.nan, raw.dtype)
                results.maps[label][rows] = raw[:count]

    def _slow(self, each: Request, samples: Samples, rows: np.ndarray, target: Any) -> Any:
        """Maps of a method that has programs and batches of its own; timed."""
        started = time.perf_counter()
        found = self._slow_maps(each, samples, rows, target)
        with self._settling:
            spent = self.seconds.setdefault(each.label, [0.0, 0])
            spent[0] += (time.perf_counter() - started) / self._batches_at_once
            spent[1] += len(rows)
        return self.devices.cut(_padded(found, np.arange(len(rows)), self.batch))

    def _slow_maps(self, each: Request, samples: Samples, rows: np.ndarray, target: Any) -> np.ndarray:
        config, options = self.model.config, dict(each.options)
        if each.method.explain_on_host is not None:
            x = jax.device_get(self.inputs(samples, rows))[: len(rows)]
            keys = image_keys(jnp.uint32(self.job.seed), jnp.asarray(id_seeds([samples.ids[row] for row in rows])))
            wanted = np.asarray(jax.device_get(target))[: len(rows)]
            pixels = jnp.asarray(x)
            with self._host:  # it has processes of its own for all cores
                found = each.method.explain_on_host(
                    config, self.job.model.params, pixels, wanted, keys=keys, on_progress=lambda count: None, **options
                )
            return np.asarray(found, accumulation_dtype(self.model.dtype))
        size = max(1, self.per_device // 8) * len(self.devices)
        wanted, parts = np.asarray(jax.device_get(target)), []
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            params, x, _, seeds, seed = self.arguments(samples, part, self.inputs(samples, part, size), size)
            asked = self.devices.cut(_padded(wanted, np.arange(start, start + len(part)), size))
            _, _, (maps,) = self._call(
                ("explain", each, size), compiled(config, (each,), self.plan), params, x, asked, seeds, seed
            )
            parts.append(jax.device_get(maps)[: len(part)])
        return np.concatenate(parts)

    def inputs(self, samples: Samples, rows: np.ndarray, size: int | None = None) -> Any:
        """Those pictures as the model takes them, on the devices."""
        pixels = self.devices.cut(_padded(samples.pixels, rows, size or self.batch))
        program = model_input(self.model.preprocessing, self.model.dtype)
        return self._call(("input", pixels.shape), program, pixels)

    def arguments(self, samples: Samples, rows: np.ndarray, x: Any, size: int | None = None) -> tuple[Any, ...]:
        """(params, x, targets, seeds, seed) of `explaining.programs.compiled`."""
        targets = self.job.targets(samples.labels[rows])
        seeds = id_seeds([samples.ids[row] for row in rows])
        places, size = np.arange(len(rows)), size or self.batch
        cut = self.devices.cut((_padded(targets, places, size), _padded(seeds, places, size)))
        return self.params, x, *cut, np.uint32(self.job.seed)

    def _call(self, key: Any, program: Any, *arguments: Any) -> Any:
        """Run a jitted program, compiled once for these shapes and checked for communication."""
        if self._stop.is_set():
            raise RunError("stopped, as another lane was")
        return self.programs((key, self.per_device), program, *arguments)

    @staticmethod
    def _batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(rows), size):
            yield rows[start : start + size]


def _padded(array: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    """Those rows, the last one repeated up to `size`: every call has one shape; what the padding gives is dropped."""
    return array[rows[np.minimum(np.arange(size), len(rows) - 1)]]
