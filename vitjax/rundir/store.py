"""A run directory: what was asked for, and one record file for each finished chunk.

A chunk is done if and only if its record file is there and its bytes have the digest that its name carries. Files
appear whole or not at all (temporary file, fsync, rename), so a run survives being killed at any moment.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitjax.errors import OutputError, RunError

if TYPE_CHECKING:
    import pyarrow as pa

_NAME = re.compile(r"chunk-(\d{5,})-([0-9a-f]{16})\.parquet")
DIGITS = 16


class RunStore:
    """The files of one run."""

    def __init__(self, directory: Path, config: dict[str, Any], opened: dict[str, Any] | None = None) -> None:
        self.directory, self.config, self.opened = directory, config, opened
        self._sound: dict[str, bool] = {}

    @classmethod
    def open(cls, directory: Path) -> RunStore:
        """An existing run. Raises RunError where there is none, or its run.json is damaged."""
        path = Path(directory) / "run.json"
        try:
            found = json.loads(path.read_text())
            return cls(Path(directory), found["config"], found.get("opened"))
        except FileNotFoundError:
            raise RunError(f"{directory}: not a run directory (no run.json)") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path}: damaged: {error}") from error

    @classmethod
    def create(cls, directory: Path, config: dict[str, Any], opened: dict[str, Any] | None = None) -> RunStore:
        """A new run, or the same one again; `opened` is kept, not compared.

        Raises RunError with every field that differs, OutputError where the
        directory holds something else or cannot be written."""
        directory = Path(directory)
        config = json.loads(json.dumps(config))  # as it comes back from the file
        path = directory / "run.json"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                others = [
                    each.name for each in directory.iterdir() if each.name not in ("run.json", "records", "locks")
                ]
                if [name for name in others if not name.startswith(".")]:
                    raise OutputError(f"{directory}: exists, is not empty and is not a run (it holds {others[0]})")
                _publish(path, lambda stream: stream.write(_json({"config": config, "opened": opened})), exclusive=True)
            (directory / "records").mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{directory}: cannot be written: {error.strerror or error}") from error
        store = cls.open(directory)
        different = differences(store.config, config)
        if different:
            raise RunError(
                f"{directory}: this run was begun with other settings; give another -o. Then -> now:\n  "
                + "\n  ".join(different)
            )
        return store

    def finished(self) -> dict[int, Path]:
        """Record file by chunk number, only those whose bytes are what they were."""
        found: dict[int, Path] = {}
        for path in sorted((self.directory / "records").glob("chunk-*.parquet")):
            match = _NAME.fullmatch(path.name)
            if match and int(match[1]) not in found and self._is_sound(path, match[2]):
                found[int(match[1])] = path
        return found

    def damaged(self) -> list[Path]:
        """Record files that were cut or altered."""
        names = sorted((self.directory / "records").glob("chunk-*.parquet"))
        matches = [(path, _NAME.fullmatch(path.name)) for path in names]
        return [path for path, match in matches if match is None or not self._is_sound(path, match[2])]

    def write(self, chunk: int, table: pa.Table) -> Path:
        """Publish a chunk's records. Raises RunError naming chunk and file where the disk is full."""
        import pyarrow.parquet as pq

        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        data = buffer.getvalue()
        digest = hashlib.sha256(data).hexdigest()[:DIGITS]
        path = self.directory / "records" / f"chunk-{chunk:05d}-{digest}.parquet"
        self.publish(chunk, path, lambda stream: stream.write(data))
        return path

    def publish(self, chunk: int, path: Path, write: Callable[[Any], Any]) -> None:
        """`write` to a file of this run, whole or not at all. Raises RunError naming chunk and file."""
        try:
            _publish(path, write)
        except OSError as error:
            raise RunError(
                f"chunk {chunk} could not be written to {path}: {error.strerror or error}; what was finished is kept, "
                "the same command goes on from there"
            ) from error

    def sweep(self) -> None:
        """Remove what killed processes left half-written. Only for a process that is alone."""
        for path in self.directory.rglob(".*.tmp"):
            path.unlink(missing_ok=True)

    def records(self) -> pa.Table:
        """All finished rows, ordered by image and method. Raises RunError where nothing is finished yet."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = self.finished()
        if not files:
            raise RunError(f"{self.directory}: no chunk is finished yet")
        return pa.concat_tables(pq.read_table(files[chunk]) for chunk in sorted(files))

    def log(self, slot: str, **event: Any) -> None:
        """Append a line to log/<slot>.jsonl: which process did what on which machine. Never fails a run."""
        try:
            (self.directory / "log").mkdir(exist_ok=True)
            with (self.directory / "log" / f"{slot}.jsonl").open("a") as stream:
                stream.write(json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **event}, default=str) + "\n")
        except OSError:
            return

    def logged(self) -> list[dict[str, Any]]:
        """Every line of every process's log, oldest first; a line cut by a kill is left out."""
        events = []
        for path in sorted((self.directory / "log").glob("*.jsonl")):
            for line in path.read_text().splitlines():
                try:
                    events.append({"slot": path.stem, **json.loads(line)})
                except ValueError:
                    continue
        return sorted(events, key=lambda event: event.get("time", ""))

    def _is_sound(self, path: Path, digest: str) -> bool:
        if path.name not in self._sound:
            self._sound[path.name] = hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest)
        return self._sound[path.name]


def differences(then: Any, now: Any, name: str = "") -> list[str]:
    """`field: then -> now` of every leaf that differs between two nested dicts or lists."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return [
            line
            for key in {**then, **now}
            for line in differences(then.get(key), now.get(key), f"{name}.{key}".lstrip("."))
        ]
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        pairs = enumerate(zip(then, now, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{name}[{i}]")]
    return [] if then == now else [f"{name}: {_short(then)} -> {_short(now)}"]


def _short(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(each, dict) and "label" in each for each in value):
        value = [each["label"] for each in value]
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _publish(path: Path, write: Callable[[Any], Any], *, exclusive: bool = False) -> None:
    """Temporary file, fsync, rename; `exclusive`: an existing file stays (another process was first)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        if exclusive:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return
        else:
            temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        temporary.unlink(missing_ok=True)
