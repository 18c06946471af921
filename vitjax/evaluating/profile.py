"""Speed and memory of each method alone, and an estimate of the cost of a whole run, measured on one batch."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import jax
import numpy as np

from vitjax.data.loader import load_chunks
from vitjax.data.source import OK, Samples
from vitjax.evaluating.compute import Evaluator
from vitjax.evaluating.job import Job
from vitjax.execution.flops import flops
from vitjax.execution.program_cache import FlopCounter
from vitjax.execution.worker_threads import run_in_threads
from vitjax.explaining.programs import compiled

REPEATS = 3
"""Timed calls of a method, of which the median is reported."""


def profile(evaluator: Evaluator, samples: Samples) -> dict[str, Any]:
    """Measure every quick method alone on one batch of a chunk.

    Slow methods are not measured here: they always run alone and are timed during the run (`Evaluator.seconds`).

    Returns:
        {"device": ..., "batch": ..., "methods": {label: {"images_per_second", "peak_memory_mib", "gflop"}}}. Images per
        second: median of REPEATS calls after compilation. Memory: arguments, results and temporaries of the compiled
        program on one device [MiB]. GFLOP of one image.
    """
    indices = np.flatnonzero([status == OK for status in samples.status])[: evaluator.batch]
    methods: dict[str, Any] = {}
    for method in evaluator.job.requests if len(indices) else ():
        if not method.method.slow:
            with evaluator.model.settings():
                program = compiled(evaluator.model.config, (method,), evaluator.plan)
                arguments = evaluator.arguments(samples, indices, evaluator.inputs(samples, indices))
                executable = evaluator.devices.compile(program, *arguments)
                count = evaluator.worker_count * evaluator.batch
                seconds = median(_timed(executable, [arguments] * evaluator.worker_count) for _ in range(REPEATS))
                memory = executable.memory_analysis()
                methods[method.label] = {
                    "images_per_second": round(count / seconds, 3),
                    "peak_memory_mib": _mebibytes(memory),
                    "gflop": round(flops(program, *arguments) / evaluator.batch / 1e9, 3),
                }
    return {**evaluator.environment(), "batch": evaluator.batch, "methods": methods}


def estimate(job: Job, **options: Any) -> dict[str, Any]:
    """Estimate the cost of a whole evaluation on these devices from one batch. Writes nothing.

    Args:
        job: the evaluation.
        options: of `Evaluator`.

    Returns:
        The entries of `Evaluator.environment`, numbers of images, methods and metrics, "seconds" of computation
        (decoding runs concurrently), "images_per_second", "tflop" of the whole evaluation, and "compile_seconds".
    """
    evaluator = Evaluator(job, **options)
    counter = evaluator.programs.counter = FlopCounter()
    first = list(range(min(evaluator.worker_count * evaluator.batch, job.count)))
    (samples,) = load_chunks(job.source, job.model.preprocessing, [first], workers=0)
    times = []
    for _ in range(2):
        started = time.perf_counter()
        evaluator.chunk(samples)
        times.append(time.perf_counter() - started)
    evaluated = max(1, sum(status == OK for status in samples.status))
    seconds = times[1] / evaluated * job.count
    return {
        **evaluator.environment(),
        "images": job.count,
        "methods": len(job.requests),
        "metrics": len(job.metrics),
        "seconds": round(seconds, 1),
        "images_per_second": round(evaluated / times[1], 3),
        "tflop": round(counter.total / 2 / evaluated * job.count / 1e12, 3),
        "compile_seconds": round(times[0] - times[1], 1),
    }


def _timed(executable: Any, calls: list[Any]) -> float:
    started = time.perf_counter()
    run_in_threads(lambda arguments: jax.block_until_ready(executable(*arguments)), calls)
    return time.perf_counter() - started


def _mebibytes(memory: Any) -> float | None:
    if memory is None:
        return None
    parts = (memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes)
    return round(sum(parts) / 2**20, 1)
