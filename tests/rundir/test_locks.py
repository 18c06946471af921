"""Locks where the file system has none, and where nothing can be written."""

import errno
import fcntl
import os

import pytest

from tests.test_storage import failing
from vitjax.errors import OutputError
from vitjax.rundir.locks import Slot
from vitjax.rundir.store import RunStore


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_and_used(number, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fcntl, "flock", failing(number))
    with Slot(tmp_path, 1, 2) as slot:
        assert not slot.locked
    assert f"{tmp_path}: no file locks here ({os.strerror(number)})" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("name", ["write", "open", "ftruncate"])
def test_a_lock_that_cannot_be_written_is_one_line_with_the_file(name, number, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing(number))
        with pytest.raises(OutputError, match=rf"locks/0-of-1: cannot be written: {os.strerror(number)}"):
            Slot(tmp_path, 0, 1).__enter__()
    with Slot(tmp_path, 0, 1):  # nothing holds the lock
        pass


def test_a_log_that_cannot_be_written_is_one_line_with_the_file(tmp_path):
    store = RunStore.create(tmp_path / "run", {})
    (tmp_path / "run" / "log").write_text("")
    with pytest.raises(OutputError, match=r"log/0-of-1.jsonl: cannot be written"):
        store.log("0-of-1", event="started")
