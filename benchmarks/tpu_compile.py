"""Every method's program compiled by the real TPU compiler, on a machine without a TPU.

python -m benchmarks.tpu_compile [--model vit_base_patch16_224] [--methods rollout transformer_mm]

`pip install 'vitjax[tpu-aot]'` brings the compiler. It gives memory, compile time and the compiled program itself, so
communication between chips and calls back to the host are seen here; it gives no seconds of running.
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
"""Bytes of a chip."""
ONE_CHIP, FOUR_CHIPS = "v5e:1x1", "v5e:2x2"
BATCHES = (32, 128)
"""Images in a call on each chip: memory is a line through both."""
HOST_CALL = re.compile(r"python_cpu_callback|ffi_python|host_callback|is_host_transfer=true|\b(?:in|out)feed\(")
ALONE, SHARED = "logits", ("folds", "every_fold")


class Task(NamedTuple):
    """One program to compile. what: a method, "logits", or one of SHARED."""

    model: str
    dtype: str
    what: str
    topology: str
    batch: int


def compile_for_tpu(task: Task) -> dict[str, Any]:
    """What the compiler says of a program: memory in bytes on each chip, seconds, communication, calls to the host.

    "error" in place of these where it refuses, as it does a program that does not fit into the chip's memory.
    """
    os.environ.update(JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1", VITJAX_COMPILATION_CACHE="0")
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies
    from jax.sharding import NamedSharding, PartitionSpec

    from benchmarks.speed import fold_methods
    from vitjax.execution.devices import Devices, collectives
    from vitjax.execution.flops import flops
    from vitjax.execution.plan import plan_for
    from vitjax.explaining.programs import compiled
    from vitjax.explaining.requests import request
    from vitjax.models.load import entries
    from vitjax.nn.network import network

    # All chips of a topology belong to one host.
    bounds = [*map(int, task.topology.split(":")[1].split("x")), 1]
    topology = topologies.get_topology_desc(task.topology, "tpu", chips_per_host_bounds=bounds)
    chips = topology.devices
    devices = Devices(chips)
    whole, cut = (NamedSharding(devices.mesh, PartitionSpec(*axes)) for axes in ((), ("images",)))

    def shape(sizes: Sequence[int], dtype: Any, sharding: NamedSharding = cut) -> Any:
        return jax.ShapeDtypeStruct(tuple(sizes), dtype, sharding=sharding)

    config = entries()[task.model].config
    image = jax.ShapeDtypeStruct((*config.image_size, 3), jnp.float32)
    params = jax.eval_shape(network(config).init, jax.random.key(0), image)["params"]
    params = jax.tree.map(lambda leaf: shape(leaf.shape, task.dtype, whole), params)
    names = {ALONE: [], "folds": fold_methods(config), "every_fold": fold_methods(config, every=True)}
    requests = tuple(request(name) for name in names.get(task.what, [task.what]))
    program = compiled(config, requests, plan_for(config, "tpu"))
    batch = task.batch * len(chips)
    arguments = (
        params,
        shape((batch, *config.image_size, 3), task.dtype),
        shape((batch,), jnp.int32),
        shape((batch,), jnp.uint32),
        shape((), jnp.uint32, whole),
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
    """Each program at both batches on one chip, and at the smaller one on four."""
    for what in methods:
        for topology, batch in ((ONE_CHIP, BATCHES[0]), (ONE_CHIP, BATCHES[1]), (FOUR_CHIPS, BATCHES[0])):
            yield Task(model, dtype, what, topology, batch)


def row(found: dict[Task, dict[str, Any]], model: str, dtype: str, what: str) -> dict[str, Any]:
    """The line of one program in the results."""
    one, more, four = (found[each] for each in tasks(model, dtype, [what]))
    fits = largest_batch([(batch, each) for batch, each in zip(BATCHES, (one, more), strict=True)])
    mebibytes = {f"MiB_at_{b}": _mebibytes(each) for b, each in zip(BATCHES, (one, more), strict=True)}
    return {
        "what": what,
        "gflop_per_image": one.get("gflop_per_image"),
        "compile_s": one.get("compile_s"),
        **mebibytes,
        "largest_batch": fits,
        "four_chips": {
            key: four.get(key) for key in ("compile_s", "collectives", "host_calls", "error") if key in four
        },
        "host_calls": one.get("host_calls"),
        "errors": [each["error"] for each in (one, more, four) if "error" in each],
    }


def largest_batch(points: Sequence[tuple[int, dict[str, Any]]], memory: int = MEMORY["v5e"]) -> int | None:
    """Images in a call that fit into a chip: where the line through both points reaches its memory."""
    (low, a), (high, b) = points
    if "error" in a or "error" in b:
        return None
    needed, more = (sum(each[key] for key in ("temporary", "arguments", "results")) for each in (a, b))
    per_image = max((more - needed) / (high - low), 1.0)
    return int((memory - needed) / per_image) + low


def _mebibytes(found: dict[str, Any]) -> dict[str, float] | None:
    if "error" in found:
        return None
    return {key: round(found[key] / 2**20, 1) for key in ("temporary", "arguments", "results")}


def table(figures: dict[str, Any]) -> str:
    """Markdown of the results."""
    low, high = BATCHES
    head = ("", "GFLOP/image", f"temporary MiB, batch {low}", f"batch {high}", "largest batch", "compile s", "4 chips")
    lines = [f"{figures['model']}, {figures['dtype']}, {figures['topology']}, libtpu {figures['libtpu']}", ""]
    rows = [head, ["---"] * len(head)]
    for each in figures["rows"]:
        temporary = [(each[f"MiB_at_{batch}"] or {}).get("temporary", "does not fit") for batch in BATCHES]
        four = each["four_chips"]
        said = [*four.get("collectives", []), *four.get("host_calls", [])]
        verdict = "refused" if "error" in four else ", ".join(said) or "no communication, no host calls"
        rows.append(
            (each["what"], each["gflop_per_image"], *temporary, each["largest_batch"], each["compile_s"], verdict)
        )
    lines += ["| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in rows]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile, write RESULTS after every program, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tpu_compile", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_base_patch16_224", help="architecture (default %(default)s)")
    parser.add_argument("--dtype", default="bfloat16", help="of weights and activations (default %(default)s)")
    parser.add_argument("--methods", nargs="+", default=[], help="methods; all that are compiled where not given")
    parser.add_argument("--out", type=Path, default=RESULTS, help="a JSON file; rows of other programs in it are kept")
    given = parser.parse_args(arguments)
    from vitjax.methods import METHODS

    try:
        version = importlib.metadata.version("libtpu")
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit("libtpu is not installed: pip install 'vitjax[tpu-aot]'") from None
    methods = given.methods or [
        ALONE,
        *(name for name, each in METHODS.items() if each.explain_on_host is None),
        *SHARED,
    ]
    about = {
        "model": given.model,
        "dtype": given.dtype,
        "topology": f"{ONE_CHIP} and {FOUR_CHIPS}",
        "libtpu": version,
        "jax": importlib.metadata.version("jax"),
    }
    rows = _kept(given.out, about, methods)
    for what in methods:
        found = {task: _in_a_process(task) for task in tasks(given.model, given.dtype, [what])}
        rows.append(row(found, given.model, given.dtype, what))
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
        print(table({**about, "rows": rows[-1:]}).splitlines()[-1], file=sys.stderr, flush=True)
    print(table({**about, "rows": rows}))
    print(given.out)


def _kept(path: Path, about: dict[str, Any], methods: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of an earlier run with the same compiler, but those that are compiled now."""
    found = json.loads(path.read_text()) if path.exists() else {}
    same = {key: found.get(key) for key in about} == about
    return [each for each in found.get("rows", []) if each["what"] not in methods] if same else []


def _in_a_process(task: Task) -> dict[str, Any]:
    """In a process of its own: the compiler aborts where it fails, and never gives memory back."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(compile_for_tpu, task).result()
        except BrokenProcessPool:
            return {"error": "the compiler ended its process"}


if __name__ == "__main__":
    main()
