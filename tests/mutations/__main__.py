"""Runs mutated inputs in child processes and counts what becomes of them.

    python -m tests.mutations --kind pictures --count 10000 [--seed 0] [--first 0]

A child process appends a line for each input before and after reading it. One that hangs for more than 10 s ends
itself, and one that dies loses only the input that it was reading; the next child goes on after that.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import traceback
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

SECONDS, MEMORY = 10, 2**30
"""What one input may take."""
LIMIT = 4 * MEMORY
"""Address space that a child may add, so that the machine survives what exceeds MEMORY."""


def run(kind: str, count: int, *, seed: int = 0, first: int = 0) -> list[dict[str, Any]]:
    """Read `count` inputs of a kind. Returns one {"number", "outcome", "cause"} for each, in their order."""
    results, number = [], first
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        while number < first + count:
            log.write_text("")
            last = first + count
            command = [sys.executable, "-m", "tests.mutations", "--child", str(log), "--kind", kind]
            command += ["--seed", str(seed), "--first", str(number), "--count", str(last - number)]
            process = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            done = [line for line in lines if "outcome" in line]
            results += done
            number += len(done)
            if number < last:
                if not lines:
                    raise RuntimeError(f"the child process did not start:\n{process.stderr[-3000:]}")
                end = process.stderr.strip().splitlines()
                cause = f"exit {process.returncode}: {end[0] if end else 'no message'}"
                results.append({"number": number, "outcome": "fault", "cause": cause, "detail": process.stderr[-3000:]})
                number += 1
    return results


def _environment() -> dict[str, str]:
    root = Path(__file__).parents[2]
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root), "MPLBACKEND": "agg"}


def child(kind: str, count: int, seed: int, first: int, log: Path) -> None:
    """Read inputs and append their outcomes to `log`."""
    from tests.mutations.inputs import KINDS, SELF_TEST
    from vitjax.errors import VitjaxError

    with tempfile.TemporaryDirectory() as folder, log.open("a") as stream:
        cases = {**KINDS, **SELF_TEST}[kind](Path(folder))
        allowed = _status("VmSize") + LIMIT
        resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
        for number in range(first, first + count):
            case = cases.case(np.random.default_rng([seed, number, zlib.crc32(kind.encode())]))
            stream.write(json.dumps({"number": number}) + "\n")
            stream.flush()
            before = _reset_peak()
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            detail = ""
            try:
                with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                    warnings.simplefilter("ignore")
                    outcome, cause = cases.read(case)
            except VitjaxError as error:
                outcome, cause = "refused", str(error)
            except Exception as error:
                outcome, cause, detail = "fault", f"{type(error).__name__}: {error}", traceback.format_exc()[-2000:]
            faulthandler.cancel_dump_traceback_later()
            if outcome in ("refused", "status") and _has_control_characters(cause):
                outcome, cause = "fault", f"control characters in the message: {cause!r}"
            if _status("VmHWM") - before > MEMORY:
                outcome, cause = "fault", f"{(_status('VmHWM') - before) >> 20} MiB of memory; {cause}"
            where = [str(part)[:200] for part in case if not isinstance(part, bytes)]
            result = {"number": number, "outcome": outcome, "cause": cause[:500], "case": where, "detail": detail}
            stream.write(json.dumps(result) + "\n")
            stream.flush()


def _has_control_characters(message: str) -> bool:
    """Whether a message would move the cursor. Lists of keys or tensors have a line each; nothing else has several."""
    lines = message.split("\n")
    listed = all(line.startswith(("  ", "the weights have ", "the requested model has ")) for line in lines[1:])
    return not listed or any(re.search(r"[\x00-\x08\x0a-\x1f\x7f]", line) for line in lines)


def _status(field: str) -> int:
    """A size in bytes from /proc/self/status."""
    return 1024 * int(re.search(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])  # type: ignore[index]


def _reset_peak() -> int:
    """Reset the peak of resident memory, where the system allows it, and return the present peak in bytes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmHWM")


def summary(results: list[dict[str, Any]]) -> str:
    """Counts of outcomes, and of causes without names and numbers."""
    counts = collections.Counter(result["outcome"] for result in results)
    lines = [f"{len(results)} inputs: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))]

    def kind_of(cause: str) -> str:
        return re.sub(r"\d+", "N", re.sub(r"/\S+?(?=[:,\s])|'[^']*'|\"[^\"]*\"", "...", cause.split("\n")[0]))[:110]

    causes = collections.Counter((result["outcome"], kind_of(result["cause"])) for result in results)
    lines += [f"{count:7}  {outcome:8} {cause}" for (outcome, cause), count in causes.most_common(60)]
    return "\n".join(lines)


def main() -> None:
    from tests.mutations.inputs import KINDS, SELF_TEST

    parser = argparse.ArgumentParser(prog="python -m tests.mutations")
    parser.add_argument("--kind", choices=[*KINDS, *SELF_TEST], required=True)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.kind, arguments.count, arguments.seed, arguments.first, arguments.child)
        return
    results = run(arguments.kind, arguments.count, seed=arguments.seed, first=arguments.first)
    print(summary(results))
    for fault in [result for result in results if result["outcome"] == "fault"][:20]:
        print(f"\nfault {fault['number']} {fault.get('case', '')}: {fault['cause']}\n{fault['detail']}")
    sys.exit(any(result["outcome"] == "fault" for result in results))


if __name__ == "__main__":
    main()
