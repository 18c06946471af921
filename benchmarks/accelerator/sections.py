"""Runs each section of `python -m benchmarks.accelerator` in a process of its own, until its deadline.

Has no command of its own and prints only tracebacks of failed sections, to stderr.
"""

from __future__ import annotations

import importlib
import multiprocessing
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
    """

    module: str
    function: str
    weight: float


SECTIONS = {
    "device": Section("benchmarks.accelerator.device", "measure", 25),
    "parity": Section("benchmarks.accelerator.parity", "measure", 80),
    "throughput": Section("benchmarks.accelerator.throughput", "measure", 105),
    "peers": Section("benchmarks.accelerator.peers", "measure", 75),
    "queries": Section("benchmarks.accelerator.queries", "measure", 40),
    "memory": Section("benchmarks.accelerator.memory", "measure", 55),
    "engine": Section("benchmarks.accelerator.engine", "measure", 65),
    "others": Section("benchmarks.accelerator.throughput", "measure_others", 35),
}
"""Sections by name, in the order in which they run: the most important first."""

GRACE = 4.0
"""Seconds between a section's deadline and the end of its process, so that a step that began in time can finish."""


def rows_of(name: str, setup: Setup, peaks: Peaks | None, deadline: float) -> Iterator[dict[str, Any]]:
    """Yield the rows of a section as soon as they are known.

    If the section fails or is stopped at its deadline, a last row has the key "status" with the reason.

    Args:
        name: of the section.
        setup: what is measured.
        peaks: results of the section "device", if it completed.
        deadline: of `time.time()`.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(SECTIONS[name], setup, peaks, deadline, sending), daemon=True)
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


def _run(section: Section, setup: Setup, peaks: Peaks | None, deadline: float, sending: Connection) -> None:
    """Send the rows of a section. Runs in the section's process, which alone imports the section's module."""
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
