"""The evaluation engine against the compiled programs it runs: what decoding, records and bookkeeping cost.

python -m benchmarks.engine [--images 2000] [--batch 64]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import jax
import numpy as np
import tyro

import vitjax
from benchmarks.harness import write
from vitjax.data.loader import load_chunks
from vitjax.evaluating.compute import Evaluator
from vitjax.evaluating.engine import run_chunks
from vitjax.evaluating.job import Job
from vitjax.evaluating.programs import heat_maps, metric_columns
from vitjax.evaluating.run import source_of
from vitjax.execution.worker_threads import run_in_threads
from vitjax.explaining.programs import compiled
from vitjax.methods import METHODS
from vitjax.metrics import METRICS
from vitjax.rundir.store import RunStore
from vitjax.shapes import ceil_div


def main(images: int = 2000, batch: int = 64, repeats: int = 3) -> None:
    """Both on the same pictures in one process, alternately; medians of images per second."""
    model = vitjax.load("vitjax_scenes")
    source = source_of(model, f"scenes:{images}")
    fold = [name for name, method in METHODS.items() if method.fold is not None]
    localisation = [name for name, metric in METRICS.items() if metric.family == "localisation"]
    job = Job.of(model, source, fold, localisation, chunk_size=4 * batch)
    evaluator = Evaluator(job, batch_size=batch)
    (samples,) = load_chunks(source, model.preprocessing, [range(4 * batch)], workers=0)
    engine, bare = [], []
    for repeat in range(repeats + 1):  # the first compiles
        with tempfile.TemporaryDirectory() as directory:
            store = RunStore.create(Path(directory) / "run", job.config)
            started = time.perf_counter()
            run_chunks(job, store, batch_size=batch)
            seconds = time.perf_counter() - started
        if repeat:
            engine.append(images / seconds)
            bare.append(_bare(evaluator, samples, ceil_div(images, batch)))
        else:
            _bare(evaluator, samples, 1)
    result = {
        "images": images,
        "methods": len(fold),
        "metrics": len(localisation),
        "batch": batch,
        "engine_images_per_second": round(median(engine), 1),
        "bare_images_per_second": round(median(bare), 1),
        "ratio": round(median(e / b for e, b in zip(engine, bare, strict=True)), 3),
        "ratios": [round(e / b, 3) for e, b in zip(engine, bare, strict=True)],
    }
    write("engine", result)


def _bare(evaluator: Evaluator, samples, batches: int) -> float:
    """Images per second of the explaining program and the metric programs on batches that lie in memory."""
    config, job = evaluator.model.config, evaluator.job
    size = evaluator.batch
    prepared = []
    with jax.default_matmul_precision(evaluator.model.precision):
        for start in range(0, len(samples), size):
            rows = np.arange(start, start + size)
            arguments = evaluator.arguments(samples, rows, evaluator.inputs(samples, rows))
            cut = evaluator.devices.cut((samples.masks[rows], samples.labels[rows]))
            prepared.append((arguments, cut))
        explain = evaluator.devices.compile(compiled(config, job.requests, evaluator.plan), *prepared[0][0])
        program = metric_columns(config, evaluator.model.preprocessing, job.metrics, None, evaluator.plan)
        arguments, (masks, labels) = prepared[0]
        logits, target, maps = explain(*arguments)
        rest = (masks, logits, target, labels, *arguments[3:], {})
        to_heat, score = {}, {}
        for raw in maps:
            to_heat[raw.shape] = evaluator.devices.compile(heat_maps(config.image_size, raw.dtype), raw)
            given = evaluator.params, arguments[1], raw, to_heat[raw.shape](raw), *rest
            score[raw.shape] = evaluator.devices.compile(program, *given)

        def one(number):
            arguments, (masks, labels) = prepared[number % len(prepared)]
            logits, target, maps = explain(*arguments)
            rest = (masks, logits, target, labels, *arguments[3:], {})
            out = [
                score[raw.shape](evaluator.params, arguments[1], raw, to_heat[raw.shape](raw), *rest) for raw in maps
            ]
            return jax.block_until_ready(out) if number % 2 else out

        started = time.perf_counter()
        jax.block_until_ready(run_in_threads(one, range(batches)))
    return batches * size / (time.perf_counter() - started)


if __name__ == "__main__":
    tyro.cli(main)
