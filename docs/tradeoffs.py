"""The measured table of docs/choosing-a-method.md, from the results of the benchmarks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vitjax.methods import METHODS

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
SPEED = RESULTS / "every_method" / "speed_deit_tiny_patch16_224_cpu.json"
TWO_OBJECTS = RESULTS / "two_objects_cpu.json"
MARKED = re.compile(r"(<!-- table of python -m docs.generate -->\n).*(<!-- end of the table -->)", re.DOTALL)


def with_table(page: str, table: Callable[..., str]) -> str:
    """The page with its measured table written anew.

    Args:
        page: Markdown with the two comments that enclose the table.
        table: `docs.generate`'s function for tables.
    """
    head = ("method", "cost", "forwards", "MiB", "on the target object", "on the other object", "images")
    return MARKED.sub(lambda found: f"{found[1]}{table(head, rows())}\n{found[2]}", page)


def rows() -> list[list[str]]:
    """One row for each method that both benchmarks measured, the share of relevance on the target object ascending."""
    speed = {row["what"]: row for row in _read(SPEED)["rows"] if row["who"] == "vitjax" and row["batch"] == 32}
    shares = _read(TWO_OBJECTS)["methods"]
    measured = sorted((name for name in METHODS if name in shares), key=lambda name: shares[name]["asked"])
    return [_row(name, shares[name], speed.get(name), speed["logits"]) for name in measured]


def _row(name: str, share: dict[str, Any], speed: dict[str, Any] | None, logits: dict[str, Any]) -> list[str]:
    forwards = f"{logits['items_per_s'] / speed['items_per_s']:.1f}" if speed else "0"
    memory = f"{speed['temporary_MiB']:.0f}" if speed else "0"
    kind = "" if METHODS[name].class_specific else " (class-agnostic)"
    shares = [f"{100 * share[key]:.0f} %" for key in ("asked", "other")]
    return [f"[`{name}`](methods.md#{name}){kind}", METHODS[name].cost, forwards, memory, *shares, str(share["moved"])]


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
