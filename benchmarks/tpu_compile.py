"""Compiles the program of every method with the real TPU compiler, on a machine without a TPU.

Run:     python -m benchmarks.tpu_compile [--model vit_base_patch16_224] [--methods rollout transformer_mm]
Needs:   the compiler: pip install 'vitjax[tpu-aot]'
Prints:  a Markdown table with one line per program: GFLOP per image, temporary memory at two batches, the largest batch
         that fits into a chip, compile time, and communication and host calls on four chips; then the path of the
         results. Each line is printed to stderr as soon as it is known
Writes:  benchmarks/results/tpu_aot.json, after every program

The compiler reports memory, compile time and the compiled program, which shows communication between chips and calls
back to the host. Programs do not run, so this measures no run times.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results" / "tpu_aot.json"
MEMORY = {"v5e": 16 * 2**30}
"""Memory of one chip in bytes."""
ONE_CHIP, FOUR_CHIPS = "v5e:1x1", "v5e:2x2"
BATCHES = (32, 128)
"""Images per chip in a call. The largest batch that fits is extrapolated linearly from the memory at both."""
HOST_CALL = re.compile(r"python_cpu_callback|ffi_python|host_callback|is_host_transfer=true|\b(?:in|out)feed\(")
"""Operations of a compiled program that call the host."""
ALONE, SHARED = "logits", ("folds", "every_fold")
"""Programs that are not single methods: a forward; all methods of the shared pass without and with relevance rules and
maps at pixels."""


class Task(NamedTuple):
    """One program to compile.

    what: a method, "logits", or one of SHARED. topology: ONE_CHIP or FOUR_CHIPS. batch: images per chip.
    """

    model: str
    dtype: str
    what: str
    topology: str
    batch: int


def compile_for_tpu(task: Task) -> dict[str, Any]:
    """Compile a program.

    Returns:
        Bytes per chip ("temporary", "arguments", "results"), seconds of compilation, GFLOP per image, and the names of
        communication operations ("collectives") and of calls to the host in the compiled program. If the compiler
        raises an error, for example because the program does not fit into a chip's memory: "error" alone.
    """
    os.environ.update(JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1", VITJAX_COMPILATION_CACHE="0")
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies
    from jax.sharding import NamedSharding, PartitionSpec

    from benchmarks.harness import fold_methods
    from vitjax.execution.devices import Devices, collectives
    from vitjax.execution.flops import flops
    from vitjax.execution.plan import plan_for
    from vitjax.explaining.programs import compiled
    from vitjax.explaining.requests import request
    from vitjax.models.families import find
    from vitjax.nn.network import network

    # All chips of the topology belong to one host.
    bounds = [*map(int, task.topology.split(":")[1].split("x")), 1]
    topology = topologies.get_topology_desc(task.topology, "tpu", chips_per_host_bounds=bounds)
    chips = topology.devices
    devices = Devices(chips)
    replicated, divided = (NamedSharding(devices.mesh, PartitionSpec(*axes)) for axes in ((), ("images",)))

    def shape(sizes: Sequence[int], dtype: Any, sharding: NamedSharding = divided) -> Any:
        return jax.ShapeDtypeStruct(tuple(sizes), dtype, sharding=sharding)

    config = find(task.model).config
    image = jax.ShapeDtypeStruct((*config.image_size, 3), jnp.float32)
    params = jax.eval_shape(network(config).init, jax.random.key(0), image)["params"]
    params = jax.tree.map(lambda leaf: shape(leaf.shape, task.dtype, replicated), params)
    names = {ALONE: [], "folds": fold_methods(config), "every_fold": fold_methods(config, every=True)}
    requests = tuple(request(name) for name in names.get(task.what, [task.what]))
    program = compiled(config, requests, plan_for(config, "tpu"))
    batch = task.batch * len(chips)
    arguments = (
        params,
        shape((batch, *config.image_size, 3), task.dtype),
        shape((batch,), jnp.int32),
        shape((batch,), jnp.uint32),
        shape((), jnp.uint32, replicated),
    )
    started = time.perf_counter()
    try:
        executable = devices.compile(program, *arguments)
    except jax.errors.JaxRuntimeError as error:
        return {"error": " ".join(str(error).split())[:300]}
    seconds = time.perf_counter() - started
    memory = executable.memory_analysis()
    return {
        "temporary": memory.temp_size_in_bytes,
        "arguments": memory.argument_size_in_bytes,
        "results": memory.output_size_in_bytes,
        "compile_s": round(seconds, 1),
        "gflop_per_image": round(flops(program, *arguments) / batch / 1e9, 3),
        "collectives": collectives(executable),
        "host_calls": sorted(set(HOST_CALL.findall(executable.as_text()))),
    }


def tasks(model: str, dtype: str, methods: Sequence[str]) -> Iterator[Task]:
    """The tasks of each program: both batches on one chip, and the smaller batch on four chips."""
    for what in methods:
        for topology, batch in ((ONE_CHIP, BATCHES[0]), (ONE_CHIP, BATCHES[1]), (FOUR_CHIPS, BATCHES[0])):
            yield Task(model, dtype, what, topology, batch)


def row(compiled: dict[Task, dict[str, Any]], model: str, dtype: str, what: str) -> dict[str, Any]:
    """One line of the results.

    Args:
        compiled: what `compile_for_tpu` returned for each task.
        model, dtype, what: the program.
    """
    small, large, four = (compiled[task] for task in tasks(model, dtype, [what]))
    fits = largest_batch([*zip(BATCHES, (small, large), strict=True)])
    mebibytes = {f"MiB_at_{b}": _mebibytes(program) for b, program in zip(BATCHES, (small, large), strict=True)}
    return {
        "what": what,
        "gflop_per_image": small.get("gflop_per_image"),
        "compile_s": small.get("compile_s"),
        **mebibytes,
        "largest_batch": fits,
        "four_chips": {
            key: four.get(key) for key in ("compile_s", "collectives", "host_calls", "error") if key in four
        },
        "host_calls": small.get("host_calls"),
        "errors": [task["error"] for task in (small, large, four) if "error" in task],
    }


def largest_batch(points: Sequence[tuple[int, dict[str, Any]]], memory: int = MEMORY["v5e"]) -> int | None:
    """Largest batch that fits into one chip, extrapolated linearly from the memory at two batches.

    Args:
        points: two of (batch, what `compile_for_tpu` returned).
        memory: bytes of the chip.

    Returns:
        Images per call, or None if one of the two does not compile.
    """
    (low, at_low), (high, at_high) = points
    if "error" in at_low or "error" in at_high:
        return None
    bytes_low, bytes_high = (
        sum(compiled[key] for key in ("temporary", "arguments", "results")) for compiled in (at_low, at_high)
    )
    per_image = max((bytes_high - bytes_low) / (high - low), 1.0)
    return int((memory - bytes_low) / per_image) + low


def _mebibytes(compiled: dict[str, Any]) -> dict[str, float] | None:
    if "error" in compiled:
        return None
    return {key: round(compiled[key] / 2**20, 1) for key in ("temporary", "arguments", "results")}


def table(figures: dict[str, Any]) -> str:
    """Markdown of the results."""
    low, high = BATCHES
    head = ("", "GFLOP/image", f"temporary MiB, batch {low}", f"batch {high}", "largest batch", "compile s", "4 chips")
    lines = [f"{figures['model']}, {figures['dtype']}, {figures['topology']}, libtpu {figures['libtpu']}", ""]
    cells = [head, ["---"] * len(head)]
    for program in figures["rows"]:
        temporary = [(program[f"MiB_at_{batch}"] or {}).get("temporary", "does not fit") for batch in BATCHES]
        four = program["four_chips"]
        operations = [*four.get("collectives", []), *four.get("host_calls", [])]
        verdict = "refused" if "error" in four else ", ".join(operations) or "no communication, no host calls"
        costs = (program["gflop_per_image"], *temporary, program["largest_batch"], program["compile_s"])
        cells.append((program["what"], *costs, verdict))
    lines += ["| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in cells]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile the programs, write the results after each of them, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tpu_compile", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_base_patch16_224", help="architecture (default %(default)s)")
    parser.add_argument("--dtype", default="bfloat16", help="dtype of weights and activations (default %(default)s)")
    parser.add_argument("--methods", nargs="+", default=[], metavar="METHOD",
                        help=f"methods, {ALONE}, {', '.join(SHARED)}; default: all that run on the device")  # fmt: skip
    parser.add_argument("--out", type=Path, default=RESULTS,
                        help="JSON file; its rows of other programs are kept (default %(default)s)")  # fmt: skip
    given = parser.parse_args(arguments)
    from vitjax.methods import METHODS

    try:
        version = importlib.metadata.version("libtpu")
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit("libtpu is not installed: pip install 'vitjax[tpu-aot]'") from None
    methods = given.methods or [
        ALONE,
        *(name for name, method in METHODS.items() if method.explain_on_host is None),
        *SHARED,
    ]
    about = {
        "model": given.model,
        "dtype": given.dtype,
        "topology": f"{ONE_CHIP} and {FOUR_CHIPS}",
        "libtpu": version,
        "jax": importlib.metadata.version("jax"),
    }
    rows = _rows_to_keep(given.out, about, methods)
    for what in methods:
        compiled = {task: _compile_in_process(task) for task in tasks(given.model, given.dtype, [what])}
        rows.append(row(compiled, given.model, given.dtype, what))
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
        print(table({**about, "rows": rows[-1:]}).splitlines()[-1], file=sys.stderr, flush=True)
    print(table({**about, "rows": rows}))
    print(given.out)


def _rows_to_keep(path: Path, about: dict[str, Any], methods: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of an earlier run, except those of the programs that this run compiles.

    None are kept if the earlier run used another model, dtype or compiler.
    """
    earlier = json.loads(path.read_text()) if path.exists() else {}
    same = {key: earlier.get(key) for key in about} == about
    return [program for program in earlier.get("rows", []) if program["what"] not in methods] if same else []


def _compile_in_process(task: Task) -> dict[str, Any]:
    """`compile_for_tpu` in a process of its own: the compiler aborts on some errors, and does not free its memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(compile_for_tpu, task).result()
        except BrokenProcessPool:
            return {"error": "the compiler ended its process"}


if __name__ == "__main__":
    main()
