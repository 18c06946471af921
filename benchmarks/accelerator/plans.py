"""The sections "plans" and "quick_compile": alternatives to the execution plan of a GPU or TPU, side by side.

Run with: python -m benchmarks.accelerator --sections plans quick_compile
Results:  for each computation and alternative: images per second, temporary memory in MiB and compile time; for cuDNN's
          attention also the largest difference of the logits, relative to the largest logit

"quick_compile" compiles without XLA's pass that fuses a softmax or LayerNorm into one Triton kernel (`QUICK_COMPILE` of
sections.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from benchmarks.accelerator.setup import Clock, Peaks, Setup
from benchmarks.accelerator.throughput import case_at
from benchmarks.accelerator.timing import NO_MEMORY, timed
from benchmarks.harness import random_model
from benchmarks.speed import Bench
from vitjax.execution.plan import ExecutionPlan, active_plan
from vitjax.nn.kernels import has_cudnn_attention


def measure(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """Yield a row for each computation and alternative, at the batch `Setup.first_batch`.

    Alternatives of the logits are XLA's attention and cuDNN's; those of a computation in `Setup.saving` recompute or
    save the outputs of linear layers.
    """
    model = random_model(setup.model, dtype=setup.dtype, **setup.changes)
    plan = active_plan(model.config)
    logits: dict[str, np.ndarray] = {}
    for what, name, alternative in _alternatives(setup, plan):
        row = {"case": f"{what}, {name}", "what": what, "plan": name, "batch": setup.first_batch}
        if not clock.allows(15):
            yield {**row, "status": "no time"}
            continue
        try:
            case = case_at(Bench(model, plan=alternative), what, setup.first_batch)
            times = timed(case.run, clock)
        except RuntimeError as error:
            if not any(text in str(error) for text in NO_MEMORY):
                raise
            yield {**row, "status": "out of memory"}
            continue
        rate = round(case.items / times.seconds, 2)
        row |= {"images_per_s": rate, "temporary_MiB": case.memory(), "compile_s": case.compile_s}
        if what == "logits":
            logits[name] = np.asarray(jax.tree.leaves(case.run())[0], np.float64)
            first = next(iter(logits.values()))
            row["largest_difference"] = float(f"{np.abs(logits[name] - first).max() / np.abs(first).max():.3g}")
        yield row


def measure_quick_compile(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """Yield a row for each computation in `Setup.saving`, by the plan of the device."""
    model = random_model(setup.model, dtype=setup.dtype, **setup.changes)
    for what in setup.saving:
        row = {"case": what, "batch": setup.first_batch}
        if not clock.allows(8):
            yield {**row, "status": "no time"}
            continue
        case = case_at(Bench(model), what, setup.first_batch)
        rate = round(case.items / timed(case.run, clock).seconds, 2)
        yield {**row, "images_per_s": rate, "temporary_MiB": case.memory(), "compile_s": case.compile_s}


def _alternatives(setup: Setup, plan: ExecutionPlan) -> Iterator[tuple[str, str, ExecutionPlan]]:
    """(computation, name of the alternative, plan)."""
    cudnn = [False, True] if has_cudnn_attention(jax.devices()[0]) else [False]
    for attention in cudnn:
        kernels = plan.kernels._replace(cudnn_attention=attention)
        yield "logits", "cuDNN's attention" if attention else "XLA's attention", plan._replace(kernels=kernels)
    for what in setup.saving:
        yield what, "recompute", plan._replace(saved_bytes=0.0)
        yield what, "save", plan._replace(saved_bytes=float("inf"))
