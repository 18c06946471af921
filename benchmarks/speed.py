"""How fast vitjax is, compared with PyTorch on the same weights and images.

Run:     python -m benchmarks.speed [--model deit_tiny_patch16_224] [--batches 1 8 32] [--cases CASE ...] [--scaling]
Prints:  Markdown: the targets and whether they are met (DeiT-Tiny on a CPU), then for each case, batch and
         implementation images per second, time as a multiple of a forward, how many times faster vitjax is, FLOP,
         temporary memory and compile time; with --scaling also cost against tokens, layers and batch
Writes:  benchmarks/results/speed_MODEL_DEVICE.json

A case is a forward ("logits"), every fast method by itself ("methods"), all attention and gradient methods of the
shared pass together ("folds"), the forwards of the perturbation metric ("perturbation_levels"), "integrated_gradients",
the command `vitjax evaluate` ("evaluate"), or any method by name.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from benchmarks.harness import (
    DENSE_BF16,
    FORWARD,
    OURS,
    OURS_SAME,
    RESULTS,
    Case,
    Times,
    case_of,
    fold_methods,
    matmul,
    measure,
    progress,
    random_model,
    write,
)
from benchmarks.peers import FOLDS
from benchmarks.peers.waiting import choose
from benchmarks.table import LEVELS, Row, render
from vitjax.evaluating.run import evaluate
from vitjax.execution.microbatch import microbatched_vmap
from vitjax.execution.plan import ExecutionPlan, active_plan
from vitjax.execution.program import Program
from vitjax.execution.worker_threads import worker_count
from vitjax.explaining.programs import compiled, parallel_map_reduce
from vitjax.explaining.requests import request
from vitjax.layerwise.target import PREDICTED
from vitjax.methods import METHODS
from vitjax.metrics.levels import LEVELS as REMOVED
from vitjax.metrics.perturbation import perturbation_auc
from vitjax.models.model import Model

CASES = ("logits", "methods", "folds", LEVELS, "integrated_gradients", "evaluate")
IN_BF16 = ("logits", "transformer_mm")
JPEG_SIZE = (500, 375)
LARGEST = 128
"""Batch beyond which cases of many forwards do not become faster."""


class Key(NamedTuple):
    """Names one timed case: the computation `what`, and the implementation `who` that runs it."""

    what: str
    batch: int
    dtype: str
    who: str


class Bench:
    """Creates the cases of one model.

    Args:
        model: the model.
        peers: a `benchmarks.peers.cases.Peers` with the same weights; None times vitjax only.
        plan: how vitjax's programs are laid out; None takes the plan of the default device.
    """

    def __init__(self, model: Model, peers: Any = None, plan: ExecutionPlan | None = None) -> None:
        self.model, self.peers, self.plan = model, peers, plan or active_plan(model.config)
        self.dtype = str(jnp.dtype(model.dtype))
        self.images = cache(self._images)
        self.logits = cache(self._logits)
        self._jpegs: list[tempfile.TemporaryDirectory] = []

    def group(self, what: str, batch: int) -> dict[str, Case]:
        """The cases of one computation at one batch, by implementation; includes a forward of the same images."""
        peer_what, cases = what, {}
        if what == "logits":
            cases[OURS] = self.logits(batch)
        elif what == "folds":
            cases[OURS] = self.explaining(fold_methods(self.model.config), batch)
            cases[OURS_SAME] = self.explaining(FOLDS, batch)
            peer_what = "+".join(FOLDS)
        elif what == LEVELS:
            cases[OURS] = self.perturbation(batch)
        elif what == "evaluate":
            cases[OURS] = self.evaluation(batch)
            cases["vitjax, images in memory"] = self.explaining(["transformer_mm"], batch)
        else:
            cases[OURS] = self.explaining([what], batch)
        if self.peers is not None:
            with jax.default_matmul_precision(self.model.precision):
                targets = np.asarray(self.logits(batch).run()).argmax(-1)
            cases |= self.peers.cases(peer_what, self.images(batch), targets)
        return cases if what == "logits" else {**cases, FORWARD: self.logits(batch)}

    def explaining(self, names: Sequence[str], batch: int) -> Case:
        """Methods in one program.

        As in the library, a slow method divides the work of each image among worker threads if there are fewer images
        than threads.
        """
        if METHODS[names[0]].slow and batch < worker_count():
            return self._parallel_map_reduce(names[0], batch)
        program = compiled(self.model.config, tuple(request(name) for name in names), self.plan)
        return self._case(program, self.images(batch), *targets_and_seeds(batch))

    def _parallel_map_reduce(self, name: str, batch: int) -> Case:
        """A slow method with the work of each image divided among worker threads."""
        model = self.model
        program = parallel_map_reduce(model.config, request(name), self.plan)
        targets, seeds, seed = targets_and_seeds(batch)
        with jax.default_matmul_precision(model.precision):
            targets = np.asarray(self.logits(batch).run()).argmax(-1).astype(np.int32)
        images = list(zip(np.asarray(self.images(batch)), targets, seeds, strict=True))

        def run() -> Any:
            with jax.default_matmul_precision(model.precision):
                return program(model.params, images, seed)

        start = time.perf_counter()
        run()
        return Case(run, batch, compile_s=round(time.perf_counter() - start, 2))

    def perturbation(self, batch: int) -> Case:
        """The perturbation metric, which runs one forward for each share of removed pixels. Its items are forwards."""
        model, heatmap = self.model, np.random.default_rng(1).random((batch, *self.model.config.image_size), np.float32)

        def run(params, images, heatmap):
            forward = replace(model, params=params).logits
            one = partial(perturbation_auc, forward=forward)
            return microbatched_vmap(one, (0, 0), microbatch_size=self.plan.forward_microbatch)(heatmap, images)

        case = self._case(Program(run, (None, 0, 0), self.plan), self.images(batch), heatmap)
        # Pixels are removed in two orders, most relevant first and least relevant first. The complete image is the same
        # in both and counts once; the empty one is the same for all images and does not count.
        between = sum(0 < level < 100 for level in REMOVED)
        return replace(case, items=(2 * between + 1) * batch)

    def evaluation(self, batch: int) -> Case:
        """`vitjax evaluate` from JPEG files to records, including the start of its worker processes."""
        count = 4 * max(batch, 16)
        folder = tempfile.TemporaryDirectory()
        self._jpegs.append(folder)  # the folder is deleted together with this object
        rng = np.random.default_rng(2)
        for number in range(count):
            coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            coarse.resize(JPEG_SIZE).save(Path(folder.name) / f"{number:05d}.jpg", quality=90)

        def run():
            with tempfile.TemporaryDirectory() as out:
                evaluate(
                    self.model,
                    f"folder:{folder.name}",
                    ["transformer_mm"],
                    ["complexity"],
                    Path(out) / "run",
                    batch_size=batch,
                    chunk_size=batch,
                    profile=False,
                )

        return Case(run, count)

    def _images(self, batch: int) -> jax.Array:
        shape = (batch, *self.model.config.image_size, 3)
        return jax.jit(partial(jax.random.normal, shape=shape, dtype=self.dtype))(jax.random.key(0))

    def _logits(self, batch: int) -> Case:
        model = self.model
        program = Program(lambda params, x: replace(model, params=params).logits(x), (None, 0), self.plan)
        return self._case(program, self.images(batch))

    def _case(self, program: Any, x: Any, *rest: Any) -> Case:
        with jax.default_matmul_precision(self.model.precision):
            return case_of(program, self.model.params, x, *rest, items=len(x))


def main(
    model: str = "deit_tiny_patch16_224",
    batches: tuple[int, ...] = (),
    repeats: int = 9,
    cases: tuple[str, ...] = CASES,
    peers: bool = True,
    scaling: bool = False,
    budget: float | None = None,
    out: Path = RESULTS,
) -> None:
    """Time all cases in the same rounds, write OUT/speed_MODEL_DEVICE.json and print its tables.

    Args:
        model: architecture; its weights are random.
        batches: images per call; if not given 1 8 32, and on a GPU also 128 512.
        repeats: number of rounds.
        cases: any of the default cases, and names of methods.
        peers: also time PyTorch; the model's head must read the class token.
        scaling: also measure cost against tokens, layers and batch, and memory of every fold method against layers.
        budget: seconds after which no round begins, once three are complete.
        out: directory of the results.
    """
    # Before JAX initialises its backend: PyTorch needs memory, too, and compile times must be those of compilations.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ["VITJAX_COMPILATION_CACHE"] = "0"
    deadline = None if budget is None else time.perf_counter() + budget
    unknown = {*cases} - {*CASES, *METHODS}
    if unknown:
        raise SystemExit(f"unknown --cases {sorted(unknown)}; valid are {', '.join(CASES)} and names of methods")
    gpu = jax.devices()[0].platform != "cpu"
    sizes = tuple(sorted(set(batches))) or ((1, 8, 32, 128, 512) if gpu else (1, 8, 32))
    dtypes = ("float32", "bfloat16") if gpu else ("float32",)
    waiting = choose() if peers else ""
    models = [random_model(model, dtype=dtype) for dtype in dtypes]
    benches = [Bench(subject, _peers(subject) if peers else None) for subject in models]
    schedule = _schedule(cases, sizes, gpu)
    all_cases: dict[Key, Case] = {Key("matmul", 1, dtype, OURS): matmul(dtype) for dtype in dtypes}
    for bench in benches:
        chosen = [(what, batch) for what, batch in schedule if bench is benches[0] or what in IN_BF16]
        for what, batch in progress(chosen, f"compiling, {bench.dtype}"):
            for who, case in bench.group(what, batch).items():
                all_cases[Key(what, batch, bench.dtype, who)] = case
    times = measure({key: case.run for key, case in all_cases.items()}, repeats, deadline=deadline, shown=True)
    rows = [_row(key, all_cases[key], seconds, all_cases, times) for key, seconds in times.items()]
    config = benches[0].model.config
    figures = {
        "model": model,
        "tokens": getattr(config, "tokens", None),
        "layers": getattr(config, "depth", None),
        "rounds": len(rows[0]["seconds"]),
        "torch": _torch(waiting) if peers else None,
        "folds": fold_methods(benches[0].model.config),
        "every_fold": fold_methods(benches[0].model.config, every=True),
        "rows": rows,
        "scaling": None,
    }
    path = write(f"speed_{model}", figures, out)
    if scaling:
        measured = _scaling(model, benches[0].model, repeats, deadline)
        path = write(f"speed_{model}", {**figures, "scaling": measured}, out)
    print(render(path))
    print(path)


def _schedule(cases: Sequence[str], batches: Sequence[int], gpu: bool) -> list[tuple[str, int]]:
    """(computation, batch) in the order of the table."""
    fast = [name for name, method in METHODS.items() if not method.slow and method.cost != "0"]
    middle = max([batch for batch in batches if batch <= (LARGEST if gpu else 8)], default=batches[0])
    large = max([batch for batch in batches if batch <= LARGEST], default=batches[0])
    batches_of: dict[str, Sequence[int]] = {LEVELS: [middle], "evaluate": [large]}
    schedule: list[tuple[str, int]] = []
    for case in cases:
        for what in fast if case == "methods" else [case]:
            slow = what in METHODS and METHODS[what].slow
            schedule += [(what, batch) for batch in batches_of.get(what, batches[:1] if slow else batches)]
    return list(dict.fromkeys(schedule))


def _row(key: Key, case: Case, times: Times, cases: dict[Key, Case], all_times: dict[Key, Times]) -> Row:
    """The entry of one case in the results.

    "share_of_peak" is relative to the data sheet's rate for bfloat16 on known accelerators, otherwise to the fastest
    matrix product that was timed.
    """
    share = None
    peak_key = Key("matmul", 1, key.dtype, OURS)
    if case.flop is not None and peak_key in all_times:
        data_sheet = DENSE_BF16.get(jax.devices()[0].device_kind) if key.dtype == "bfloat16" else None
        product = cases[peak_key]
        assert product.flop is not None
        peak = data_sheet or product.flop / min(*all_times[peak_key].rounds, product.fastest)
        share = case.flop / median(times.rounds) / peak
    return {
        **key._asdict(),
        "items": case.items,
        "items_per_s": round(case.items / median(times.rounds), 3),
        "gflop_per_item": None if case.flop is None else round(case.flop / case.items / 1e9, 3),
        "share_of_peak": None if share is None else round(share, 4),
        "temporary_MiB": case.memory(),
        "compile_s": case.compile_s,
        "first_s": round(times.first, 4),
        "seconds": [round(seconds, 6) for seconds in times.rounds],
    }


SCALED_BATCHES = (1, 2, 4, 8, 16)
SCALED_PATCHES = (14, 24, 32)
"""Sides of the patch grid: 197, 577 and 1025 tokens."""


def _scaling(name: str, model: Model, repeats: int, deadline: float | None) -> dict[str, Any]:
    """Seconds against tokens, layers and batch with the exponents of power laws, and memory against layers."""
    config: Any = model.config
    computations: dict[str, Callable[[Bench, int], Case]] = {
        "logits": lambda bench, batch: bench.logits(batch),
        "transformer_mm": lambda bench, batch: bench.explaining(["transformer_mm"], batch),
        "folds": lambda bench, batch: bench.explaining(fold_methods(bench.model.config), batch),
    }
    depths = [config.depth // 2, config.depth, 2 * config.depth]
    by_depth = {depth: Bench(random_model(name, depth=depth)) for depth in depths}
    points: list[tuple[str, int, Bench, int]] = [("layers", depth, bench, 4) for depth, bench in by_depth.items()]
    points += [("batch", batch, by_depth[config.depth], batch) for batch in SCALED_BATCHES]
    for patches in SCALED_PATCHES:
        side = patches * config.patch_size
        bench = Bench(model.at_size((side, side)))
        points.append(("tokens", bench.model.config.tokens, bench, 2))  # type: ignore[union-attr]
    cases = {
        (axis, value, what): make(bench, batch)
        for axis, value, bench, batch in progress(points, "compiling, scaling")
        for what, make in computations.items()
    }
    times = measure({key: case.run for key, case in cases.items()}, repeats, deadline=deadline, shown=True)
    exponents: dict[str, dict[str, float]] = {}
    for axis in ("tokens", "layers", "batch"):
        for what in computations:
            curve = [(value, median(t.rounds)) for (a, value, w), t in times.items() if (a, w) == (axis, what)]
            exponents.setdefault(axis, {})[what] = round(exponent(curve), 3)
    memory = {
        method: {depth: bench.explaining([method], 8).memory() for depth, bench in by_depth.items()}
        for method in progress(fold_methods(config, every=True), "compiling, memory")
    }
    measured_points = [
        {"axis": axis, "value": value, "what": what, "seconds": t.rounds, "temporary_MiB": cases[key].memory()}
        for key, t in times.items()
        for axis, value, what in [key]
    ]
    return {"points": measured_points, "exponents": exponents, "temporary_MiB_by_layers": memory}


def exponent(line: Sequence[tuple[float, float]]) -> float:
    """p of y = a x^p through the points (x, y), by least squares of the logarithms."""
    x, y = np.log(np.asarray(line, np.float64)).T
    return float(np.polyfit(x, y, 1)[0])


def targets_and_seeds(batch: int) -> tuple[np.ndarray, np.ndarray, np.uint32]:
    """Arguments of an explaining program: the predicted class of every image, one seed per image, and a common seed."""
    return np.full(batch, PREDICTED, np.int32), np.arange(batch, dtype=np.uint32), np.uint32(0)


def _peers(model: Model) -> Any:
    from benchmarks.peers.cases import Peers

    return Peers(model)


def _torch(waiting: str) -> dict[str, Any]:
    import torch

    return {"version": torch.__version__, "threads": torch.get_num_threads(), "waiting": waiting}


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
