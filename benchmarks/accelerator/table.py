"""Results of `benchmarks.accelerator` as Markdown: targets first, then every section."""

from __future__ import annotations

from typing import Any

from benchmarks.harness import BATCHED, HOOKS

Row = dict[str, Any]
HIDDEN = ("rounds", "tried", "methods", "metrics")


def render(found: dict[str, Any]) -> str:
    """Markdown of one run."""
    about = next((row for row in rows(found, "device") if row["case"] == "about"), {})
    title = f"## vitjax on {about.get('device', 'an unknown device')}"
    lines = [title + (" (dry run: figures mean nothing)" if found["dry_run"] else "")]
    lines += ["", *markdown(("", "target", "measured", "met"), targets(found))]
    for name in found["sections"]:
        shown = _parity if name == "parity" else _section
        lines += ["", f"### {name}, {found['sections'][name]['seconds']} s", "", *shown(rows(found, name))]
    return "\n".join(lines)


def rows(found: dict[str, Any], section: str) -> list[Row]:
    """Of a section that was run."""
    return found["sections"].get(section, {"rows": []})["rows"]


def targets(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(what, target, measured, met) of each."""
    ours = {row["case"]: row for row in rows(found, "throughput")}
    theirs = {(row["case"], row.get("who")): row for row in rows(found, "peers")}
    engine = next((row for row in rows(found, "engine") if row["case"] == "engine"), {})
    parity = [row["met"] for row in rows(found, "parity") if row.get("met") is not None]

    def faster(what: str, who: str) -> float | None:
        mine, other = (row.get("images_per_s") for row in (ours.get(what, {}), theirs.get((what, who), {})))
        return mine / other if mine and other else None

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
    """A table."""
    cells = [head, ["---"] * len(head), *lines]
    return ["| " + " | ".join("" if cell is None else str(cell) for cell in each) + " |" for each in cells]


def _parity(found: list[Row]) -> list[str]:
    """A line for each map: what it is off by, and its rank correlation, at every precision."""
    settings = list(dict.fromkeys(row["case"] for row in found if "map" in row))
    cells = {(row["map"], row["case"]): row for row in found if "map" in row}
    head = ["map", "tolerance", "met", *(f"{setting}: error, Spearman" for setting in settings)]
    lines = []
    for name in dict.fromkeys(name for name, _ in cells):
        at = [cells.get((name, setting), {}) for setting in settings]
        figures = ["" if not each else f"{each['largest_error']:.1e}, {each['spearman']}" for each in at]
        lines.append((name, at[0].get("tolerance"), at[0].get("met"), *figures))
    rest = [row for row in found if "map" not in row]
    return [*markdown(head, lines), *(["", *_section(rest)] if rest else [])]


def _section(found: list[Row]) -> list[str]:
    """Its rows under all keys that they have, the first ones first."""
    keys = [key for key in dict.fromkeys(key for row in found for key in row) if key not in HIDDEN]
    return markdown(keys, [[_shown(row.get(key)) for key in keys] for row in found])


def _shown(value: Any) -> Any:
    return ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else value
