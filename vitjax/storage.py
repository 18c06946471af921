"""Files on disk: written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vitjax.errors import OutputError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What a block writes to `path`: an OSError becomes an OutputError of one line that names the file.

    Raises:
        OutputError: the file cannot be written, for example because the disk is full or read-only.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_whole(path: Path, write: Callable[[Any], Any]) -> None:
    """Write a file by temporary file, fsync and rename.

    Args:
        path: the file.
        write: called with the opened binary file.

    Raises:
        OSError: of the file system; the temporary file is removed.
    """
    # The name is short, because `path` may have the longest name that the file system takes, and random, because
    # processes in containers may share their number.
    temporary = path.with_name(f".{secrets.token_hex(12)}.tmp")
    try:
        with temporary.open("xb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
