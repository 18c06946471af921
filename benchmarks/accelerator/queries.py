"""What asks the model many things of one image: levels of a perturbation metric, points of integrated gradients."""

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
    """Forwards per second of the metric, images per second of the method, each at its best batch, and a forward's."""
    bench = Bench(random_model(setup.model, dtype=setup.dtype, **setup.changes))
    kinds: dict[str, Callable[[int], Case]] = {
        "logits": bench.logits,
        LEVELS: bench.perturbation,
        "integrated_gradients": partial(bench.explaining, ["integrated_gradients"]),
    }
    first = {"logits": setup.first_batch, LEVELS: setup.first_batch, "integrated_gradients": setup.first_batch // 4}
    for name, case_at in kinds.items():
        row = {"case": name, "model": setup.model, "dtype": setup.dtype}
        if not clock.allows(10):
            yield {**row, "status": "no time"}
            continue
        found = best_batch(case_at, max(1, first[name]), setup.most_images, clock)
        if found is None:
            yield {**row, "status": "out of memory"}
            continue
        yield {
            **row,
            "batch": found.batch,
            "items_per_s": round(found.case.items / found.timed.seconds, 2),
            "compile_s": found.case.compile_s,
            "temporary_MiB": found.case.memory(),
            "tried": found.tried,
        }
