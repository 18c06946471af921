"""log/<slot>.jsonl of a run directory: what each process did, one sealed JSON object per line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, BinaryIO

from vitjax.rundir.sealed import parsed, sealed
from vitjax.storage import writing


def append(directory: Path, slot: str, event: dict[str, Any], run: str) -> None:
    """Append an event and the time; `run` is the digest of the run's configuration.

    Raises:
        OutputError: the file cannot be written.
    """
    path = directory / "log" / f"{slot}.jsonl"
    line = json.dumps(sealed({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **event}, run), default=str) + "\n"
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        with path.open("a+b") as stream:
            if stream.tell() and not _ends_a_line(stream):
                line = "\n" + line  # a process was killed while it wrote
            stream.write(line.encode())


def read(directory: Path, run: str) -> tuple[list[dict[str, Any]], int]:
    """(events of all processes, oldest first; number of lines left out, which are damaged, of
    another run, or truncated by a kill)."""
    events, lost = [], 0
    for path in sorted((directory / "log").glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n") if path.is_file() else ():
            try:
                if line:
                    events.append({"slot": path.stem, **_event(line, run)})
            except ValueError:
                lost += 1
    return sorted(events, key=lambda event: event["time"]), lost


def _event(line: bytes, run: str) -> dict[str, Any]:
    """An event. What status and report read of it has the type that they expect.

    Raises:
        ValueError: the line is damaged.
    """
    event = parsed(line, run)
    texts, tables = (event.get("time"), event.get("event")), (event.get("passed_over"), event.get("slow_methods"))
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(table or {}, dict) for table in tables):
        raise ValueError("not an event")
    return event


def _ends_a_line(stream: BinaryIO) -> bool:
    stream.seek(-1, 2)
    return stream.read(1) == b"\n"
