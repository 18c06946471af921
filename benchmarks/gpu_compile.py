"""Compiles the programs of explanations with XLA's compiler for an NVIDIA H100, on a machine without a GPU.

Run:     python -m benchmarks.gpu_compile [--model vit_base_patch16_224] [--programs logits transformer_mm]
Needs:   the compiler: pip install 'jax[cuda13]'
Prints:  a Markdown table with one line per program: seconds of compilation and temporary memory, once by the plan for
         GPUs (its `Kernels` and `compiler_options`) and once without either
Writes:  benchmarks/results/gpu_aot.json, after every program

Without a GPU the compiler cannot time kernels. It takes the first one that fits (`ANY_KERNEL` of
accelerator/sections.py), so that the seconds exclude autotuning. Programs do not run.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.accelerator.sections import ANY_KERNEL

RESULTS = Path(__file__).parent / "results" / "gpu_aot.json"
PROGRAMS = ("logits", "transformer_mm", "transformer_attribution", "folds")
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 12 } runtime_version { major: 13 minor: 0 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
"""XLA's description of the device, as text of its protocol buffer GpuTargetConfigProto."""


class Task(NamedTuple):
    """One program to compile. what: "logits", "folds" or a method. planned: by the plan for GPUs."""

    model: str
    dtype: str
    what: str
    batch: int
    planned: bool


def compile_for_gpu(task: Task) -> dict[str, Any]:
    """Compile a program in a process that has not initialised JAX.

    Returns:
        "compile_s", "temporary_MiB", and "kernels", the number of fusions and library calls.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} {ANY_KERNEL}".strip()
    os.environ.update(JAX_PLATFORMS="cpu", VITJAX_COMPILATION_CACHE="0", XLA_FLAGS=flags)
    import jax
    import jax.numpy as jnp
    from jax._src import xla_bridge
    from jax.experimental import topologies
    from jax.sharding import NamedSharding, PartitionSpec

    from benchmarks.harness import fold_methods
    from vitjax.execution.plan import compiler_options, plan_for
    from vitjax.explaining.programs import compiled
    from vitjax.explaining.requests import request
    from vitjax.models.families import find
    from vitjax.nn.kernels import Kernels
    from vitjax.nn.network import network

    # JAX names the lowering platform "gpu" and looks for a GPU to resolve that name: github.com/jax-ml/jax/issues/23971
    xla_bridge.canonicalize_platform = lambda platform: "cuda" if platform == "gpu" else platform
    topology = topologies.get_topology_desc(platform="cuda", target_config=H100, topology="1x1x1")
    place = NamedSharding(topologies.make_mesh(topology, (1,), ("images",)), PartitionSpec())

    def shape(sizes: Sequence[int], dtype: Any) -> Any:
        return jax.ShapeDtypeStruct(tuple(sizes), dtype, sharding=place)

    config = find(task.model).config
    image = jax.ShapeDtypeStruct((*config.image_size, 3), jnp.float32)
    params = jax.eval_shape(network(config).init, jax.random.key(0), image)["params"]
    params = jax.tree.map(lambda leaf: shape(leaf.shape, task.dtype), params)
    names = {"logits": [], "folds": fold_methods(config)}.get(task.what, [task.what])
    plan = plan_for(config, "gpu")
    kernels = plan.kernels._replace(cudnn_attention=True) if task.planned else Kernels()
    plan = plan._replace(kernels=kernels)
    program = compiled(config, tuple(map(request, names)), plan)
    images, b = shape((task.batch, *config.image_size, 3), task.dtype), (task.batch,)
    lowered = program.lower(params, images, shape(b, jnp.int32), shape(b, jnp.uint32), shape((), jnp.uint32))
    started = time.perf_counter()
    executable = lowered.compile(compiler_options("gpu") if task.planned else None)
    seconds = time.perf_counter() - started
    text = executable.as_text()
    return {
        "compile_s": round(seconds, 1),
        "temporary_MiB": round(executable.memory_analysis().temp_size_in_bytes / 2**20, 1),
        "kernels": text.count(" fusion(") + text.count(" custom-call("),
    }


def table(figures: dict[str, Any]) -> str:
    """Markdown of the results."""
    lines = [
        f"{figures['model']}, {figures['dtype']}, batch {figures['batch']}, {figures['target']}, jax {figures['jax']}",
        "",
        "| | compile s, plan | without | temporary MiB, plan | without |",
        "|---|---|---|---|---|",
    ]
    for row in figures["rows"]:
        both = row["planned"], row["not_planned"]
        cells = [row["what"], *(one[key] for key in ("compile_s", "temporary_MiB") for one in both)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile the programs, write the results after each of them, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_compile", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vit_base_patch16_224", help="architecture (default %(default)s)")
    parser.add_argument("--dtype", default="bfloat16", help="dtype of weights and activations (default %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images of one call (default %(default)s)")
    parser.add_argument("--programs", nargs="+", default=list(PROGRAMS), metavar="PROGRAM",
                        help=f"logits, folds or methods (default {', '.join(PROGRAMS)})")  # fmt: skip
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file (default %(default)s)")
    given = parser.parse_args(arguments)
    try:
        importlib.metadata.version("jax-cuda13-plugin")
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit("the compiler is not installed: pip install 'jax[cuda13]'") from None
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib")}
    about = {"model": given.model, "dtype": given.dtype, "batch": given.batch, "target": "NVIDIA H100", **versions}
    figures: dict[str, Any] = {**about, "rows": []}
    for what in given.programs:
        row = {"what": what}
        for name, planned in (("planned", True), ("not_planned", False)):
            task = Task(given.model, given.dtype, what, given.batch, planned)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                row[name] = pool.submit(compile_for_gpu, task).result()
        figures["rows"].append(row)
        given.out.write_text(json.dumps(figures, indent=1) + "\n")
        print(table({**figures, "rows": [row]}).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(figures))
    print(given.out)


if __name__ == "__main__":
    main()
