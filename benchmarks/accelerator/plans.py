"""The section "plans": the execution plan of a GPU or TPU and alternatives to it, side by side.

Run with: python -m benchmarks.accelerator --sections plans
Results:  for each computation and alternative: images per second, temporary memory in MiB and compile time; for logits
          also the largest difference from those of the plan, relative to the largest logit
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
from vitjax.nn.kernels import PLAIN


def measure(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """Yield a row for each computation and alternative, at the batch `Setup.first_batch`.

    Alternatives differ from the plan in one choice; outputs of linear layers are saved instead of recomputed, or a
    field of `Kernels` has its default.
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


def _alternatives(setup: Setup, plan: ExecutionPlan) -> Iterator[tuple[str, str, ExecutionPlan]]:
    """(computation, name of the alternative, plan)."""

    def written(**kernels: Any) -> ExecutionPlan:
        return plan._replace(kernels=plan.kernels._replace(**kernels))

    yield "logits", "plan", plan
    if plan.kernels.cudnn_attention:
        yield "logits", "attention without cuDNN", written(cudnn_attention=False)
    for what in setup.saving:
        yield what, "plan", plan
        yield what, "saved outputs", plan._replace(saved_bytes=float("inf"))
        if plan.kernels != PLAIN:
            yield what, "attention without cuDNN", written(cudnn_attention=False)
            yield what, "rows not aligned", written(aligned_bytes=1)
            yield what, "one kernel for a softmax", written(separate_softmax=False)
