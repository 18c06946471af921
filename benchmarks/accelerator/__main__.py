"""The command `python -m benchmarks.accelerator`.

Run:     python -m benchmarks.accelerator [--weights FILE --recordings DIR] [--sections SECTION ...] [--dry-run]
Prints:  every result to stderr as soon as it is known; at the end the targets and one table per section as Markdown
Writes:  benchmarks/results/accelerator_DEVICE.json, after every result
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.accelerator.device import peaks_of
from benchmarks.accelerator.sections import SECTIONS, rows_of
from benchmarks.accelerator.setup import DRY_RUN, Setup
from benchmarks.accelerator.table import render

RESULTS = Path(__file__).parents[1] / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sections, write OUT/accelerator_DEVICE.json after every result, and print the tables."""
    given = _parser().parse_args(arguments)
    setup = DRY_RUN if given.dry_run else Setup()
    setup = replace(setup, weights=given.weights, recordings=given.recordings)
    # Before JAX initialises its backend in any of the processes: PyTorch needs memory, too, and compile times must be
    # those of compilations.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ["VITJAX_COMPILATION_CACHE"] = "0"
    if given.dry_run:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()
    sections = list(dict.fromkeys(["device", *given.sections]))
    results = run(setup, sections, 60 * given.minutes, given.out, dry_run=given.dry_run)
    print(render(results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accelerator",
        description="Measure vitjax on a GPU or TPU, in at most eight minutes. Prints Markdown tables.",
    )
    parser.add_argument("--weights", type=Path, help="deit_tiny_patch16_224.safetensors, for the section parity")
    parser.add_argument("--recordings", type=Path,
                        help="folder with MANIFEST.json, inputs.npz and recorded maps, for parity")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=7.8, help="time limit of the run (default %(default)s)")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION",
                        help=f"of {', '.join(SECTIONS)} (default: all); device always runs")  # fmt: skip
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the JSON file (default %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="run every step with a tiny model, to test the set-up")
    return parser


def run(setup: Setup, names: Sequence[str], seconds: float, out: Path, *, dry_run: bool = False) -> dict[str, Any]:
    """Run sections and write the results after every row.

    Args:
        setup: what is measured.
        names: the sections, in the order in which they run.
        seconds: time limit; each section gets a share of the remaining time, by its weight.
        out: directory of the JSON file.
        dry_run: recorded in the results.

    Returns:
        {"dry_run", "minutes", "sections": {name: {"seconds", "rows"}}}.
    """
    started = time.time()
    results: dict[str, Any] = {"dry_run": dry_run, "minutes": round(seconds / 60, 2), "sections": {}}
    path, peaks, platform = out / "accelerator.json", None, None
    out.mkdir(parents=True, exist_ok=True)
    for position, name in enumerate(names):
        weights = [SECTIONS[remaining].weight for remaining in names[position:]]
        left = started + seconds - time.time()
        began = time.time()
        section: dict[str, Any] = {"seconds": 0.0, "rows": []}
        results["sections"][name] = section
        print(f"{name}: at most {left * weights[0] / sum(weights):.0f} s", file=sys.stderr, flush=True)
        for row in rows_of(name, setup, peaks, began + left * weights[0] / sum(weights), platform):
            section["rows"].append(row)
            section["seconds"] = round(time.time() - began, 1)
            print(f"  {_line(row)}", file=sys.stderr, flush=True)
            if row["case"] == "about":
                path, platform = _path_for_device(out, row["device"], path), row["platform"]
            path.write_text(json.dumps(results, indent=1) + "\n")
        if name == "device":
            peaks = peaks_of(section["rows"])
    print(path, file=sys.stderr)
    return results


def _path_for_device(out: Path, device: str, earlier: Path) -> Path:
    """OUT/accelerator_DEVICE.json, for when the device is known; deletes the file that was written until then."""
    earlier.unlink(missing_ok=True)
    return out / f"accelerator_{device.lower().replace(' ', '-')}.json"


def _line(row: dict[str, Any]) -> str:
    scalars = {key: value for key, value in row.items() if not isinstance(value, list | dict)}
    return ", ".join(f"{key} {value}" for key, value in scalars.items())


if __name__ == "__main__":
    main()
