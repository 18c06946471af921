"""Memory against the batch, and what it costs to save outputs of linear layers instead of recomputing them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.accelerator.setup import Clock, Peaks, Setup
from benchmarks.accelerator.throughput import case_at
from benchmarks.accelerator.timing import NO_MEMORY, timed
from benchmarks.harness import random_model
from benchmarks.speed import Bench
from vitjax.execution.plan import active_plan

PLANS = {"recompute": 0.0, "save": float("inf")}


def measure(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """Both plans at several batches each: temporary memory and images per second."""
    model = random_model(setup.model, dtype=setup.dtype, **setup.changes)
    plan = active_plan(model.config)
    for batch in (each * setup.first_batch for each in setup.multiples):
        for what in setup.saving:
            for name, saved in PLANS.items():
                row = {"case": f"{what}, {name}", "what": what, "plan": name, "batch": batch}
                if not clock.allows(15):
                    yield {**row, "status": "no time"}
                    continue
                try:
                    case = case_at(Bench(model, plan=plan._replace(saved_bytes=saved)), what, batch)
                    found = timed(case.run, clock)
                except RuntimeError as error:
                    if not any(each in str(error) for each in NO_MEMORY):
                        raise
                    yield {**row, "status": "out of memory"}
                    continue
                rate = round(case.items / found.seconds, 2)
                yield {**row, "images_per_s": rate, "temporary_MiB": case.memory(), "compile_s": case.compile_s}
