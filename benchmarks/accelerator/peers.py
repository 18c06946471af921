"""The section "peers": the same computations in PyTorch on the same device.

Run with: python -m benchmarks.accelerator --sections peers
Needs:    torch and timm
Results:  images per second of a forward, transformer_mm and eight methods, by three implementations: eager with hooks
          (one image at a time), batched by hand, and torch.compile
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.accelerator.setup import Clock, Peaks, Setup
from benchmarks.accelerator.timing import best_batch, timed
from benchmarks.harness import BATCHED, COMPILED, HOOKS, Case, random_model
from benchmarks.peers import FOLDS
from benchmarks.speed import Bench


def measure(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """Yield a row for each computation and implementation.

    Hooks take one image per call; the others take the batch that is fastest for the implementation batched by hand.
    """
    missing = [name for name in ("torch", "timm") if importlib.util.find_spec(name) is None]
    if missing:
        yield {"case": "PyTorch", "status": f"not installed: {', '.join(missing)}"}
        return
    from benchmarks.peers.cases import Peers

    bench = Bench(random_model(setup.model, dtype=setup.dtype, **setup.changes))
    peers = Peers(bench.model)
    subjects = {"logits": "logits", "transformer_mm": "transformer_mm", "folds": "+".join(FOLDS)}
    batches = dict.fromkeys(subjects, setup.first_batch)

    def cases(what: str, batch: int) -> dict[str, Case]:
        return peers.cases(subjects[what], bench.images(batch), np.zeros(batch, np.int32))

    def batched(what: str, batch: int) -> Case:
        return cases(what, batch)[BATCHED]

    def row(what: str, who: str, batch: int, case: Case, seconds: float, rounds: list[float]) -> dict[str, Any]:
        rate = round(case.items / seconds, 2)
        return {"case": what, "who": who, "model": setup.model, "batch": batch, "images_per_s": rate, "rounds": rounds}

    for what in subjects:
        if not clock.allows(8):
            yield {"case": what, "who": BATCHED, "status": "no time"}
            continue
        best = best_batch(partial(batched, what), setup.first_batch, setup.most_images, clock)
        if best is not None:
            batches[what] = best.batch
            yield row(what, BATCHED, best.batch, best.case, *best.timed) | {"tried": best.tried}
        hooked = cases(what, 1).get(HOOKS)
        if hooked is not None:
            yield row(what, HOOKS, 1, hooked, *timed(hooked.run, clock))
    for what in subjects:  # last, because compiling may take all of the remaining time
        case = cases(what, batches[what]).get(COMPILED)
        if case is None or not clock.allows(40):
            yield {"case": what, "who": COMPILED, "status": "no time" if case else "needs a CUDA device"}
        else:
            yield row(what, COMPILED, batches[what], case, *timed(case.run, clock))
