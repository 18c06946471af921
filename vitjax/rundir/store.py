"""A run directory: the configuration of the run, and one record file per finished chunk.

A chunk is finished if and only if its record file exists, its bytes match the digest in its name, and it was written
for this chunk of this run. Files are written atomically (temporary file, fsync, rename), so a run can be killed at any
time and resumed.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitjax.errors import OutputError, RunError
from vitjax.rundir import event_log
from vitjax.rundir.sealed import digest, parsed, sealed
from vitjax.storage import check_local, read_when_written, write_whole, writing

if TYPE_CHECKING:
    import pyarrow as pa

    from vitjax.data.contents import Contents

OWN = ("run.json", "records", "locks", "files.parquet")
"""What a directory may contain before it has a run.json."""
_NAME = re.compile(r"chunk-(\d{5,})-([0-9a-f]{16})\.parquet")
DIGITS = 16
RUN, CHUNK = b"vitjax.run", b"vitjax.chunk"
"""Keys of a record file's metadata: the digest of the run's configuration, and the number of the chunk."""


def chunk_of(path: Path) -> int | None:
    """The chunk that a record file is named for, whatever else its name holds; None for any other file."""
    match = re.match(r"chunk-(\d+)\b", path.name)
    return int(match[1]) if match else None


class RunStore:
    """The files of one run.

    directory: the run directory. config: everything that the records depend on (run.json). opened: how model and data
    were opened, or None. contents: the files of the data set when the run was begun, if they have been listed.
    """

    def __init__(self, directory: Path, config: dict[str, Any], opened: dict[str, Any] | None = None) -> None:
        self.directory, self.config, self.opened = directory, config, opened
        self.contents: Contents | None = None
        self._intact: dict[str, bool] = {}

    @classmethod
    def open(cls, directory: Path) -> RunStore:
        """Open an existing run.

        Raises:
            RunError: the directory contains no run, or its run.json is damaged.
        """
        path = Path(directory) / "run.json"
        try:
            content = read_when_written(path, parsed)
            config, opened = content["config"], content.get("opened")
            if (
                set(content) - {"config", "opened"}
                or not isinstance(config, dict)
                or not isinstance(opened or {}, dict)
            ):
                raise ValueError("not the settings of a run")
            return cls(Path(directory), config, opened)
        except FileNotFoundError:
            raise RunError(f"{directory}: not a run directory (no run.json)") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path}: damaged: {error}") from error

    @classmethod
    def create(
        cls,
        directory: Path,
        config: dict[str, Any],
        opened: dict[str, Any] | None = None,
        changed_files: Callable[[RunStore], Sequence[str]] | None = None,
    ) -> RunStore:
        """Create a run, or open an existing one with the same configuration.

        Args:
            directory: the run directory.
            config: everything that the records depend on.
            opened: how model and data were opened; it is stored but not compared.
            changed_files: lines for the error message if the digest of the data differs.

        Raises:
            RunError: the configuration of the existing run differs; lists every field that does.
            OutputError: the directory contains other files or cannot be written.
        """
        check_local(directory, "run directory")
        directory = Path(directory)
        config = json.loads(json.dumps(config))  # converted as by writing and reading the file, for the comparison
        path = directory / "run.json"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                others = [entry.name for entry in directory.iterdir() if entry.name not in OWN]
                if [name for name in others if not name.startswith(".")]:
                    raise OutputError(f"{directory}: exists, is not empty and is not a run (it contains {others[0]})")
                content = _json(sealed({"config": config, "opened": opened}))
                write_whole(path, lambda stream: stream.write(content), exclusive=True)
            (directory / "records").mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{directory}: cannot be written: {error.strerror or error}") from error
        store = cls.open(directory)
        different = differences(store.config, config)
        if changed_files is not None and any(line.startswith("data.digest") for line in different):
            different += changed_files(store)[:5]
        if different:
            raise RunError(
                f"{directory}: this run was started with other settings; pass another -o. Then -> now:\n  "
                + "\n  ".join(different)
            )
        return store

    def finished(self) -> dict[int, Path]:
        """The intact record files, by chunk number."""
        files: dict[int, Path] = {}
        for path in sorted((self.directory / "records").glob("chunk-*.parquet")):
            match = _NAME.fullmatch(path.name)
            if match and int(match[1]) not in files and self._is_intact(path, match[2]):
                files[int(match[1])] = path
        return files

    def damaged(self) -> list[Path]:
        """Truncated and altered record files."""
        names = sorted((self.directory / "records").glob("chunk-*.parquet"))
        matches = [(path, _NAME.fullmatch(path.name)) for path in names]
        return [path for path, match in matches if match is None or not self._is_intact(path, match[2])]

    def remove_damaged(self, process: tuple[int, int] = (0, 1)) -> list[str]:
        """Remove truncated and altered record files of chunks that belong to process (i, n).

        Returns: one line for each file that was removed, or that was left because its name is of no chunk.
        """
        lines = []
        for path in self.damaged():
            chunk = chunk_of(path)
            if chunk is None:
                lines.append(f"{path}: ignored, this is not the name of a record file")
            elif chunk % process[1] == process[0]:
                with writing(path):
                    path.unlink(missing_ok=True)
                lines.append(f"{path}: damaged, its chunk will be recomputed")
        return lines

    def write(self, chunk: int, table: pa.Table) -> Path:
        """Write the records of a chunk atomically, which makes the chunk finished, and remove older ones of it.

        Returns:
            The path of the record file.

        Raises:
            RunError: the file cannot be written, for example because the disk is full; names chunk and file.
        """
        import pyarrow.parquet as pq

        whose = {RUN: self.identity, CHUNK: str(chunk)}
        buffer = io.BytesIO()
        pq.write_table(
            table.replace_schema_metadata({**(table.schema.metadata or {}), **whose}), buffer, compression="zstd"
        )
        data = buffer.getvalue()
        path = self.directory / "records" / f"chunk-{chunk:05d}-{hashlib.sha256(data).hexdigest()[:DIGITS]}.parquet"
        self.publish(chunk, path, lambda stream: stream.write(data))
        for other in path.parent.glob(f"chunk-{chunk:05d}-*.parquet"):
            if other != path:
                other.unlink(missing_ok=True)
        return path

    def publish(self, chunk: int, path: Path, write: Callable[[Any], Any]) -> None:
        """Write a file of this run atomically.

        Args:
            chunk: number of the chunk, for the error message.
            path: the file.
            write: called with the opened binary file.

        Raises:
            RunError: the file cannot be written; names chunk and file.
        """
        try:
            write_whole(path, write)
        except OSError as error:
            raise RunError(
                f"chunk {chunk} could not be written to {path}: {error.strerror or error}; completed chunks "
                "are preserved, and rerunning the command resumes the run"
            ) from error

    def remove_partial_files(self) -> None:
        """Remove temporary files of killed processes. No other process may be writing to the run."""
        for path in self.directory.rglob(".*.tmp"):
            path.unlink(missing_ok=True)

    def records(self) -> pa.Table:
        """The records of all finished chunks, ordered by image and method.

        Raises:
            RunError: no chunk is finished yet.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = self.finished()
        if not files:
            raise RunError(f"{self.directory}: no chunk is finished yet")
        tables = [pq.read_table(files[chunk]) for chunk in sorted(files)]
        return pa.concat_tables(tables, promote_options="default")  # those of older versions lack columns

    def log(self, slot: str, **event: Any) -> None:
        """Append an event and the time to log/<slot>.jsonl.

        Raises:
            OutputError: the file cannot be written.
        """
        event_log.append(self.directory, slot, event, self.identity)

    def logged(self) -> list[dict[str, Any]]:
        """The events of all processes, oldest first; lines that are damaged, or truncated by a kill, are left out."""
        return event_log.read(self.directory, self.identity)[0]

    def lost_log_lines(self) -> int:
        """Number of lines that `logged` leaves out."""
        return event_log.read(self.directory, self.identity)[1]

    @cached_property
    def identity(self) -> str:
        """Digest of the configuration, which files of this run are marked with."""
        return digest(self.config)

    def _is_intact(self, path: Path, name_digest: str) -> bool:
        if path.name not in self._intact:
            self._intact[path.name] = path.is_file() and self._belongs_here(path, name_digest)
        return self._intact[path.name]

    def _belongs_here(self, path: Path, name_digest: str) -> bool:
        """Whether a record file is unchanged, and of this run and chunk; those of older versions do not say whose."""
        import pyarrow.parquet as pq

        content = path.read_bytes()
        if not hashlib.sha256(content).hexdigest().startswith(name_digest):
            return False
        metadata = pq.read_schema(io.BytesIO(content)).metadata or {}
        run, chunk = metadata.get(RUN), metadata.get(CHUNK)
        return run in (None, self.identity.encode()) and chunk in (None, str(chunk_of(path)).encode())


def differences(then: Any, now: Any, name: str = "") -> list[str]:
    """A line `field: then -> now` for every leaf that differs between two nested dicts or lists."""
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
    """JSON of at most 120 characters; lists of methods or metrics are shown by their labels."""
    if isinstance(value, list) and value and all(isinstance(entry, dict) and "label" in entry for entry in value):
        value = [entry["label"] for entry in value]
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
