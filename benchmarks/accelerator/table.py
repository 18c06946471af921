"""Results of `python -m benchmarks.accelerator` as Markdown: the targets, then one table per section.

`python -m benchmarks.accelerator` prints this at its end; `python -m benchmarks.table FILE` prints it again from the
JSON file.
"""

from __future__ import annotations

from typing import Any

from benchmarks.harness import BATCHED, HOOKS

Row = dict[str, Any]
HIDDEN = ("rounds", "tried", "methods", "metrics")
"""Keys of rows that the tables leave out."""


def render(results: dict[str, Any]) -> str:
    """Markdown of the results of one run."""
    about = next((row for row in rows(results, "device") if row["case"] == "about"), {})
    title = f"## vitjax on {about.get('device', 'an unknown device')}"
    lines = [title + (" (dry run: the numbers are not meaningful)" if results["dry_run"] else "")]
    lines += ["", *markdown(("", "target", "measured", "met"), targets(results))]
    for name in results["sections"]:
        section_table = _parity_table if name == "parity" else _table
        lines += ["", f"### {name}, {results['sections'][name]['seconds']} s", "", *section_table(rows(results, name))]
    if "note" in results:  # written by hand into a file that joins several runs
        lines += ["", results["note"]]
    return "\n".join(lines)


def rows(results: dict[str, Any], section: str) -> list[Row]:
    """The rows of a section; none if it did not run."""
    return results["sections"].get(section, {"rows": []})["rows"]


def targets(results: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(what, target, measured, met) of each target."""
    ours = {row["case"]: row for row in rows(results, "throughput")}
    peers = {(row["case"], row.get("who")): row for row in rows(results, "peers")}
    engine = next((row for row in rows(results, "engine") if row["case"] == "engine"), {})
    parity = [row["met"] for row in rows(results, "parity") if row.get("met") is not None]

    def faster(what: str, who: str) -> float | None:
        our_rate, peer_rate = (row.get("images_per_s") for row in (ours.get(what, {}), peers.get((what, who), {})))
        return our_rate / peer_rate if our_rate and peer_rate else None

    lines = [
        _target("maps at full precision within their recorded tolerance", "all",
                parity and f"{sum(parity)} of {len(parity)}", bool(parity) and all(parity)),
        _at_least("logits, MFU", 0.45, ours.get("logits", {}).get("mfu"), "{:.1%}"),
        _at_least("transformer_mm, MFU", 0.35, ours.get("transformer_mm", {}).get("mfu"), "{:.1%}"),
        _at_least("transformer_mm, times PyTorch with hooks, one image", 30, faster("transformer_mm", HOOKS), "{:.1f}"),
        _at_least("transformer_mm, times PyTorch batched by hand", 2, faster("transformer_mm", BATCHED), "{:.2f}"),
    ]  # fmt: skip
    seconds = engine.get("seconds_for_50000")
    return [*lines, _target("50,000 images through the engine", "<= 120 s", seconds and f"{seconds:.0f} s",
                            seconds is not None and seconds <= 120)]  # fmt: skip


def _at_least(text: str, bound: float, value: float | None, form: str) -> tuple[str, str, str, str]:
    shown = None if value is None else form.format(value)
    return _target(text, f">= {form.format(bound)}", shown, value is not None and value >= bound)


def _target(text: str, bound: str, shown: Any, met: bool) -> tuple[str, str, str, str]:
    return (text, bound, shown, "yes" if met else "**no**") if shown else (text, bound, "not measured", "?")


def markdown(head: Any, lines: Any) -> list[str]:
    """Lines of a Markdown table; None is an empty cell."""
    cells = [head, ["---"] * len(head), *lines]
    return ["| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in cells]


def _parity_table(section: list[Row]) -> list[str]:
    """A table with one line per map: its error and its rank correlation at every precision."""
    precisions = list(dict.fromkeys(row["case"] for row in section if "map" in row))
    by_map = {(row["map"], row["case"]): row for row in section if "map" in row}
    head = ["map", "tolerance", "met", *(f"{precision}: error, Spearman" for precision in precisions)]
    lines = []
    for name in dict.fromkeys(name for name, _ in by_map):
        of_map = [by_map.get((name, precision), {}) for precision in precisions]
        errors = ["" if not row else f"{row['largest_error']:.1e}, {row['spearman']}" for row in of_map]
        lines.append((name, of_map[0].get("tolerance"), of_map[0].get("met"), *errors))
    rest = [row for row in section if "map" not in row]
    return [*markdown(head, lines), *(["", *_table(rest)] if rest else [])]


def _table(section: list[Row]) -> list[str]:
    """A table with one line per row and one column per key, in the order in which the keys first appear."""
    keys = [key for key in dict.fromkeys(key for row in section for key in row) if key not in HIDDEN]
    return markdown(keys, [[_cell(row.get(key)) for key in keys] for row in section])


def _cell(value: Any) -> Any:
    return ", ".join(f"{key} {entry}" for key, entry in value.items()) if isinstance(value, dict) else value
