"""The command `python -m benchmarks.papers`.

Run:     python -m benchmarks.papers [TABLE --data SPEC]
Prints:  without a table the list of all tables and of the data that each needs; otherwise the paper's values next to
         vitjax's, as Markdown
Writes:  table.md, table.json and one run directory per part to out/papers/TABLE, or to --out DIR
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.papers import TABLES
from benchmarks.papers.compute import as_json, finished_runs, markdown, opened_model, run_part
from benchmarks.papers.table import Part, Table
from vitjax.errors import ConfigError, VitjaxError, unknown_name

TableName = Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[TABLE]")]
Out = Annotated[Path | None, tyro.conf.arg(name="out", aliases=["-o"], metavar="DIR")]
Parts = Annotated[tuple[str, ...], tyro.conf.arg(metavar="PART")]


def papers(
    table: TableName = None,
    data: str | None = None,
    weights: str | None = None,
    out: Out = None,
    limit: int | None = None,
    masks: Path | None = None,
    parts: Parts = (),
    model: str | None = None,
    num_classes: int | None = None,
    slow: bool = False,
    batch_size: int = 16,
    workers: int | None = None,
    cache: Path | None = None,
) -> None:
    """Reproduce a table of a paper and print its values next to vitjax's. Without a table, list all tables.

    Rerunning the command resumes the run.

    Args:
        table: name of the table, such as p001_table1.
        data: folder:DIR, voc:DIR, imagenet-seg:FILE, tfds:NAME:SPLIT or scenes:N; the list says what each table needs.
        weights: checkpoint file, directory or hub id, for the parts that use the same model as the first part.
        out: directory for runs, table.md and table.json; if not given out/papers/TABLE.
        limit: number of images; the first ones are used.
        masks: directory of masks <image name>.png, which replace the data set's own.
        parts: parts of the table to compute; completed runs of other parts in the directory stay in the table.
        model: model that replaces the paper's.
        num_classes: number of classes of the head in the weights, where it is not the model's default (CIFAR).
        slow: also compute rows of slow methods (attention flow, ViT-CX).
        batch_size: images per call on each device.
        workers: number of processes that decode images; 0 decodes in threads.
        cache: directory for decoded images.
    """
    if table is None:
        print(listing())
        return
    if table not in TABLES:
        raise unknown_name("table", table, TABLES)
    definition = TABLES[table]
    chosen = chosen_parts(definition, parts)
    if data is None:
        raise ConfigError(f"{table} needs --data:\n{_needs(chosen)}")
    folder = out or Path("out") / "papers" / table
    for part in chosen:
        part_weights = weights if part.model == definition.parts[0].model or model is not None else None
        loaded = opened_model(part, model, part_weights, num_classes)
        run_part(
            part,
            folder / part.name,
            loaded,
            data,
            masks=masks,
            limit=limit,
            slow=slow,
            batch_size=batch_size,
            workers=workers,
            cache=cache,
        )
        # Written after each part, so that completed parts are preserved if a later one fails.
        results = finished_runs(definition, folder)
        (folder / "table.md").write_text(markdown(definition, results), encoding="utf-8")
        (folder / "table.json").write_text(json.dumps(as_json(definition, results), indent=2) + "\n", encoding="utf-8")
    print((folder / "table.md").read_text(encoding="utf-8"))
    print(folder / "table.md", file=sys.stderr)


def chosen_parts(table: Table, names: tuple[str, ...]) -> tuple[Part, ...]:
    """The parts of these names, or all parts if no name is given.

    Raises:
        UnknownNameError: the table has no part of a name.
    """
    known = {part.name: part for part in table.parts}
    for name in names:
        if name not in known:
            raise unknown_name(f"part of {table.name}", name, known)
    return tuple(part for part in table.parts if not names or part.name in names)


def listing() -> str:
    """The list of all tables: title, parts with model and data, and the source of the paper's values."""
    lines = []
    for name, table in TABLES.items():
        lines += [name, f"  {table.title}", _needs(table.parts), f"  source of the paper's values: {table.source}", ""]
    return "\n".join(lines).rstrip()


def _needs(parts: tuple[Part, ...]) -> str:
    grouped: dict[str, list[str]] = {}
    for part in parts:
        grouped.setdefault(part.needs, []).append(f"{part.name} ({part.model})")
    return "\n".join(f"  {', '.join(names)}: {needs}" for needs, names in grouped.items())


def main(arguments: list[str] | None = None) -> None:
    """Run the command. Exit codes: 0 success, 1 failure with one line on stderr, 2 invalid arguments."""
    try:
        tyro.cli(papers, prog="python -m benchmarks.papers", args=arguments)
    except VitjaxError as error:
        print(f"benchmarks.papers: error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
