"""Runs each section of `python -m benchmarks.accelerator` in a process of its own, until its deadline.

Has no command of its own and prints only tracebacks of failed sections, to stderr.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from benchmarks.accelerator.setup import Clock, Peaks, Setup


class Section(NamedTuple):
    """A part of the run.

    module, function: the generator (setup, clock, peaks) -> rows.
    weight: of its share in the remaining time, relative to the weights of the sections that follow.
    gpu_flags: XLA flags of its process on a GPU.
    """

    module: str
    function: str
    weight: float
    gpu_flags: str = ""


ANY_KERNEL = (
    "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false --xla_gpu_experimental_enable_fusion_autotuner=false"
)
"""Compiles the first kernel that fits instead of timing many, where only the values matter."""
PACKAGE = "benchmarks.accelerator"
SECTIONS = {
    "device": Section(f"{PACKAGE}.device", "measure", 40),
    "parity": Section(f"{PACKAGE}.parity", "measure", 80, ANY_KERNEL),
    "throughput": Section(f"{PACKAGE}.throughput", "measure", 150),
    "peers": Section(f"{PACKAGE}.peers", "measure", 60),
    "plans": Section(f"{PACKAGE}.plans", "measure", 60),
    "engine": Section(f"{PACKAGE}.engine", "measure", 150),
    "queries": Section(f"{PACKAGE}.queries", "measure", 40),
    "others": Section(f"{PACKAGE}.throughput", "measure_others", 40),
}
"""Sections by name, in the order in which they run: the most important first."""

GRACE = 4.0
"""Seconds between a section's deadline and the end of its process, so that a step that began in time can finish."""


def rows_of(
    name: str, setup: Setup, peaks: Peaks | None, deadline: float, platform: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a section as soon as they are known.

    If the section fails or is stopped at its deadline, a last row has the key "status" with the reason.

    Args:
        name: of the section.
        setup: what is measured.
        peaks: results of the section "device", if it completed.
        deadline: of `time.time()`.
        platform: of the device, as JAX names it; None if unknown.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    arguments = (SECTIONS[name], setup, peaks, deadline, platform, sending)
    process = context.Process(target=_run, args=arguments, daemon=True)
    process.start()
    sending.close()
    try:
        while receiving.poll(max(0.0, deadline + GRACE - time.time())):
            yield receiving.recv()
        yield {"case": name, "status": "cut off at its deadline"}
    except EOFError:
        process.join(GRACE)
        if process.exitcode:
            yield {"case": name, "status": f"its process ended with {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def _run(
    section: Section, setup: Setup, peaks: Peaks | None, deadline: float, platform: str | None, sending: Connection
) -> None:
    """Send the rows of a section. Runs in the section's process, which alone imports the section's module."""
    if platform == "gpu":  # before JAX is imported; other platforms do not know these flags
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {section.gpu_flags}".strip()
    try:
        module = importlib.import_module(section.module)
        clock = Clock(deadline, setup.rounds, setup.round_seconds)
        for row in getattr(module, section.function)(setup, clock, peaks):
            sending.send(row)
    except Exception as error:
        traceback.print_exc()
        sending.send(
            {"case": section.module, "status": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        )
