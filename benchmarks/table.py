"""Prints stored results of benchmarks.speed, benchmarks.accelerator and benchmarks.tpu_compile as Markdown.

Run:     python -m benchmarks.table [FILE ...]
Prints:  for each JSON file (all of benchmarks/results/ if none is given): targets and whether they are met, then a
         table of all cases
Writes:  nothing
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.accelerator.table import render as accelerator
from benchmarks.harness import BATCHED, FORWARD, HOOKS, OURS, OURS_SAME, RESULTS
from benchmarks.tpu_compile import table as tpu_compile

Row = dict[str, Any]
LEVELS = "perturbation_levels"
REFERENCE = "deit_tiny_patch16_224"
"""The targets apply to this model, on a CPU in float32."""
MEMORY_MIB, FLATNESS = 80, 1.2
"""Targets of temporary memory: MiB of any method of the shared pass, and its growth with twice the layers."""


class Target(NamedTuple):
    """A bound on the ratio of seconds per item of `over` to `under`, for the computation `what`.

    over, under: names of implementations.
    at_least: whether `bound` is a lower bound; otherwise it is an upper bound.
    batches: batches at which it must hold; () if the computation is timed at one batch only.
    """

    text: str
    what: str
    over: str
    under: str
    bound: float
    at_least: bool
    batches: tuple[int, ...] = (8, 32)


def faster(what: str, peer: str, bound: float, *, who: str = OURS, batches: tuple[int, ...] = (8, 32)) -> Target:
    """The target that `who` runs `what` at least `bound` times as fast as `peer`."""
    return Target(f"{what}: times as fast as {peer}", what, peer, who, bound, True, batches)


def costs(what: str, bound: float) -> Target:
    """The target that `what` takes at most `bound` times as long as a forward."""
    return Target(f"{what}: times a forward", what, OURS, FORWARD, bound, False)


TARGETS = (
    faster("logits", BATCHED, 1.0),
    faster("transformer_mm", BATCHED, 1.0),
    faster("transformer_mm", HOOKS, 1.6),
    faster("folds", BATCHED, 6.0, who=OURS_SAME),
    faster("transformer_attribution", HOOKS, 5.0),
    costs("rollout", 1.15),
    costs("transformer_mm", 2.5),
    costs("folds", 3.5),
    costs("transformer_attribution", 6.0),
    faster(LEVELS, FORWARD, 0.9, batches=()),
)


class Verdict(NamedTuple):
    """One line of the table of targets."""

    text: str
    target: str
    measured: str
    met: bool | None  # None: not measured


def render(path: Path) -> str:
    """Markdown of one results file of benchmarks.speed."""
    results = json.loads(path.read_text())
    machine = results["machine"]
    torch = results["torch"]
    pytorch = ", PyTorch {version} with {threads} threads that wait {waiting}".format(**torch) if torch else ""
    lines = [
        f"## {results['model']} on {machine['device']}",
        "",
        f"{results['tokens']} tokens, {results['layers']} layers; JAX {machine['jax']}{pytorch}; medians of "
        f"{results['rounds']} rounds. Ratios are medians of the ratios within a round.",
    ]
    if results["model"] == REFERENCE and machine["platform"] == "cpu":
        lines += ["", *table(("", "target", "measured", "met"), map(_cells, verdicts(results)))]
    lines += ["", *_case_table(results["rows"])]
    if results["scaling"]:
        lines += ["", *_scaling_tables(results["scaling"])]
    return "\n".join(lines)


def verdicts(results: dict[str, Any]) -> Iterator[Verdict]:
    """Compare the results with every target."""
    for target in TARGETS:
        for batch in target.batches or [None]:
            value = per_item(results["rows"], target.what, batch, target.over, target.under)
            met = None if value is None else value >= target.bound if target.at_least else value <= target.bound
            text = target.text + (f", batch {batch}" if batch else "")
            shown = "not measured" if value is None else f"{value:.2f}"
            yield Verdict(text, f"{'≥' if target.at_least else '≤'} {target.bound:g}", shown, met)
    yield _memory_verdict(results["rows"], results["every_fold"])
    yield _depth_verdict(results["scaling"], results["layers"])


def per_item(rows: Sequence[Row], what: str, batch: int | None, over: str, under: str) -> float | None:
    """Seconds per item of `over` divided by those of `under`: the median of the ratios within a round.

    Returns None if one of them was not timed. batch None: whatever batch was timed.
    """
    group = {row["who"]: row for row in group_of(rows, what, batch)}
    if over not in group or under not in group:
        return None
    a, b = group[over], group[under]
    return median(x / y for x, y in zip(a["seconds"], b["seconds"], strict=True)) * b["items"] / a["items"]


def group_of(rows: Sequence[Row], what: str, batch: int | None, dtype: str = "float32") -> list[Row]:
    """The rows that are compared with each other: one computation at one batch and dtype. batch None: any batch."""
    return [row for row in rows if row["what"] == what and batch in (None, row["batch"]) and row["dtype"] == dtype]


def table(head: Sequence[str], rows: Any) -> list[str]:
    """Lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(str, cells)) + " |" for cells in lines]


