"""`python -m benchmarks.papers [TABLE --data SPEC]`: list the papers' tables, or reproduce one."""

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

Text = Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[TABLE]")]
Out = Annotated[Path | None, tyro.conf.arg(name="out", aliases=["-o"], metavar="DIR")]
Parts = Annotated[tuple[str, ...], tyro.conf.arg(metavar="PART")]


def papers(
    table: Text = None,
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
    """Reproduce a table of a paper and print its figures beside ours. Without a table: list them.

    The same command again goes on where it stopped.

    Args:
        table: name, such as p001_table1.
        data: folder:DIR, voc:DIR, imagenet-seg:FILE, tfds:NAME:SPLIT or scenes:N; the list says what each table needs.
        weights: checkpoint file, directory or hub id for the first part's model, and all parts with the same one.
        out: directory for runs, table.md and table.json; out/papers/TABLE otherwise.
        limit: only the first so many images.
        masks: directory of masks <image name>.png in place of the data set's own.
        parts: only these parts of the table; the others' runs in the same directory stay in it.
        model: another model than the paper's.
        num_classes: classes of the head in the weights, where not the model's own (CIFAR).
        slow: rows of slow methods, too (attention flow, ViT-CX).
        batch_size: images in one call on each device.
        workers: processes that decode; 0 for threads.
        cache: directory for decoded images.
    """
    if table is None:
        print(listing())
        return
    if table not in TABLES:
        raise unknown_name("table", table, TABLES)
    found = TABLES[table]
    chosen = chosen_parts(found, parts)
    if data is None:
        raise ConfigError(f"{table} needs --data:\n{_needs(chosen)}")
    folder = out or Path("out") / "papers" / table
    for part in chosen:
        given = weights if part.model == found.parts[0].model or model is not None else None
        loaded = opened_model(part, model, given, num_classes)
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
        # After each part: what is finished is there to read, whatever happens to the next.
        results = finished_runs(found, folder)
        (folder / "table.md").write_text(markdown(found, results), encoding="utf-8")
        (folder / "table.json").write_text(json.dumps(as_json(found, results), indent=2) + "\n", encoding="utf-8")
    print((folder / "table.md").read_text(encoding="utf-8"))
    print(folder / "table.md", file=sys.stderr)


def chosen_parts(table: Table, names: tuple[str, ...]) -> tuple[Part, ...]:
    """Those of these names, all without any. Raises UnknownNameError."""
    known = {part.name: part for part in table.parts}
    for name in names:
        if name not in known:
            raise unknown_name(f"part of {table.name}", name, known)
    return tuple(part for part in table.parts if not names or part.name in names)


def listing() -> str:
    """Every table: title, parts with model and data, where the paper's figures are from."""
    text = []
    for name, table in TABLES.items():
        text += [name, f"  {table.title}", _needs(table.parts), f"  paper's figures: {table.source}", ""]
    return "\n".join(text).rstrip()


def _needs(parts: tuple[Part, ...]) -> str:
    grouped: dict[str, list[str]] = {}
    for part in parts:
        grouped.setdefault(part.needs, []).append(f"{part.name} ({part.model})")
    return "\n".join(f"  {', '.join(names)}: {needs}" for needs, names in grouped.items())


def main(arguments: list[str] | None = None) -> None:
    """Exit codes: 0 done, 1 failed with one line on stderr, 2 wrong arguments."""
    try:
        tyro.cli(papers, prog="python -m benchmarks.papers", args=arguments)
    except VitjaxError as error:
        print(f"benchmarks.papers: error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
