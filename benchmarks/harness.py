"""Side-by-side timing on a machine that is never quite quiet: rounds over all cases, medians, ratios per round."""

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
from vitjax.execution.program import Program
from vitjax.methods import METHODS
from vitjax.models.load import entries
from vitjax.models.model import Model
from vitjax.nn.network import Config, network
from vitjax.nn.vit_config import ViTConfig

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
RESULTS = Path(__file__).parent / "results"
MIB = 2**20
FEWEST_ROUNDS = 3
"""A median of fewer says nothing, whatever the time."""

# Who runs a case.
OURS, FORWARD, OURS_SAME = "vitjax", "vitjax, logits", "vitjax, the peers' methods"
HOOKS, BATCHED, COMPILED = "PyTorch, hooks, one image", "PyTorch, batched by hand", "PyTorch, torch.compile"
CAPTUM, LEAN = "captum", "PyTorch, lean relprop, one image"

# Dense bf16 FLOP/s of a chip from the vendors' data sheets, by the name that JAX gives the device.
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
    """One thing that is timed.

    run: returns device arrays (they are waited for), or anything when it is done.
    items: images, or whatever is counted, of one call: what cases of different batches are compared by.
    flop: floating-point operations of one call, of matrix products. compile_s: tracing and compiling, not timed again.
    memory: MiB of temporaries at the peak of a call, of all its lanes; asked for after warm-up.
    fastest: seconds of a call, where some were timed before the rounds.
    """

    run: Callable[[], Any]
    items: int = 1
    flop: float | None = None
    compile_s: float | None = None
    memory: Callable[[], float | None] = lambda: None
    fastest: float = float("inf")


class Times(NamedTuple):
    """Seconds of a case: its first call after compilation, and one call in each round."""

    first: float
    rounds: list[float]


def case_of(program: Any, *arguments: Any, items: int) -> Case:
    """A `Program` or a jitted function for these arguments, compiled; called as the library calls it, in lanes."""
    arguments = jax.device_put(arguments)
    parts = program.parts(*arguments) if isinstance(program, Program) else [arguments]
    start = time.perf_counter()
    executable = program.executable(*parts[0]) if len(parts) > 1 else program.lower(*arguments).compile()
    seconds = time.perf_counter() - start
    found = executable.memory_analysis()
    temporary = None if found is None else round(len(parts) * found.temp_size_in_bytes / MIB, 3)
    precision = setting("jax_default_matmul_precision")

    def in_lanes() -> Any:
        with jax.default_matmul_precision(precision):
            return program(*arguments)

    run = in_lanes if len(parts) > 1 else lambda: executable(*arguments)
    return Case(run, items, flops(program, *arguments), round(seconds, 2), lambda: temporary)


def measure(
    cases: Mapping[K, Callable[[], Any]], repeats: int, *, deadline: float | None = None, shown: bool = False
) -> dict[K, Times]:
    """Time every case once in each of `repeats` rounds, one after the other; before that once more, on its own account.

    deadline: `time.perf_counter()` after which no round begins, once there are FEWEST_ROUNDS.
    shown: a bar of progress; and a case that does not fit into memory is named and left out, where else it raises.
    """
    found: dict[K, Times] = {}
    for name, run in progress(cases.items(), "warm-up", shown=shown):
        try:
            found[name] = Times(_seconds(run), [])
        except RuntimeError as error:  # JAX's and PyTorch's are subclasses
            if not shown or not any(each in str(error) for each in ("RESOURCE_EXHAUSTED", "out of memory")):
                raise
            print(f"{name}: not enough memory, left out", file=sys.stderr)
    for number in progress(range(repeats), "rounds", shown=shown):
        if deadline is not None and number >= FEWEST_ROUNDS and time.perf_counter() > deadline:
            break
        for name, times in found.items():
            times.rounds.append(_seconds(cases[name]))
    return found


def progress(steps: Iterable[T], name: str, *, shown: bool = True) -> Iterable[T]:
    """The steps, with a progress bar on a terminal where tqdm is installed."""
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
    """Seconds of each case in each of `repeats` rounds; a round runs every case once, one after the other.

    Every case runs once before, untimed. A case returns device arrays (waited for) or anything that is done.
    """
    return {name: times.rounds for name, times in measure(cases, repeats).items()}


def ratio(seconds: Mapping[K, list[float]], case: K, by: K) -> float:
    """Median over rounds of case / by: what both suffer in a round cancels."""
    return median(a / b for a, b in zip(seconds[case], seconds[by], strict=True))


def matmul(dtype: str, precision: str = "highest", sizes: Sequence[int] = ()) -> Case:
    """The square matrix product that this machine is fastest at: what the share of its peak is taken of.

    Of normal random numbers: products of ones draw less power on a GPU and run 10 % faster.
    """
    sizes = sizes or ((1024, 2048) if jax.devices()[0].platform == "cpu" else (4096, 8192, 16384))
    best: tuple[float, Case] | None = None
    for size in sizes:
        one = jax.random.normal(jax.random.key(0), (size, size), dtype)
        with jax.default_matmul_precision(precision):
            case = case_of(jax.jit(jnp.matmul), one, one, items=1)
        times = measure({0: case.run}, FEWEST_ROUNDS)[0]
        speed = 2.0 * size**3 / min(times.rounds)
        if best is None or speed > best[0]:
            best = speed, replace(case, fastest=min(times.rounds))
    assert best is not None
    return best[1]


def random_model(name: str, *, dtype: str = "float32", **changes: Any) -> Model:
    """A named architecture with random weights: speed does not depend on them. `changes`: fields of its config."""
    entry = entries()[name]
    config = replace(entry.config, **changes)
    image = jax.ShapeDtypeStruct((*config.image_size, 3), jnp.float32)
    shapes = jax.eval_shape(network(config).init, jax.random.key(0), image)["params"]
    leaves, structure = jax.tree.flatten(shapes)

    @jax.jit  # on the device: the largest models take longer to copy than to draw
    def draw(keys):
        pairs = zip(keys, leaves, strict=True)
        return jax.tree.unflatten(
            structure, [(jax.random.normal(key, s.shape) * 0.02).astype(dtype) for key, s in pairs]
        )

    params = draw(jax.random.split(jax.random.key(0), len(leaves)))
    preprocessing = replace(entry.preprocessing, size=config.image_size)
    return Model(config, params, preprocessing, None, name, {"source": "random"})


def fold_methods(config: Config, *, every: bool = False) -> list[str]:
    """Methods that share one pass: those of attention and gradients; `every`: with rules or maps at pixels, too."""
    assert isinstance(config, ViTConfig)
    found = []
    for name, method in METHODS.items():
        if method.fold is not None and method.cost != "0":
            light = method.level == "token" and method.fold(config).rules is None
            found += [name] if light or every else []
    return found


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind if device.platform != "cpu" else f"CPU, {os.cpu_count()} cores",
        "platform": device.platform,
        "devices": jax.device_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def write(name: str, figures: Mapping[str, Any], directory: Path = RESULTS) -> Path:
    """results/NAME_DEVICE.json"""
    about = machine()
    directory.mkdir(parents=True, exist_ok=True)
    slug = "cpu" if about["platform"] == "cpu" else about["device"].lower().replace(" ", "-")
    path = directory / f"{name}_{slug}.json"
    path.write_text(json.dumps({"machine": about, **figures}, indent=2) + "\n")
    return path
