"""The sections of a run: each in a process of its own, ended at its deadline, its rows handed over one by one."""

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
    """Where its rows come from, a module and a function (setup, clock, peaks) there, and its share of the time left."""

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
"""In the order in which they are run: what matters most comes first."""

GRACE = 4.0
"""Seconds after its deadline at which a section's process is killed: a step that began in time may end."""


def rows_of(name: str, setup: Setup, peaks: Peaks | None, deadline: float) -> Iterator[dict[str, Any]]:
    """The rows of a section as they come; a last one says "status" where it failed or was cut off."""
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
    """In the section's process. Everything heavy is imported here."""
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
