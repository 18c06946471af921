"""The section "queries": computations that run the model many times per image.

Run with: python -m benchmarks.accelerator --sections queries
Results:  forwards per second of the perturbation metric and images per second of integrated gradients, each at its best
          batch
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.accelerator.setup import Clock, Peaks, Setup
from benchmarks.accelerator.timing import best_batch
from benchmarks.harness import Case, random_model
from benchmarks.speed import Bench
from benchmarks.table import LEVELS


def measure(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """Yield one row for the perturbation metric and one for integrated gradients, at its best batch."""
    bench = Bench(random_model(setup.model, dtype=setup.dtype, **setup.changes))
    kinds: dict[str, Callable[[int], Case]] = {
        LEVELS: bench.perturbation,
        "integrated_gradients": partial(bench.explaining, ["integrated_gradients"]),
    }
    first = {LEVELS: setup.first_batch // 4, "integrated_gradients": setup.first_batch // 8}
    for name, case_at in kinds.items():
        row = {"case": name, "model": setup.model, "dtype": setup.dtype}
        if not clock.allows(10):
            yield {**row, "status": "no time"}
            continue
        best = best_batch(case_at, max(1, first[name]), setup.most_images, clock)
        if best is None:
            yield {**row, "status": "out of memory"}
            continue
        yield {
            **row,
            "batch": best.batch,
            "items_per_s": round(best.case.items / best.timed.seconds, 2),
            "compile_s": best.case.compile_s,
            "temporary_MiB": best.case.memory(),
            "tried": best.tried,
        }
