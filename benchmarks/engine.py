"""What decoding, records and bookkeeping of the evaluation engine cost, compared with the compiled programs it runs.

Run:     python -m benchmarks.engine [--images 2000] [--batch 64] [--repeats 3]
Prints:  nothing
Writes:  benchmarks/results/engine_DEVICE.json: images per second of the engine and of the programs alone, and their
         ratio (engine / programs), each the median over the repeats
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
    """Time the evaluation engine and the programs that it runs, alternately, on the same images.

    All methods of the shared pass and all localisation metrics run on the bundled model.

    Args:
        images: number of images.
        batch: images per call.
        repeats: how often both are timed.
    """
    model = vitjax.load("vitjax_scenes")
    source = source_of(model, f"scenes:{images}")
    methods = [name for name, method in METHODS.items() if method.fold is not None]
    localisation = [name for name, metric in METRICS.items() if metric.family == "localisation"]
    job = Job.of(model, source, methods, localisation, chunk_size=4 * batch)
    evaluator = Evaluator(job, batch_size=batch)
    (samples,) = load_chunks(source, model.preprocessing, [range(4 * batch)], workers=0)
    engine, bare = [], []
    for repeat in range(repeats + 1):  # the first one compiles and is not counted
        with tempfile.TemporaryDirectory() as directory:
            store = RunStore.create(Path(directory) / "run", job.config)
            started = time.perf_counter()
            run_chunks(job, store, batch_size=batch)
            seconds = time.perf_counter() - started
        if repeat:
            engine.append(images / seconds)
            bare.append(_programs_alone(evaluator, samples, ceil_div(images, batch)))
        else:
            _programs_alone(evaluator, samples, 1)
    figures = {
        "images": images,
        "methods": len(methods),
        "metrics": len(localisation),
        "batch": batch,
        "engine_images_per_second": round(median(engine), 1),
        "bare_images_per_second": round(median(bare), 1),
        "ratio": round(median(e / b for e, b in zip(engine, bare, strict=True)), 3),
        "ratios": [round(e / b, 3) for e, b in zip(engine, bare, strict=True)],
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(write("engine", figures))


def _programs_alone(evaluator: Evaluator, samples, batches: int) -> float:
    """Images per second of the explaining program and the metric programs on prepared batches in memory."""
    config, job = evaluator.model.config, evaluator.job
    size = evaluator.batch
    prepared = []
    with jax.default_matmul_precision(evaluator.model.precision):
        for start in range(0, len(samples), size):
            indices = np.arange(start, start + size)
            arguments = evaluator.arguments(samples, indices, evaluator.inputs(samples, indices))
            masks_and_labels = evaluator.devices.cut((samples.masks[indices], samples.labels[indices]))
            prepared.append((arguments, masks_and_labels))
        explain = evaluator.devices.compile(compiled(config, job.requests, evaluator.plan), *prepared[0][0])
        program = metric_columns(config, evaluator.model.preprocessing, job.metrics, None, evaluator.plan)
        arguments, (masks, labels) = prepared[0]
        logits, target, maps = explain(*arguments)
        rest = (masks, logits, target, labels, *arguments[3:], {})
        heatmaps, scores = {}, {}  # programs by the shape of the maps
        for raw in maps:
            heatmaps[raw.shape] = evaluator.devices.compile(heat_maps(config, raw.dtype), raw)
            inputs = evaluator.params, arguments[1], raw, heatmaps[raw.shape](raw), *rest
            scores[raw.shape] = evaluator.devices.compile(program, *inputs)

        def run_batch(number):
            arguments, (masks, labels) = prepared[number % len(prepared)]
            logits, target, maps = explain(*arguments)
            rest = (masks, logits, target, labels, *arguments[3:], {})
            columns = [
                scores[raw.shape](evaluator.params, arguments[1], raw, heatmaps[raw.shape](raw), *rest) for raw in maps
            ]
            return jax.block_until_ready(columns) if number % 2 else columns

        started = time.perf_counter()
        jax.block_until_ready(run_in_threads(run_batch, range(batches)))
    return batches * size / (time.perf_counter() - started)


if __name__ == "__main__":
    tyro.cli(main)
