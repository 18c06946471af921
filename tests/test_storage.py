"""Files are written whole on any file system, and errors of the storage are told from those of a file."""

import errno
import os
import socket
from pathlib import Path

import pytest
from PIL import Image

from vitjax import storage
from vitjax.errors import ImageError, OutputError
from vitjax.images.reading import load_image


def failing(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


def put(path, content=b"1", **options):
    return storage.write_whole(path, lambda stream: stream.write(content), **options)


@pytest.mark.parametrize("links", [True, False])
def test_the_first_of_two_writers_wins(links, tmp_path, monkeypatch):
    if not links:  # as FAT, SMB and FUSE answer
        monkeypatch.setattr(os, "link", failing(errno.EPERM))
    path = tmp_path / "run.json"
    assert put(path, b"first", exclusive=True) and not put(path, b"second", exclusive=True)
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]
    assert put(path, b"third") and path.read_bytes() == b"third"


def test_temporary_names_differ_where_host_and_process_are_equal(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(socket, "gethostname", lambda: "a/b c")
    names = {storage.temporary_beside(tmp_path / "x").name for _ in range(100)}
    assert len(names) == 100 and all(name.startswith(".a_b_c-1-") and name.endswith(".tmp") for name in names)


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(where, tmp_path, monkeypatch):
    path = tmp_path / "x"
    put(path, b"old")
    monkeypatch.setattr(*((os, "fsync") if where == "fsync" else (Path, "replace")), failing(errno.ENOSPC))
    with pytest.raises(OutputError, match=r"x: cannot be written: No space left on device"), storage.writing(path):
        put(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_file_systems_that_cannot_flush_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
    assert put(tmp_path / "x") and (tmp_path / "x").read_bytes() == b"1"


@pytest.mark.parametrize("path", ["gs://bucket/run", Path("s3://bucket/run"), "https://host/run", "hf://x"])
def test_addresses_of_object_stores_are_refused(path):
    with pytest.raises(OutputError, match=r"output gs|output s3|output https|output hf"):
        storage.check_local(path, "output")


@pytest.mark.parametrize("path", ["runs/gs", "/data/x:/y", "C:/runs", "C:\\runs", "a:b", "."])
def test_paths_of_this_machine_are_accepted(path):
    storage.check_local(path, "output")


@pytest.mark.parametrize(
    ("cause", "of_storage"),
    [
        *((OSError(number, "x"), True) for number in (errno.EIO, errno.ESTALE, errno.EACCES, errno.ETIMEDOUT)),
        (MemoryError(), True),
        (OSError("Can't read data (file read failed: errno = 5, error message = 'Input/output error')"), True),
        *((OSError(number, "x"), False) for number in (errno.ENOENT, errno.EISDIR, errno.EINVAL)),
        (OSError("image file is truncated (3 bytes not processed)"), False),
        (ValueError("x"), False),
    ],
)
def test_errors_of_the_storage_are_found_behind_the_error_that_they_caused(cause, of_storage, tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")

    def load(_):
        raise cause

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(ImageError) as raised:
        load_image(tmp_path / "a.png")
    assert (storage.storage_error(raised.value) is cause) == of_storage
