"""Results of benchmarks.speed, benchmarks.accelerator and benchmarks.tpu_compile as Markdown.

python -m benchmarks.table [FILE ...]
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
"""The model that the targets are about, on a CPU in float32."""
MEMORY_MIB, FLATNESS = 80, 1.2


class Target(NamedTuple):
    """A bound on a ratio of seconds per item, `over` / `under`, in the group `what`.

    batches: at which it must hold; () where the group has one batch of its own.
    """

    text: str
    what: str
    over: str
    under: str
    bound: float
    at_least: bool
    batches: tuple[int, ...] = (8, 32)


def faster(what: str, peer: str, bound: float, *, who: str = OURS, batches: tuple[int, ...] = (8, 32)) -> Target:
    """So many times as fast as `peer`."""
    return Target(f"{what}: times as fast as {peer}", what, peer, who, bound, True, batches)


def costs(what: str, bound: float) -> Target:
    """At most so many forwards."""
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
    text: str
    target: str
    measured: str
    met: bool | None  # None: not measured


def render(path: Path) -> str:
    """Markdown of one results file."""
    found = json.loads(path.read_text())
    about = found["machine"]
    torch = found["torch"]
    beside = ", PyTorch {version} with {threads} threads that wait {waiting}".format(**torch) if torch else ""
    lines = [
        f"## {found['model']} on {about['device']}",
        "",
        f"{found['tokens']} tokens, {found['layers']} layers; JAX {about['jax']}{beside}; medians of {found['rounds']} "
        "rounds. Ratios are medians of the ratios within a round.",
    ]
    if found["model"] == REFERENCE and about["platform"] == "cpu":
        lines += ["", *table(("", "target", "measured", "met"), map(_cells, verdicts(found)))]
    lines += ["", *_cases(found["rows"])]
    if found["scaling"]:
        lines += ["", *_scaling(found["scaling"])]
    return "\n".join(lines)


def verdicts(found: dict[str, Any]) -> Iterator[Verdict]:
    """Every target against what was measured."""
    for target in TARGETS:
        for batch in target.batches or [None]:
            value = per_item(found["rows"], target.what, batch, target.over, target.under)
            met = None if value is None else value >= target.bound if target.at_least else value <= target.bound
            text = target.text + (f", batch {batch}" if batch else "")
            shown = "not measured" if value is None else f"{value:.2f}"
            yield Verdict(text, f"{'≥' if target.at_least else '≤'} {target.bound:g}", shown, met)
    yield _memory(found["rows"], found["every_fold"])
    yield _flat(found["scaling"], found["layers"])


def per_item(rows: Sequence[Row], what: str, batch: int | None, over: str, under: str) -> float | None:
    """Seconds per item of `over` / `under`: the median over rounds. None where one was not run; batch None: any."""
    group = {row["who"]: row for row in group_of(rows, what, batch)}
    if over not in group or under not in group:
        return None
    a, b = group[over], group[under]
    return median(x / y for x, y in zip(a["seconds"], b["seconds"], strict=True)) * b["items"] / a["items"]


def group_of(rows: Sequence[Row], what: str, batch: int | None, dtype: str = "float32") -> list[Row]:
    """The rows that were timed side by side."""
    return [row for row in rows if row["what"] == what and batch in (None, row["batch"]) and row["dtype"] == dtype]


def table(head: Sequence[str], rows: Any) -> list[str]:
    """Lines of a Markdown table."""
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(str, each)) + " |" for each in cells]


def _memory(rows: Sequence[Row], folds: Sequence[str]) -> Verdict:
    text, target = "temporary memory of any fold method, batch 8", f"≤ {MEMORY_MIB} MiB"
    chosen = (row for row in rows if (row["who"], row["batch"], row["dtype"]) == (OURS, 8, "float32"))
    found = {row["what"]: row["temporary_MiB"] for row in chosen if row["what"] in folds and row["temporary_MiB"]}
    if not found:
        return Verdict(text, target, "not measured", None)
    worst = max(found, key=found.__getitem__)
    over = sum(value > MEMORY_MIB for value in found.values())
    measured = f"{found[worst]:.1f} MiB ({worst}); {len(found) - over} of {len(found)} below"
    return Verdict(text, target, measured, not over)


def _flat(scaling: dict[str, Any] | None, layers: int) -> Verdict:
    text, target = "the same with twice the layers, times", f"≤ {FLATNESS:g}"
    if not scaling:
        return Verdict(text, target, "not measured (--scaling)", None)
    by_layers = scaling["temporary_MiB_by_layers"]
    growth = {name: each[str(2 * layers)] / each[str(layers)] for name, each in by_layers.items()}
    worst = max(growth, key=growth.__getitem__)
    return Verdict(text, target, f"{growth[worst]:.2f} ({worst})", growth[worst] <= FLATNESS)


def _cells(verdict: Verdict) -> tuple[str, ...]:
    met = {True: "yes", False: "**no**", None: "?"}[verdict.met]
    return verdict.text, verdict.target, verdict.measured, met


def _cases(rows: Sequence[Row]) -> list[str]:
    measures = (
        "items/s",
        "× forward",
        "vitjax is × as fast",
        "share of peak",
        "GFLOP/item",
        "temporary MiB",
        "compile s",
    )
    head, lines = ("", "batch", "dtype", "by", *measures), []
    for row in rows:
        what, batch, dtype, who = row["what"], row["batch"], row["dtype"], row["who"]
        if who == FORWARD:
            continue
        group = group_of(rows, what, batch, dtype)
        names = {each["who"] for each in group}
        # Peers do the methods that they have, and are compared with the program of just these.
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


def _scaling(scaling: dict[str, Any]) -> list[str]:
    points, lines = scaling["points"], []
    for axis, by_what in scaling["exponents"].items():
        for what, exponent in by_what.items():
            line = [each for each in points if (each["axis"], each["what"]) == (axis, what)]
            seconds = ", ".join(f"{each['value']}: {median(each['seconds']):.3g} s" for each in line)
            memory = ", ".join(f"{each['temporary_MiB']} MiB" for each in line)
            lines.append((f"{what} by {axis}", seconds, f"{exponent:.2f}", memory))
    found = table(("", "seconds of a call", "exponent", "temporary memory"), lines)
    by_layers = scaling["temporary_MiB_by_layers"]
    depths = list(next(iter(by_layers.values())))
    head = ("temporary MiB at batch 8", *(f"{depth} layers" for depth in depths))
    return [*found, "", *table(head, [(name, *each.values()) for name, each in by_layers.items()])]


def _number(value: float | None, shown: Callable[[float], str]) -> str:
    return "" if value is None else shown(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=main.__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="JSON files; all of benchmarks/results/ where not given")
    known = [path for name in ("speed_*", "accelerator_*", "tpu_aot") for path in sorted(RESULTS.glob(f"{name}.json"))]
    for path in parser.parse_args(arguments).files or known:
        print(_rendered(path), end="\n\n")


def _rendered(path: Path) -> str:
    """Of the results of any of the three, told apart by what they hold."""
    found = json.loads(path.read_text())
    if "sections" in found:
        return accelerator(found)
    return tpu_compile(found) if "libtpu" in found else render(path)


if __name__ == "__main__":
    main()
