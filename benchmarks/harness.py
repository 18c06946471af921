"""Side-by-side timing on a machine with other load: rounds over all cases, medians, and ratios within a round.

Has no command of its own: the benchmarks import it to time cases, to create models with random weights and to write
benchmarks/results/NAME_DEVICE.json. Prints only progress bars.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from vitjax.execution.flops import flops
from vitjax.execution.jax_settings import setting
from vitjax.execution.plan import compiler_options
from vitjax.execution.program import Program
from vitjax.methods import METHODS
from vitjax.models.families import Entry, find
from vitjax.models.load import BUNDLED, bundled_entry
from vitjax.models.model import Model
from vitjax.nn.network import Config, network
from vitjax.nn.vit_config import ViTConfig

Name = TypeVar("Name", bound=Hashable)
Step = TypeVar("Step")
RESULTS = Path(__file__).parent / "results"
MIB = 2**20
FEWEST_ROUNDS = 3
"""Rounds that are always completed, whatever the deadline: the median of fewer is not meaningful."""

# Implementations that run a case. Results files contain these names.
OURS, FORWARD, OURS_SAME = "vitjax", "vitjax, logits", "vitjax, the peers' methods"
HOOKS, BATCHED, COMPILED = "PyTorch, hooks, one image", "PyTorch, batched by hand", "PyTorch, torch.compile"
CAPTUM, LEAN = "captum", "PyTorch, lean relprop, one image"

# Dense bf16 FLOP/s of one chip from the vendors' data sheets, by JAX's `Device.device_kind`.
DENSE_BF16 = {
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
}


@dataclass(frozen=True)
class Case:
    """A computation that is timed.

    run: returns device arrays, which are waited for, or blocks until it has finished.
    items: images (or forwards) of one call. Cases with different batches are compared per item.
    flop: floating-point operations of the matrix products of one call.
    compile_s: seconds of tracing and compiling, which are not part of the timed calls.
    memory: peak MiB of temporaries of one call, summed over its worker threads; called after the warm-up.
    fastest: seconds of the fastest call before the rounds; infinity if none was timed.
    """

    run: Callable[[], Any]
    items: int = 1
    flop: float | None = None
    compile_s: float | None = None
    memory: Callable[[], float | None] = lambda: None
    fastest: float = float("inf")


class Times(NamedTuple):
    """Seconds of a case: of its first call after compilation, and of one call in each round."""

    first: float
    rounds: list[float]


def case_of(program: Any, *arguments: Any, items: int) -> Case:
    """The case that calls a compiled program as vitjax calls it: with parts of the batch in worker threads.

    Args:
        program: a `Program` or a jitted function; it is compiled here.
        arguments: its arguments.
        items: images of one call.
    """
    arguments = jax.device_put(arguments)
    parts = program.parts(*arguments) if isinstance(program, Program) else [arguments]
    start = time.perf_counter()
    is_program = isinstance(program, Program)
    executable = program.executable(*parts[0]) if is_program else program.lower(*arguments).compile(compiler_options())
    seconds = time.perf_counter() - start
    analysis = executable.memory_analysis()
    temporary = None if analysis is None else round(len(parts) * analysis.temp_size_in_bytes / MIB, 3)
    precision = setting("jax_default_matmul_precision")

    def in_worker_threads() -> Any:
        with jax.default_matmul_precision(precision):
            return program(*arguments)

    run = in_worker_threads if len(parts) > 1 else lambda: executable(*arguments)
    return Case(run, items, flops(program, *arguments), round(seconds, 2), lambda: temporary)


def measure(
    cases: Mapping[Name, Callable[[], Any]], repeats: int, *, deadline: float | None = None, shown: bool = False
) -> dict[Name, Times]:
    """Time all cases in interleaved rounds: a round calls each case once. A call before the rounds is timed separately.

    Args:
        cases: functions by name.
        repeats: number of rounds.
        deadline: `time.perf_counter()` after which no round begins, once FEWEST_ROUNDS are complete.
        shown: show a progress bar; report a case that does not fit into memory and leave it out, instead of raising.

    Returns:
        Seconds of each case that ran.
    """
    times: dict[Name, Times] = {}
    for name, run in progress(cases.items(), "warm-up", shown=shown):
        try:
            times[name] = Times(_seconds(run), [])
        except RuntimeError as error:  # JAX's and PyTorch's out-of-memory errors are subclasses
            if not shown or not any(text in str(error) for text in ("RESOURCE_EXHAUSTED", "out of memory")):
                raise
            print(f"{name}: not enough memory, left out", file=sys.stderr)
    for number in progress(range(repeats), "rounds", shown=shown):
        if deadline is not None and number >= FEWEST_ROUNDS and time.perf_counter() > deadline:
            break
        for name, times_of_case in times.items():
            times_of_case.rounds.append(_seconds(cases[name]))
    return times


def progress(steps: Iterable[Step], name: str, *, shown: bool = True) -> Iterable[Step]:
    """Iterate over the steps, with a progress bar if stderr is a terminal and tqdm is installed."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return steps
    return tqdm(steps, name, disable=None if shown else True)


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def rounds(cases: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each case in each of `repeats` interleaved rounds, after one call that is not counted.

    A case returns device arrays, which are waited for, or blocks until it has finished.
    """
    return {name: times.rounds for name, times in measure(cases, repeats).items()}


def ratio(seconds: Mapping[Name, list[float]], case: Name, by: Name) -> float:
    """Median over rounds of seconds of `case` / seconds of `by`. Load that slows a whole round cancels."""
    return median(a / b for a, b in zip(seconds[case], seconds[by], strict=True))


def matmul(dtype: str, precision: str = "highest", sizes: Sequence[int] = ()) -> Case:
    """The square matrix product with the highest FLOP/s on this machine, which stands for its peak rate.

    The factors are standard normal: products of ones draw less power on a GPU and run 10 % faster.

    Args:
        dtype: of the factors.
        precision: JAX's matmul precision.
        sizes: sides of the matrices that are tried; those of the platform if not given.
    """
    sizes = sizes or ((1024, 2048) if jax.devices()[0].platform == "cpu" else (4096, 8192, 16384))
    best: tuple[float, Case] | None = None
    for size in sizes:
        factor = jax.random.normal(jax.random.key(0), (size, size), dtype)
        with jax.default_matmul_precision(precision):
            case = case_of(jax.jit(jnp.matmul), factor, factor, items=1)
        times = measure({0: case.run}, FEWEST_ROUNDS)[0]
        speed = 2.0 * size**3 / min(times.rounds)
        if best is None or speed > best[0]:
            best = speed, replace(case, fastest=min(times.rounds))
    assert best is not None
    return best[1]


def random_model(name: str, *, dtype: str = "float32", **changes: Any) -> Model:
    """A model with random weights; speed does not depend on the weights.

    Args:
        name: architecture.
        dtype: of the weights.
        changes: fields of the configuration that differ from the architecture's.
    """
    entry: Entry[Any] = bundled_entry() if name == BUNDLED else find(name)
    config = replace(entry.config, **changes)
    image = jax.ShapeDtypeStruct((*config.image_size, 3), jnp.float32)
    shapes = jax.eval_shape(network(config).init, jax.random.key(0), image)["params"]
    leaves, structure = jax.tree.flatten(shapes)

    @jax.jit  # on the device, because copying the weights of the largest models there takes longer than drawing them
    def draw(keys):
        pairs = zip(keys, leaves, strict=True)
        return jax.tree.unflatten(
            structure, [(jax.random.normal(key, s.shape) * 0.02).astype(dtype) for key, s in pairs]
        )

    params = draw(jax.random.split(jax.random.key(0), len(leaves)))
    preprocessing = replace(entry.preprocessing, size=config.image_size)
    return Model(config, params, preprocessing, None, name, {"source": "random"})


def fold_methods(config: Config, *, every: bool = False) -> list[str]:
    """Names of the methods of the shared pass that need attention and gradients only.

    every: also methods with relevance rules or maps at pixels.
    """
    assert isinstance(config, ViTConfig)
    names = []
    for name, method in METHODS.items():
        if method.fold is not None and method.cost != "0":
            light = method.level == "token" and method.fold(config).rules is None
            names += [name] if light or every else []
    return names


def machine() -> dict[str, Any]:
    """The device and the versions, as results files record them."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind if device.platform != "cpu" else f"CPU, {os.cpu_count()} cores",
        "platform": device.platform,
        "devices": jax.device_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def write(name: str, figures: Mapping[str, Any], directory: Path = RESULTS) -> Path:
    """Write {"machine", **figures} to NAME_DEVICE.json in the directory and return its path."""
    about = machine()
    directory.mkdir(parents=True, exist_ok=True)
    slug = "cpu" if about["platform"] == "cpu" else about["device"].lower().replace(" ", "-")
    path = directory / f"{name}_{slug}.json"
    path.write_text(json.dumps({"machine": about, **figures}, indent=2) + "\n")
    return path
