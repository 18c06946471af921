"""Computes the tables of the subcommand `paper`, and loads its models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitjax.cli.model_arguments import ModelArguments
from vitjax.errors import ConfigError, ImageError, WeightsError, unknown_name
from vitjax.models.families import CNNS
from vitjax.output.files import write_text
from vitjax.output.terminal import say

if TYPE_CHECKING:
    from vitjax.data.source import Source
    from vitjax.models.model import Model
    from vitjax.papers.paper import Paper
    from vitjax.papers.table import Part, Table

PAPERS_OWN = "paper"
"""What stands for the paper's own model."""
OWN = ModelArguments(model=PAPERS_OWN)


def chosen_parts(paper: Paper, tables: Sequence[str], names: Sequence[str], *, cnn: bool) -> list[tuple[Table, Part]]:
    """The parts of these names, of the tables of these names; all if none are given.

    Args:
        cnn: whether the command has a ResNet; parts of one are left out without it, unless they are named.

    Raises:
        UnknownNameError: there is no such table or part.
    """
    from vitjax.papers.paper import NEEDS

    known = {table.name: table for table in paper.tables}
    for name in tables:
        if name not in known:
            raise unknown_name(f"table of {paper.name}", name, known)
    chosen = [(table, part) for table in paper.tables if table.name in (tables or known) for part in table.parts]
    for name in names:
        if name not in {part.name for _, part in chosen}:
            raise unknown_name(f"part of {paper.name}", name, [part.name for _, part in chosen])
    if names:
        return [(table, part) for table, part in chosen if part.name in names]
    for table, part in chosen:
        if part.model in CNNS and not cnn:
            say(f"not computed: part {part.name!r} of {table.name} {': '.join(NEEDS['cnn'])}", error=True)
    return [(table, part) for table, part in chosen if cnn or part.model not in CNNS]


def compute(
    parts: Sequence[tuple[Table, Part]],
    out: Path,
    model: ModelArguments,
    cnn_weights: str | None,
    data: str,
    options: dict[str, Any],
) -> None:
    """Compute parts of tables into `out`, and print the tables and the paths of what was written.

    Raises:
        WeightsError, ConfigError, ImageError: a model cannot be loaded, or the data suffice for no part; the message
            says what is needed.
        Also what `vitjax.evaluate` raises.
    """
    from vitjax.papers.tables import as_json, finished_runs, markdown, run_part

    of_cnn = replace(OWN, weights=cnn_weights)
    models = {
        part.model: model_of(of_cnn if part.model in CNNS else model, part.model, part.weights, part.name)
        for part in {part.model: part for _, part in parts}.values()
    }
    done = {}
    for table, part in _with_data(parts, models[parts[0][1].model], data, options["masks"]):
        run_part(part, out / table.name / part.name, part.model_as(models[part.model]), data, **options)
        # Written after each part, so that completed parts are preserved if a later one fails.
        results = finished_runs(table, out / table.name)
        texts = {".md": markdown(table, results), ".json": json.dumps(as_json(table, results), indent=2) + "\n"}
        done[table.name] = [write_text(out / f"{table.name}{suffix}", text) for suffix, text in texts.items()]
    for text_file, json_file in done.values():
        say(text_file.read_text(encoding="utf-8"))
        say(f"{text_file}\n{json_file}", error=True)


def _with_data(
    parts: Sequence[tuple[Table, Part]], model: Model, data: str, masks: Path | None
) -> list[tuple[Table, Part]]:
    """The parts that the data suffice for; the others are named on stderr.

    Raises:
        ImageError, ConfigError: the data cannot be opened, or suffice for no part.
    """
    from vitjax.evaluating.opening import source_of
    from vitjax.papers.tables import lacks

    first = parts[0][1]
    try:
        source: Source = source_of(model, data, masks=masks)
    except (ImageError, ConfigError) as cause:
        raise type(cause)(f"{cause}; part {first.name!r} needs {first.needs}") from None
    lacking = [lacks(part, source) for _, part in parts]
    if all(lacking):
        raise ConfigError(f"{lacking[0]}; part {first.name!r} needs {first.needs}")
    for (table, part), lack in zip(parts, lacking, strict=True):
        if lack:
            say(f"not computed: part {part.name!r} of {table.name}: {lack}; it needs {part.needs}", error=True)
    return [pair for pair, lack in zip(parts, lacking, strict=True) if not lack]


def model_of(given: ModelArguments, model: str, weights: str | None, part: str = "") -> Model:
    """The model that the command names, or the paper's with the weights that are given or else its own.

    Raises:
        WeightsError: the weights do not exist or do not fit; the message says what to pass.
        Also what `vitjax.load` raises.
    """
    own = given.model == PAPERS_OWN
    arguments = replace(given, model=model, weights=given.weights or weights) if own else given
    try:
        return arguments.load()
    except WeightsError as cause:
        flag = "--cnn-weights" if model in CNNS else "--weights"
        needing = f"part {part!r} needs" if part else "the figures need"
        hint = f"; {needing} weights of {model}: pass {flag} FILE or a hub id" if own else ""
        raise WeightsError(f"{cause}{hint}") from None
