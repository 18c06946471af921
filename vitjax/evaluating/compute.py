"""Evaluate the images of one chunk: maps of all methods and their metrics.

A batch is dispatched before the results of the one before it are fetched. On a CPU, each worker thread computes batches
of its own.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.data.source import OK, Samples
from vitjax.errors import RunError
from vitjax.evaluating.job import Job
from vitjax.evaluating.programs import column_shapes, curve_ends, heat_maps, metric_columns, model_input, predictions
from vitjax.evaluating.results import Results
from vitjax.execution.devices import Devices
from vitjax.execution.plan import plan_for
from vitjax.execution.program_cache import ProgramCache
from vitjax.execution.progress import OnProgress
from vitjax.execution.worker_threads import run_in_threads, worker_count
from vitjax.explaining.batch_runner import BatchRunner, batches, take, take_padded
from vitjax.explaining.inputs import id_seeds
from vitjax.explaining.programs import compiled
from vitjax.explaining.requests import Request
from vitjax.layerwise.target import class_of
from vitjax.metrics.removal import wanted_ends
from vitjax.output.terminal import say
from vitjax.rundir.manifest import versions
from vitjax.shapes import accumulation_dtype, ceil_div

AHEAD = 2
"""Batches that are dispatched and not yet fetched: one computes while the one before it is fetched."""


class Evaluator:
    """Evaluates chunks on the devices of this process.

    Args:
        job: the evaluation.
        batch_size: images in one call on EACH device. On a CPU it is reduced if a chunk would otherwise have fewer
            batches than there are worker threads.
        devices: devices to use; None uses all devices of this process.
        on_progress: called after each batch with its number of images.

    All devices run the same program, whatever their number, so records are equal to the last bit as far as the compiler
    is deterministic. Another batch size changes maps by rounding errors, and pixels at a threshold may then fall on its
    other side.

    Attributes:
        per_device: images in one call on each device at present.
        halved: values of `per_device` after each reduction because the devices ran out of memory.
        seconds: [seconds, images] of every slow method, by label.
        worker_count: number of worker threads that evaluate a chunk.
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
        # Several devices already compute concurrently without worker threads.
        self.worker_count = (
            worker_count() if len(self.devices) == 1 and self.devices.devices[0].platform == "cpu" else 1
        )
        self.per_device = min(batch_size, ceil_div(min(job.chunk_size, job.count), self.worker_count))
        self.plan = plan_for(self.model.config, self.devices.devices[0].platform)
        self.params = self.devices.copy(job.model.params)
        self.on_progress = on_progress or (lambda count: None)
        self.halved: list[int] = []
        self.seconds: dict[str, list[float]] = {}
        self.programs = ProgramCache(self.devices)
        self.runner = BatchRunner(
            job.model,
            job.requests,
            job.seed,
            params=self.params,
            plan=self.plan,
            place=self.devices.cut,
            call=self._call,
        )
        self._results_lock = threading.Lock()
        self._active_threads = 1
        self._stop = threading.Event()  # set when a worker thread fails, so that the others end early
        self._map_metrics = tuple(request for request in job.metrics if "explainer" not in request.metric.needs)
        self._explainer_metrics = tuple(request for request in job.metrics if "explainer" in request.metric.needs)
        self._endpoint_names = wanted_ends([(request.metric, dict(request.options)) for request in job.metrics])

    @property
    def batch(self) -> int:
        """Images in one call on all devices."""
        return self.per_device * len(self.devices)

    def environment(self) -> dict[str, Any]:
        """The machine, devices and package versions, for logs; records do not depend on them."""
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
        """Evaluate all methods and metrics on a chunk. If the devices run out of memory, the batch size is halved.

        Raises:
            RunError: the devices run out of memory with one image per device.
        """
        while True:
            try:
                with self.model.settings():
                    return self._evaluate(samples)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                cause = str(error).splitlines()[0]
            if self.per_device == 1:
                raise RunError(f"out of device memory with one image per device: {cause}")
            self.per_device //= 2
            self.halved.append(self.per_device)
            self.programs.clear()
            say(f"out of device memory: continuing with {self.per_device} images per device", error=True)

    def _evaluate(self, samples: Samples) -> Results:
        self._stop.clear()
        results = Results.blank(samples, len(self.job.requests))
        indices = np.flatnonzero([status == OK for status in samples.status])
        indices = self._select(samples, indices, results)
        of_chunk = list(batches(indices, self.batch))
        count = self._active_threads = max(1, min(self.worker_count, len(of_chunk)))
        shares = [of_chunk[thread::count] for thread in range(count)]
        run_in_threads(lambda share: self._evaluate_batches(samples, share, results), shares, self._stop)
        if not len(indices):
            for name, shape in self._column_shapes().items():
                results.columns[name] = np.full((*results.status.shape, *shape), np.nan)
        return results

    def _evaluate_batches(self, samples: Samples, share: Sequence[np.ndarray], results: Results) -> None:
        dispatched: deque[tuple[np.ndarray, Any]] = deque()
        for batch in share:
            dispatched.append((batch, self._dispatch(samples, batch)))
            if len(dispatched) == AHEAD:
                self._fetch(*dispatched.popleft(), results)
        while dispatched:
            self._fetch(*dispatched.popleft(), results)

    def _select(self, samples: Samples, indices: np.ndarray, results: Results) -> np.ndarray:
        """Indices of the images that pass `only_correct` and `min_confidence`; sets the status of the others."""
        if not (self.job.only_correct or self.job.min_confidence):
            return indices
        selected = []
        for batch in batches(indices, self.batch):
            x = self.inputs(samples, batch)
            logits, *_ = self._call(
                "logits", compiled(self.model.config, (), self.plan), *self.arguments(samples, batch, x)
            )
            predicted = self._call("predictions", predictions(self.model.dtype, head=self.job.has_head), logits)
            for index, prediction, confidence in zip(batch, *jax.device_get(predicted), strict=False):
                results.prediction[index], results.confidence[index] = prediction, confidence
                if self.job.only_correct and prediction != samples.labels[index]:
                    results.status[index] = "not_correct"
                elif confidence < self.job.min_confidence:
                    results.status[index] = "low_confidence"
                else:
                    selected.append(index)
        return np.asarray(selected, int)

    def _dispatch(self, samples: Samples, indices: np.ndarray) -> dict[str, Any]:
        """All results of one batch, as device arrays that may still be computing.

        Returns:
            "prediction": (predicted class, confidence, target); the number of each method as a string: (metric columns,
            is degenerate, is finite, raw maps or None).
        """
        x = self.inputs(samples, indices)
        arguments = self.arguments(samples, indices, x)
        logits, target, maps = self.runner.quick_maps(*arguments[1:4])
        quick_maps = dict(zip(self.runner.quick, maps, strict=True))
        program = curve_ends(self.model.config, self.model.preprocessing, self._endpoint_names, self.plan)
        ends = self._call("ends", program, self.params, x) if self._endpoint_names else {}
        shared = (
            self.devices.cut(take_padded(samples.masks, indices, self.batch)),
            logits,
            target,
            self.devices.cut(take_padded(samples.labels, indices, self.batch)),
            arguments[3],
            arguments[4],
            ends,
        )
        predicted = self._call("predictions", predictions(self.model.dtype, head=self.job.has_head), logits)
        explained = class_of(target)
        explained = explained if self.job.target_kind != "none" else jnp.full_like(explained, -1)
        out: dict[str, Any] = {"prediction": (*predicted, explained)}
        for number, method in enumerate(self.job.requests):
            raw = (
                quick_maps[method]
                if method in quick_maps
                else self._slow(method, x, arguments[3], target, len(indices))
            )
            heatmaps = heat_maps(self.model.config, accumulation_dtype(self.model.dtype))
            heatmap = self._call(("heatmaps", raw.shape), heatmaps, raw)
            columns, degenerate, finite = self._metrics(self._map_metrics, None, x, raw, heatmap, shared)
            if self._explainer_metrics:
                columns = {**columns, **self._metrics(self._explainer_metrics, method, x, raw, heatmap, shared)[0]}
            out[str(number)] = (columns, degenerate, finite, raw if self.job.save_maps else None)
        return out

    def _metrics(self, metrics: Any, method: Request | None, x: Any, raw: Any, heatmap: Any, shared: Any) -> Any:
        program = metric_columns(self.model.config, self.model.preprocessing, metrics, method, self.plan)
        return self._call(("metrics", metrics, method, raw.shape), program, self.params, x, raw, heatmap, *shared)

    def _column_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one image's value in each metric column, for a chunk without any image that is evaluated."""
        shapes: dict[str, tuple[int, ...]] = {}
        for metrics, method in ((self._map_metrics, None), (self._explainer_metrics, self.job.requests[0])):
            shapes |= column_shapes(self.model, metrics, method, self._endpoint_names, self.plan)
        return shapes

    def _fetch(self, indices: np.ndarray, dispatched: dict[str, Any], results: Results) -> None:
        """Wait for the results of a batch and store them at the indices of its images."""
        fetched = jax.device_get(dispatched)
        with self._results_lock:
            self.on_progress(len(indices))
            results.put_batch(indices, fetched, [method.label for method in self.job.requests])

    def _slow(self, method: Request, x: Any, seeds: Any, target: Any, count: int) -> Any:
        """Maps of a slow method for the first `count` images of a batch, padded again; measures the time."""
        started = time.perf_counter()
        x, target, seeds = take(jax.device_get((x, target, seeds)), slice(count))
        size = max(1, self.per_device // 8) * len(self.devices)
        maps = self.runner.slow_maps(method, x, target, seeds, batch_size=size)
        with self._results_lock:
            spent = self.seconds.setdefault(method.label, [0.0, 0])
            spent[0] += (time.perf_counter() - started) / self._active_threads
            spent[1] += count
        return self.devices.cut(take_padded(maps, np.arange(count), self.batch))

    def inputs(self, samples: Samples, indices: np.ndarray) -> Any:
        """The model's input for the images at `indices` of a chunk, on the devices.

        Args:
            samples: the chunk.
            indices: [b], positions in the chunk.

        Returns:
            [`batch`, H, W, 3], normalised, in the model's dtype.
        """
        pixels = self.devices.cut(take_padded(samples.pixels, indices, self.batch))
        program = model_input(self.model.preprocessing, self.model.dtype)
        return self._call(("input", pixels.shape), program, pixels)

    def arguments(self, samples: Samples, indices: np.ndarray, x: Any) -> tuple[Any, ...]:
        """The arguments (params, x, targets, seeds, seed) of `explaining.programs.compiled`; see `inputs`."""
        targets = self.job.targets(samples.labels[indices])
        seeds = id_seeds([samples.ids[index] for index in indices])
        positions = np.arange(len(indices))
        cut = self.devices.cut(tuple(take_padded(array, positions, self.batch) for array in (targets, seeds)))
        return self.params, x, *cut, np.uint32(self.job.seed)

    def _call(self, key: Any, program: Any, *arguments: Any) -> Any:
        """Run a jitted program, which is compiled once per key and batch size and checked for communication."""
        if self._stop.is_set():
            raise RunError("stopped because another worker thread failed")
        return self.programs((key, self.per_device), program, *arguments)