def _memory_verdict(rows: Sequence[Row], folds: Sequence[str]) -> Verdict:
    text, target = "temporary memory of any fold method, batch 8", f"≤ {MEMORY_MIB} MiB"
    ours = (row for row in rows if (row["who"], row["batch"], row["dtype"]) == (OURS, 8, "float32"))
    memory = {row["what"]: row["temporary_MiB"] for row in ours if row["what"] in folds and row["temporary_MiB"]}
    if not memory:
        return Verdict(text, target, "not measured", None)
    worst = max(memory, key=memory.__getitem__)
    over = sum(value > MEMORY_MIB for value in memory.values())
    measured = f"{memory[worst]:.1f} MiB ({worst}); {len(memory) - over} of {len(memory)} below"
    return Verdict(text, target, measured, not over)


def _depth_verdict(scaling: dict[str, Any] | None, layers: int) -> Verdict:
    text, target = "growth of this memory when the layers double, times", f"≤ {FLATNESS:g}"
    if not scaling:
        return Verdict(text, target, "not measured (--scaling)", None)
    by_layers = scaling["temporary_MiB_by_layers"]
    growth = {name: memory[str(2 * layers)] / memory[str(layers)] for name, memory in by_layers.items()}
    worst = max(growth, key=growth.__getitem__)
    return Verdict(text, target, f"{growth[worst]:.2f} ({worst})", growth[worst] <= FLATNESS)


def _cells(verdict: Verdict) -> tuple[str, ...]:
    met = {True: "yes", False: "**no**", None: "?"}[verdict.met]
    return verdict.text, verdict.target, verdict.measured, met


def _case_table(rows: Sequence[Row]) -> list[str]:
    """Lines of the table of all cases. A forward has no line of its own, only the column "× forward"."""
    columns = (
        "items/s",
        "× forward",
        "vitjax is × as fast",
        "share of peak",
        "GFLOP/item",
        "temporary MiB",
        "compile s",
    )
    head, lines = ("", "batch", "dtype", "by", *columns), []
    for row in rows:
        what, batch, dtype, who = row["what"], row["batch"], row["dtype"], row["who"]
        if who == FORWARD:
            continue
        group = group_of(rows, what, batch, dtype)
        names = {other["who"] for other in group}
        # PyTorch implements some of the methods only, and is compared with the program of just these.
        ours = OURS_SAME if OURS_SAME in names else OURS
        base = None if what == "logits" else per_item(group, what, batch, who, FORWARD)
        gain = per_item(group, what, batch, who, ours) if who not in (OURS, OURS_SAME) else None
        share = row["share_of_peak"]
        lines.append(
            (
                what,
                batch,
                dtype,
                who,
                f"{row['items_per_s']:.4g}",
                _number(base, "{:.2f}".format),
                _number(gain, "{:.2f}".format),
                _number(share, "{:.1%}".format),
                _number(row["gflop_per_item"], "{:.2f}".format),
                _number(row["temporary_MiB"], "{:.1f}".format),
                _number(row["compile_s"], "{:.1f}".format),
            )
        )
    return table(head, lines)


def _scaling_tables(scaling: dict[str, Any]) -> list[str]:
    """Lines of two tables: seconds against tokens, layers and batch; temporary memory against layers."""
    points, lines = scaling["points"], []
    for axis, by_what in scaling["exponents"].items():
        for what, exponent in by_what.items():
            curve = [point for point in points if (point["axis"], point["what"]) == (axis, what)]
            seconds = ", ".join(f"{point['value']}: {median(point['seconds']):.3g} s" for point in curve)
            memory = ", ".join(f"{point['temporary_MiB']} MiB" for point in curve)
            lines.append((f"{what} by {axis}", seconds, f"{exponent:.2f}", memory))
    seconds_table = table(("", "seconds of a call", "exponent", "temporary memory"), lines)
    by_layers = scaling["temporary_MiB_by_layers"]
    depths = list(next(iter(by_layers.values())))
    head = ("temporary MiB at batch 8", *(f"{depth} layers" for depth in depths))
    return [*seconds_table, "", *table(head, [(name, *memory.values()) for name, memory in by_layers.items()])]


def _number(value: float | None, shown: Callable[[float], str]) -> str:
    return "" if value is None else shown(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print stored results of benchmarks.speed, benchmarks.accelerator and benchmarks.tpu_compile as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=main.__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="JSON files; all of benchmarks/results/ if not given")
    known = [path for name in ("speed_*", "accelerator_*", "tpu_aot") for path in sorted(RESULTS.glob(f"{name}.json"))]
    for path in parser.parse_args(arguments).files or known:
        print(_render_any(path), end="\n\n")


def _render_any(path: Path) -> str:
    """Markdown of a results file of any of the three benchmarks, which are recognised by their keys."""
    results = json.loads(path.read_text())
    if "sections" in results:
        return accelerator(results)
    return tpu_compile(results) if "libtpu" in results else render(path)


if __name__ == "__main__":
    main()
