"""What each method costs by itself, and what a whole run will cost: from one batch."""

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


def profile(evaluator: Evaluator, samples: Samples) -> dict[str, Any]:
    """Images per second and memory of every quick method alone, on one batch of these pictures.

    Slow methods run alone anyway and are timed while they work (`Evaluator.seconds`).

    Returns {"device": ..., "batch": ..., "methods": {label: {"images_per_second", "peak_memory_mib", "gflop"}}}: the
    median of REPEATS calls after compilation; memory of the compiled program on one device (arguments, results and
    temporaries), GFLOP of one image.
    """
    rows = np.flatnonzero([status == OK for status in samples.status])[: evaluator.batch]
    found: dict[str, Any] = {}
    for each in evaluator.job.requests if len(rows) else ():
        if not each.method.slow:
            with jax.default_matmul_precision(evaluator.model.precision):
                program = compiled(evaluator.model.config, (each,), evaluator.plan)
                arguments = evaluator.arguments(samples, rows, evaluator.inputs(samples, rows))
                executable = evaluator.devices.compile(program, *arguments)
                count = evaluator.worker_count * evaluator.batch
                seconds = median(_timed(executable, [arguments] * evaluator.worker_count) for _ in range(REPEATS))
                memory = executable.memory_analysis()
                found[each.label] = {
                    "images_per_second": round(count / seconds, 3),
                    "peak_memory_mib": _mebibytes(memory),
                    "gflop": round(flops(program, *arguments) / evaluator.batch / 1e9, 3),
                }
    return {**evaluator.surroundings(), "batch": evaluator.batch, "methods": found}


def estimate(job: Job, **options: Any) -> dict[str, Any]:
    """What the whole job will cost on these devices, from one batch: nothing is written.

    Returns images, seconds (of computing; decoding runs beside it), images_per_second, tflop, compile_seconds.
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
    used = max(1, sum(status == OK for status in samples.status))
    seconds = times[1] / used * job.count
    return {
        **evaluator.surroundings(),
        "images": job.count,
        "methods": len(job.requests),
        "metrics": len(job.metrics),
        "seconds": round(seconds, 1),
        "images_per_second": round(used / times[1], 3),
        "tflop": round(counter.total / 2 / used * job.count / 1e12, 3),
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
