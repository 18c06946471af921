"""How far a run is: chunks done and left, images evaluated and skipped with their reasons, what each process did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from vitjax.rundir.schema import STATUSES
from vitjax.rundir.store import RunStore
from vitjax.shapes import ceil_div


@dataclass(frozen=True)
class Status:
    """images, chunks: listed in all. done: finished chunks. evaluated: images with figures of at least one method.

    skipped: images without any, by status. maps: constant or not finite ones, by (method, status). damaged: record
    files that were cut or altered. processes: one line of the log for each process that worked on the run, its last.
    """

    images: int
    chunks: int
    done: int
    evaluated: int
    skipped: dict[str, int]
    examples: dict[str, str]
    maps: dict[tuple[str, str], int]
    damaged: list[str]
    processes: list[dict[str, Any]]

    @property
    def left(self) -> int:
        """Images of chunks that are not finished."""
        return self.images - self.evaluated - sum(self.skipped.values())

    def __str__(self) -> str:
        lines = [
            f"{self.done} of {self.chunks} chunks done, {self.chunks - self.done} left",
            f"{self.images} images: {self.evaluated} evaluated, {sum(self.skipped.values())} skipped, {self.left} left",
        ]
        for status, count in sorted(self.skipped.items()):
            lines.append(f"  {count} {status} ({STATUSES.get(status, status)}): {self.examples[status]}")
        for (method, status), count in sorted(self.maps.items()):
            lines.append(f"  {method}: {count} maps {status}")
        lines += [f"  damaged, will be computed again: {name}" for name in self.damaged]
        for event in self.processes:
            rate = f", {event['images_per_second']} images/s" if "images_per_second" in event else ""
            lines.append(f"process {event['slot']}: {event['event']} {event['time']}{rate}")
        return "\n".join(lines)


def status(store: RunStore) -> Status:
    """Read off the run directory; nothing is changed, and running processes are not disturbed."""
    import pyarrow.parquet as pq

    config = store.config
    done = store.finished()
    skipped: Counter[str] = Counter()
    maps: Counter[tuple[str, str]] = Counter()
    examples: dict[str, str] = {}
    evaluated = 0
    methods = len(config["methods"])
    for path in done.values():
        rows = pq.read_table(path, columns=["image_id", "method", "status", "cause"]).to_pylist()
        for start in range(0, len(rows), methods):
            image = rows[start : start + methods]
            kinds = {row["status"] for row in image}
            if kinds & {"ok", "degenerate", "not_finite"}:
                evaluated += 1
                maps.update((row["method"], row["status"]) for row in image if row["status"] != "ok")
            else:
                skipped[image[0]["status"]] += 1
                examples.setdefault(image[0]["status"], f"{image[0]['image_id']}: {image[0]['cause']}")
    return Status(
        images=config["count"],
        chunks=ceil_div(config["count"], config["chunk_size"]),
        done=len(done),
        evaluated=evaluated,
        skipped=dict(skipped),
        examples=examples,
        maps=dict(maps),
        damaged=[path.name for path in store.damaged()],
        processes=list({event["slot"]: event for event in store.logged()}.values()),
    )
