"""The sections "throughput" and "others": speed of explaining programs, and how much of the device they use.

Run with: python -m benchmarks.accelerator --sections throughput others
Results:  for each computation at its best batch: images per second, compile time, temporary memory, GFLOP per image,
          model FLOP utilisation (MFU, relative to the data sheet), and the shares of the measured peak and the roofline
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import jax

from benchmarks.accelerator.setup import Clock, Peaks, Setup
from benchmarks.accelerator.timing import BestBatch, best_batch
from benchmarks.harness import DENSE_BF16, Case, fold_methods, random_model
from benchmarks.speed import Bench, targets_and_seeds
from vitjax.execution.flops import Product, products
from vitjax.explaining.programs import compiled
from vitjax.explaining.requests import request


def measure(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """Yield a row for each of `Setup.whats` at its best batch, for the main model."""
    yield from rows(setup, setup.model, clock, peaks)


def measure_others(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """Yield the same rows for the other models."""
    for name in setup.others:
        yield from rows(setup, name, clock, peaks)


def rows(setup: Setup, name: str, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of one model, from the cheapest to the most expensive computation.

    Each search for the best batch begins at half of the best batch of the computation before it.
    """
    bench = Bench(random_model(name, dtype=setup.dtype, **setup.changes))
    first = setup.first_batch
    for what in setup.whats:
        row = {"case": what, "model": name, "dtype": setup.dtype}
        if not clock.allows(15):
            yield {**row, "status": "no time"}
            continue
        best = best_batch(partial(case_at, bench, what), first, setup.most_images, clock)
        if best is None:
            yield {**row, "status": "out of memory"}
            continue
        first = max(1, best.batch // 2)
        yield {**row, **figures(best, products_of(bench, what, best.batch), peaks)}


def case_at(bench: Bench, what: str, batch: int) -> Case:
    """The case of a computation at a batch: "logits", "folds" or a method."""
    return bench.logits(batch) if what == "logits" else bench.explaining(names_of(bench, what), batch)


def names_of(bench: Bench, what: str) -> list[str]:
    """The methods of a computation."""
    return {"logits": [], "folds": fold_methods(bench.model.config)}.get(what, [what])


def products_of(bench: Bench, what: str, batch: int) -> list[Product]:
    """The matrix products of a computation."""
    program = compiled(bench.model.config, tuple(map(request, names_of(bench, what))), bench.plan)
    return products(program, bench.model.params, bench.images(batch), *targets_and_seeds(batch))


def figures(best: BestBatch, matrix_products: Iterable[Product], peaks: Peaks | None) -> dict[str, Any]:
    """The results of one computation at its best batch.

    "mfu" is relative to the data sheet's dense bf16 rate; the shares are relative to the rates that the section
    "device" measured, and are left out without them.
    """
    case, matrix_products = best.case, list(matrix_products)
    rate = case.items / best.timed.seconds
    flop = sum(product.flops * product.times for product in matrix_products)
    data_sheet = DENSE_BF16.get(jax.devices()[0].device_kind)
    moved = sum(product.bytes * product.times for product in matrix_products)
    row = {
        "batch": best.batch,
        "images_per_s": round(rate, 2),
        "compile_s": case.compile_s,
        "temporary_MiB": case.memory(),
        "gflop_per_image": round(flop / case.items / 1e9, 3),
        "product_MB_per_image": round(moved / case.items / 1e6, 2),
        "mfu": data_sheet and round(flop / best.timed.seconds / data_sheet, 4),
        "rounds": best.timed.rounds,
        "tried": best.tried,
    }
    if peaks is not None:
        least = roofline(matrix_products, peaks)
        row["share_of_peak"] = round(flop / best.timed.seconds / peaks.flops["bfloat16"], 4)
        row["roofline_images_per_s"] = round(case.items / least, 2)
        row["share_of_roofline"] = round(least / best.timed.seconds, 4)
    return row


def roofline(matrix_products: Iterable[Product], peaks: Peaks) -> float:
    """Least seconds of a program with these matrix products that writes their results to memory.

    seconds = Σ max(FLOPs / peak rate of the dtype, bytes / memory rate), summed over all runs of the products.
    """
    return sum(
        product.times
        * max(product.flops / peaks.flops.get(product.dtype, peaks.flops["float32"]), product.bytes / peaks.bytes)
        for product in matrix_products
    )
