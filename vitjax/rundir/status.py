"""The progress of a run: finished chunks, evaluated and skipped images with reasons, and the state of each process."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from vitjax.data.listing import describe
from vitjax.rundir import picture_notes
from vitjax.rundir.saved_maps import chunks_without_maps
from vitjax.rundir.schema import STATUSES
from vitjax.rundir.store import RunStore
from vitjax.shapes import ceil_div


@dataclass(frozen=True)
class Status:
    """The progress of a run; `str` gives a readable summary.

    images, chunks: total numbers.
    done: number of finished chunks.
    evaluated: number of images that at least one method was evaluated on.
    skipped: numbers of the other images of finished chunks, by status.
    examples: id and cause of the first skipped image, by status.
    pictures: numbers of pictures by what was done to read them, see `vitjax.images.picture.NOTES`, and by colour mode.
    masks: numbers of decoded pictures by the state of their mask, see `vitjax.data.source.Samples.mask_state`.
    maps: numbers of constant and of non-finite maps, by (method, status).
    damaged: names of record files that are truncated, altered or of another run, and of maps that are missing or
        truncated.
    processes: the last log entry of each process of the run.
    lost_log_lines: number of lines of the log that are damaged, or truncated by a kill.
    passed_over: numbers of entries in the folder of the data set that are no images of it, by suffix or reason.
    """

    images: int
    chunks: int
    done: int
    evaluated: int
    skipped: dict[str, int]
    examples: dict[str, str]
    pictures: dict[str, int]
    maps: dict[tuple[str, str], int]
    damaged: list[str]
    processes: list[dict[str, Any]]
    passed_over: dict[str, int] = field(default_factory=dict)
    lost_log_lines: int = 0
    masks: dict[str, int] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Number of images of unfinished chunks."""
        return self.images - self.evaluated - sum(self.skipped.values())

    def __str__(self) -> str:
        lines = [
            f"{self.done} of {self.chunks} chunks done, {self.chunks - self.done} left",
            f"{self.images} images: {self.evaluated} evaluated, {sum(self.skipped.values())} skipped, {self.left} left",
        ]
        for status, count in sorted(self.skipped.items()):
            lines.append(f"  {count} {status} ({STATUSES.get(status, status)}): {self.examples[status]}")
        if self.passed_over:
            lines.append(f"  passed over in the folder of the data set: {describe(self.passed_over)}")
        lines += [
            f"  {line}"
            for line in picture_notes.lines(Counter(self.pictures), self.images - self.left, Counter(self.masks))
        ]
        for (method, status), count in sorted(self.maps.items()):
            lines.append(f"  {method}: {count} maps {status}")
        lines += [f"  damaged, will be recomputed: {name}" for name in self.damaged]
        if self.lost_log_lines:
            lines.append(f"  {self.lost_log_lines} damaged lines of the log are left out")
        for event in self.processes:
            rate = f", {event['images_per_second']} images/s" if "images_per_second" in event else ""
            lines.append(f"process {event['slot']}: {event['event']} {event['time']}{rate}")
        return "\n".join(lines)


def status(store: RunStore) -> Status:
    """The progress of a run. Only reads the run directory, so processes may be writing to it."""
    import pyarrow.parquet as pq

    config, log = store.config, store.logged()
    done = store.finished()
    skipped: Counter[str] = Counter()
    pictures: Counter[str] = Counter()
    masks: Counter[str] = Counter()
    maps: Counter[tuple[str, str]] = Counter()
    examples: dict[str, str] = {}
    evaluated = 0
    methods = len(config["methods"])
    for path in done.values():
        wanted = ["index", "image_id", "method", "status", "cause", "notes", "mode", "size", "mask_state"]
        table = pq.read_table(path, columns=[name for name in wanted if name in pq.read_schema(path).names])
        pictures.update(picture_notes.count_notes(table))
        masks.update(picture_notes.count_masks(table))
        records = table.to_pylist()
        for start in range(0, len(records), methods):
            of_image = records[start : start + methods]
            statuses = {record["status"] for record in of_image}
            if statuses & {"ok", "degenerate", "not_finite"}:
                evaluated += 1
                maps.update((record["method"], record["status"]) for record in of_image if record["status"] != "ok")
            else:
                first = of_image[0]
                skipped[first["status"]] += 1
                examples.setdefault(first["status"], f"{first['image_id']}: {first['cause']}")
    return Status(
        images=config["count"],
        chunks=ceil_div(config["count"], config["chunk_size"]),
        done=len(done),
        evaluated=evaluated,
        skipped=dict(skipped),
        examples=examples,
        pictures=dict(pictures),
        masks=dict(masks),
        maps=dict(maps),
        damaged=[path.name for path in store.damaged()]
        + [f"maps of chunk {chunk}" for chunk in sorted(chunks_without_maps(store))],
        lost_log_lines=store.lost_log_lines(),
        processes=list({event["slot"]: event for event in log}.values()),
        passed_over=next((event["passed_over"] for event in reversed(log) if event.get("passed_over")), {}),
    )
