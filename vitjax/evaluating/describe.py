"""A run in words: what its `repr` shows."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any


def two_lines(directory: Path, config: dict[str, Any], done: int, chunks: int) -> str:
    """How far the run is, and what it evaluates on what.

    Args:
        directory: of the run.
        config: contents of its run.json.
        done, chunks: number of finished chunks, and of all.
    """
    listed = {
        kind: textwrap.shorten(", ".join(entry["label"] for entry in config[kind]), room, placeholder=" ...")
        for kind, room in (("methods", 60), ("metrics", 40))
    }
    progress = "finished" if done >= chunks else f"{done} of {chunks} chunks finished"
    return (
        f"Run {str(directory)!r}: {progress}, {config['count']} images, model {config['model']['name']}\n"
        f"  methods: {listed['methods']}; metrics: {listed['metrics']}"
    )
