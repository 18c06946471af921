"""Files on disk: written whole or not at all on any file system; which errors are the storage's and not the file's."""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vitjax.errors import OutputError

NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.EACCES})
"""Answers of file systems without hard links: FAT, SMB, FUSE."""
NO_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES, errno.EISDIR})
"""Answers of file systems, and of systems, that cannot flush a file or a directory."""
OF_THE_FILE = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EOVERFLOW}
)
"""Errors that come again however often a file is read; EINVAL is a seek to where a damaged file points."""
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")


def check_local(path: str | os.PathLike[str], what: str) -> None:
    """Check that a path is not the address of an object store, which would become a folder called "gs:".

    Raises:
        OutputError: it has the form SCHEME://...; names the scheme.
    """
    match = _URL.match(os.fspath(path))  # pathlib makes one slash of two
    if match and not Path(f"{match[1]}:").exists():
        raise OutputError(
            f"{what} {os.fspath(path)}: object stores and URLs ({match[1]}://) are not supported; use a folder of this "
            "machine, or mount the store"
        )


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


def temporary_beside(path: Path) -> Path:
    """A hidden name in the folder of `path` that no other process chooses, on this machine or on another.

    Process ids do not suffice: the first process of every container has the number 1.
    """
    host = re.sub(r"[^\w-]", "_", socket.gethostname())[:32]
    # Without the name of `path`, which may be the longest that the file system takes.
    return path.with_name(f".{host}-{os.getpid()}-{secrets.token_hex(6)}.tmp")


def write_whole(path: Path, write: Callable[[Any], Any], *, exclusive: bool = False) -> bool:
    """Write a file by temporary file, fsync and rename.

    Args:
        path: the file.
        write: called with the opened binary file.
        exclusive: keep a file that another process wrote first.

    Returns:
        False if `exclusive` and the file existed.

    Raises:
        OSError: of the file system; the temporary file is removed.
    """
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as stream:
            write(stream)
            stream.flush()
            _sync(stream.fileno())
        if exclusive:
            if not _link(temporary, path):
                return False
        else:
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)
    return True


def read_when_written(path: Path, parse: Callable[[bytes], Any], seconds: float = 2.0) -> Any:
    """parse(content) of a file that `write_whole(exclusive=True)` wrote.

    Without hard links, a file is there before its content is, so that a ValueError is tried again for some seconds.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return parse(path.read_bytes())
        except ValueError:
            if time.monotonic() > end or time.time() - path.stat().st_mtime > 2 * seconds:
                raise
        time.sleep(0.05)


def storage_error(error: BaseException | None) -> BaseException | None:
    """The error of the storage or of the memory that caused another, or None: reading the file again may then succeed.

    EIO, ESTALE, permissions and time-outs belong here, and MemoryError. An absent file does not (see `folder_is_away`),
    nor what Pillow says of damaged files, which has no error number.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError):
            return error
        if isinstance(error, OSError):
            # h5py states the number in its text only.
            stated = re.search(r"errno = (\d+)", str(error)) if error.errno is None else None
            number = int(stated[1]) if stated else error.errno
            if number is not None and number not in OF_THE_FILE:
                return error
        error = error.__cause__ or error.__context__
    return None


def folder_is_away(path: Path) -> bool:
    """Whether the folder of a missing file is missing or empty, as where a file system is not mounted."""
    try:
        with os.scandir(path.parent) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def _link(temporary: Path, path: Path) -> bool:
    """Give the file its name unless the name is taken; returns whether it was free."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        return _copy_exclusively(temporary, path)
    return True


def _copy_exclusively(temporary: Path, path: Path) -> bool:
    try:
        stream = path.open("xb")
    except FileExistsError:
        return False
    try:
        with stream:
            stream.write(temporary.read_bytes())
            stream.flush()
            _sync(stream.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return True


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def _sync_directory(directory: Path) -> None:
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:  # Windows opens no directories
        return
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)
