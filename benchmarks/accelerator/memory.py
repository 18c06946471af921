"""The section "memory": memory and speed at several batches, with outputs of linear layers saved or rematerialised.

Run with: python -m benchmarks.accelerator --sections memory
Results:  for each batch, computation and plan ("save" or "recompute"): images per second, temporary memory in MiB and
          compile time
"""

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
    """Yield the temporary memory and images per second of both plans at each batch."""
    model = random_model(setup.model, dtype=setup.dtype, **setup.changes)
    plan = active_plan(model.config)
    for batch in (multiple * setup.first_batch for multiple in setup.multiples):
        for what in setup.saving:
            for name, saved in PLANS.items():
                row = {"case": f"{what}, {name}", "what": what, "plan": name, "batch": batch}
                if not clock.allows(15):
                    yield {**row, "status": "no time"}
                    continue
                try:
                    case = case_at(Bench(model, plan=plan._replace(saved_bytes=saved)), what, batch)
                    times = timed(case.run, clock)
                except RuntimeError as error:
                    if not any(text in str(error) for text in NO_MEMORY):
                        raise
                    yield {**row, "status": "out of memory"}
                    continue
                rate = round(case.items / times.seconds, 2)
                yield {**row, "images_per_s": rate, "temporary_MiB": case.memory(), "compile_s": case.compile_s}
