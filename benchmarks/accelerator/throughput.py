"""Images per second of explaining programs, beside what the device could do: model FLOPs and the roofline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import jax

from benchmarks.accelerator.setup import Clock, Peaks, Setup
from benchmarks.accelerator.timing import Found, best_batch
from benchmarks.harness import DENSE_BF16, Case, fold_methods, random_model
from benchmarks.speed import Bench, targets_and_seeds
from vitjax.execution.flops import Product, products
from vitjax.explaining.programs import compiled
from vitjax.explaining.requests import request


def measure(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """The main model: a row for each of `Setup.whats` at its best batch."""
    yield from rows(setup, setup.model, clock, peaks)


def measure_others(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """The same of the other models."""
    for name in setup.others:
        yield from rows(setup, name, clock, peaks)


def rows(setup: Setup, name: str, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """Rows of one model, from cheap to dear: each search begins at half the best batch of the one before."""
    bench = Bench(random_model(name, dtype=setup.dtype, **setup.changes))
    first = setup.first_batch
    for what in setup.whats:
        row = {"case": what, "model": name, "dtype": setup.dtype}
        if not clock.allows(15):
            yield {**row, "status": "no time"}
            continue
        found = best_batch(partial(case_at, bench, what), first, setup.most_images, clock)
        if found is None:
            yield {**row, "status": "out of memory"}
            continue
        first = max(1, found.batch // 2)
        yield {**row, **figures(found, products_of(bench, what, found.batch), peaks)}


def case_at(bench: Bench, what: str, batch: int) -> Case:
    """What is timed: a forward, one method, or all of the shared pass."""
    return bench.logits(batch) if what == "logits" else bench.explaining(names_of(bench, what), batch)


def names_of(bench: Bench, what: str) -> list[str]:
    """Methods of one program."""
    return {"logits": [], "folds": fold_methods(bench.model.config)}.get(what, [what])


def products_of(bench: Bench, what: str, batch: int) -> list[Product]:
    """The matrix products of that program."""
    program = compiled(bench.model.config, tuple(map(request, names_of(bench, what))), bench.plan)
    return products(program, bench.model.params, bench.images(batch), *targets_and_seeds(batch))


def figures(found: Found, counted: Iterable[Product], peaks: Peaks | None) -> dict[str, Any]:
    """What is written of a search. MFU is of the data sheet's dense bf16 rate; shares are of what was measured here."""
    case, counted = found.case, list(counted)
    rate = case.items / found.timed.seconds
    flop = sum(each.flops * each.times for each in counted)
    sheet = DENSE_BF16.get(jax.devices()[0].device_kind)
    row = {
        "batch": found.batch,
        "images_per_s": round(rate, 2),
        "compile_s": case.compile_s,
        "temporary_MiB": case.memory(),
        "gflop_per_image": round(flop / case.items / 1e9, 3),
        "product_MB_per_image": round(sum(each.bytes * each.times for each in counted) / case.items / 1e6, 2),
        "mfu": sheet and round(flop / found.timed.seconds / sheet, 4),
        "rounds": found.timed.rounds,
        "tried": found.tried,
    }
    if peaks is not None:
        least = roofline(counted, peaks)
        row["share_of_peak"] = round(flop / found.timed.seconds / peaks.flops["bfloat16"], 4)
        row["roofline_images_per_s"] = round(case.items / least, 2)
        row["share_of_roofline"] = round(least / found.timed.seconds, 4)
    return row


def roofline(counted: Iterable[Product], peaks: Peaks) -> float:
    """Seconds below which no program with these products ends that writes their results to memory: of each the larger
    of its FLOPs over the peak of its dtype and its bytes over the memory's rate."""
    return sum(
        each.times * max(each.flops / peaks.flops.get(each.dtype, peaks.flops["float32"]), each.bytes / peaks.bytes)
        for each in counted
    )
