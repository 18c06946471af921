"""Content of docs/models.md: timm's architecture names that load, how far they are from timm, and those refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vitjax.models import families
from vitjax.models.families import find
from vitjax.nn.network import transformer

PARITY = Path(__file__).parents[1] / "benchmarks" / "results" / "timm_parity.json"


def models_page(prose: Any, table: Any) -> str:
    """The page as Markdown.

    Args:
        prose, table: `docs.generate`'s functions for text and tables.
    """
    names = [name for name in families.names() if name not in families.CNNS]
    refused = families.refused()
    measured = json.loads(PARITY.read_text(encoding="utf-8"))
    rows = [_row(name, measured["rows"].get(name)) for name in names]
    worst = max(row["logits"] for row in measured["rows"].values())
    return "\n\n".join(
        [
            "# Models by name",
            "`vitjax.load(NAME)`, `vitjax.load('NAME.TAG')` and `--model` take timm's names. Architectures, tags and "
            f"preprocessing are those of timm {families.table()['timm']}, which need not be installed: `python -m "
            "vitjax.models.timm_table` stores them. `vitjax models PATTERN` prints size, outputs, crop and "
            "normalisation of each tag. `python -m docs.generate` writes this page.",
            f"{_counted(names)} load; {_counted(list(refused))} are refused.",
            f"{len(measured['rows'])} of these names were compared with timm by `python -m benchmarks.timm_parity`: "
            "two blocks deep, all parameters "
            "random, float32 on a CPU. The differences are the largest of any block's output and of the logits, "
            f"relative to the largest value. The worst of the logits is {worst:.1e}.",
            "## Names that load",
            table(["name", "image", "parameters", "tokens", "tags, the default first", "blocks", "logits"], rows),
            *(["## Names that are refused", _refused(refused, prose, table)] if refused else []),
        ]
    )


def _counted(names: list[str]) -> str:
    return f"{len(names)} names with {sum(len(families.tags(name)) for name in names)} tags"


def _row(name: str, measured: dict[str, Any] | None) -> list[str]:
    entry = find(name)
    config = transformer(entry.config, "the table", name)
    differences = [f"{measured[key]:.1e}" if measured else "not measured" for key in ("blocks", "logits")]
    size, tags = "x".join(map(str, config.image_size)), ", ".join(f"`{tag}`" for tag in families.tags(name))
    return [
        f"`{name}`",
        size,
        f"{(entry.parameters or 0) / 1e6:.1f} M",
        str(config.tokens),
        tags or "none",
        *differences,
    ]


def _refused(refused: dict[str, str], prose: Any, table: Any) -> str:
    """A table of the reasons, each with its names."""
    names_of: dict[str, list[str]] = {}
    for name, reason in refused.items():
        names_of.setdefault(reason, []).append(f"`{name}`")
    return table(["reason", "names"], ([prose(reason), ", ".join(names)] for reason, names in names_of.items()))
