"""The section "device": what the device is, and the rates that the other sections are compared with.

Run with: python -m benchmarks.accelerator --sections device
Results:  device, driver, memory and versions; TFLOP/s of matrix products in bfloat16, TF32 and float32; GB/s of copies
          within the device and from the host
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.setup import Clock, Peaks, Setup
from benchmarks.accelerator.timing import timed
from benchmarks.harness import DENSE_BF16, matmul

PRODUCTS = {"bfloat16": ("bfloat16", "default"), "tf32": ("float32", "default"), "float32": ("float32", "highest")}
"""Name of a rate -> dtype and matmul precision. "default" is TF32 on NVIDIA GPUs and one bfloat16 pass on TPUs."""
PACKAGES = ("jax", "jaxlib", "flax", "numpy", "torch", "timm")
NVIDIA_SMI = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,power.limit", "--format=csv,noheader"]


def measure(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """Yield the versions, then the rates of a copy within the device, of a copy to it, and of matrix products.

    The slow products in full float32 come last and have one size only.
    """
    device = jax.devices()[0]
    memory = (device.memory_stats() or {}).get("bytes_limit")
    yield {
        "case": "about",
        "device": device.device_kind,
        "platform": device.platform,
        "platform_version": " ".join(device.client.platform_version.split()),
        "driver": _driver(),
        "memory_GiB": memory and round(memory / 2**30, 1),
        "data_sheet_bf16_tflops": DENSE_BF16.get(device.device_kind, 0) / 1e12 or None,
        "versions": dict(_versions()),
    }
    source = jnp.ones(setup.copied // 4, jnp.float32)
    negated = jax.jit(jnp.negative)
    copy = timed(lambda: negated(source), clock)
    yield {"case": "copy within the device", "GB_per_s": round(2 * setup.copied / copy.seconds / 1e9, 2)}
    host = np.ones(setup.copied // 16, np.uint8)
    sent = timed(lambda: jax.device_put(host, device), clock)
    yield {"case": "copy from the host", "GB_per_s": round(host.nbytes / sent.seconds / 1e9, 2)}
    for name, (dtype, precision) in PRODUCTS.items():
        product = matmul(dtype, precision, setup.products if name != "float32" else setup.products[:1])
        assert product.flop is not None
        seconds = min(product.fastest, timed(product.run, clock).seconds)
        yield {"case": f"product {name}", "tflops": round(product.flop / seconds / 1e12, 2)}


def peaks_of(rows: list[dict[str, Any]]) -> Peaks | None:
    """The rates in the rows of this section, by the dtype of a program; None if one of them is missing."""
    rows_by_case = {row["case"]: row for row in rows}
    try:
        rate = {name: rows_by_case[f"product {name}"]["tflops"] * 1e12 for name in PRODUCTS}
        bytes_per_s = rows_by_case["copy within the device"]["GB_per_s"] * 1e9
    except KeyError:
        return None
    return Peaks({"bfloat16": rate["bfloat16"], "float32": rate["tf32"], "float64": rate["float32"] / 2}, bytes_per_s)


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def _driver() -> str | None:
    """Name, driver, memory and power limit of every GPU as nvidia-smi reports them; None without nvidia-smi."""
    if shutil.which(NVIDIA_SMI[0]) is None:
        return None
    process = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, check=False)
    return "; ".join(process.stdout.split("\n")).strip("; ") or None
