"""Runs whose data change, go away or come back: no row of another picture, and none that blames a picture."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.data.pictures import save
from tests.evaluating.test_resume import record_computed
from tests.evaluating.world import Pictures, assert_same_records, run
from vitjax.data import retries
from vitjax.data.open import open_data
from vitjax.data.source import Raw
from vitjax.errors import ConfigError, OutputError, RunError
from vitjax.evaluating import engine

FAST = {"methods": ["rollout"], "metrics": ["complexity"], "chunk_size": 2}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(retries, "WAITS_S", ())


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        save(tmp_path / "p" / f"{number}.bmp", 48, 48, seed=number)
    return tmp_path / "p"


def opened(folder):
    return open_data(f"folder:{folder}", None, num_classes=None)


def reopen_chunk(finished, chunk):
    finished.store.finished()[chunk].unlink()


@pytest.mark.parametrize("evaluated", [True, False])
def test_replaced_pictures_are_refused_by_name(evaluated, folder, tmp_path):
    reopen_chunk(run(tmp_path / "run", opened(folder), **FAST), 1)
    replaced = folder / ("0.bmp" if evaluated else "3.bmp")
    before = replaced.stat()
    save(replaced, 48, 48, seed=9)
    os.utime(replaced, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(RunError, match=rf"1 files of folder:.* have changed .*{replaced}: other content of the same"):
        run(tmp_path / "run", opened(folder), **FAST)


def test_pictures_of_other_sizes_are_named_beside_the_digest(folder, tmp_path):
    run(tmp_path / "run", opened(folder), **FAST)
    save(folder / "2.bmp", 50, 50)
    with pytest.raises(RunError, match=r"data.digest: .*\n.*2.bmp: 6966 -> 7654 bytes"):
        run(tmp_path / "run", opened(folder), **FAST)


def test_touched_and_copied_pictures_are_accepted(folder, tmp_path, monkeypatch):
    reopen_chunk(run(tmp_path / "run", opened(folder), **FAST), 1)
    for path in list(folder.iterdir()):
        (folder / "copy").write_bytes(path.read_bytes())
        (folder / "copy").replace(path)
    computed = record_computed(monkeypatch)
    assert run(tmp_path / "run", opened(folder), **FAST).finished and computed == [2, 3]


def test_run_of_an_older_version_is_resumed_and_compared_from_then_on(folder, tmp_path, capsys):
    first = run(tmp_path / "run", opened(folder), **FAST)
    reopen_chunk(first, 1)
    (first.directory / "files.parquet").unlink()
    assert run(tmp_path / "run", opened(folder), **FAST).finished
    assert "contents are compared from now on" in capsys.readouterr().err
    save(folder / "0.bmp", 48, 48, seed=9)
    with pytest.raises(RunError, match="have changed"):
        run(tmp_path / "run", opened(folder), **FAST)


def test_picture_that_is_replaced_during_the_run_leaves_its_chunk_open(folder, tmp_path, monkeypatch):
    table = engine.table

    def replace_then_table(job, samples, results):
        if samples.index[0] == 2:
            save(folder / "2.bmp", 48, 48, seed=9)
        return table(job, samples, results)

    monkeypatch.setattr(engine, "table", replace_then_table)
    with pytest.raises(RunError, match=r"chunk 1 is left open: files have changed .*2.bmp"):
        run(tmp_path / "run", opened(folder), **FAST)


def test_folder_that_goes_away_leaves_chunks_open(folder, tmp_path, capsys):
    complete = run(tmp_path / "complete", opened(folder), **FAST)
    source = opened(folder)
    digest = source.digest()
    object.__setattr__(source, "__class__", type("Away", (type(source),), {"digest": lambda self: digest}))
    folder.rename(tmp_path / "away")
    away = run(tmp_path / "run", source, **FAST)
    assert not away.store.finished()
    assert "chunk 1 is left open: 2 of 2 images could not be read" in capsys.readouterr().err
    (tmp_path / "away").rename(folder)
    assert_same_records(complete.records(), run(tmp_path / "run", opened(folder), **FAST).records())


@dataclass(frozen=True)
class Failing(Pictures):
    error: type = OSError

    def read(self, index: int) -> Raw:
        if index == 3 and self.error is not RuntimeError:
            raise MemoryError if self.error is MemoryError else OSError(errno.EIO, "Input/output error")
        return super().read(index)


@pytest.mark.parametrize("error", [OSError, MemoryError])
def test_an_error_of_storage_or_memory_is_no_property_of_a_picture(error, tmp_path, capsys, monkeypatch):
    first = run(tmp_path / "run", Failing(6, error=error), **FAST)
    assert sorted(first.store.finished()) == [0, 2]
    assert ("Input/output error" if error is OSError else "out of memory") in capsys.readouterr().err
    computed = record_computed(monkeypatch)
    assert run(tmp_path / "run", Failing(6, error=RuntimeError), **FAST).finished and computed == [2, 3]


def test_missing_picture_is_asked_again_when_it_is_back(folder, tmp_path, monkeypatch, capsys):
    complete = run(tmp_path / "complete", opened(folder), **FAST)
    source, content = opened(folder), (folder / "2.bmp").read_bytes()
    digest = source.digest()
    object.__setattr__(source, "__class__", type("Gone", (type(source),), {"digest": lambda self: digest}))
    (folder / "2.bmp").unlink()
    first = run(tmp_path / "run", source, **FAST)
    assert first.finished and first.records()["status"].to_pylist() == ["ok", "ok", "missing", "ok"]
    computed = record_computed(monkeypatch)
    run(tmp_path / "run", source, **FAST)
    assert not computed
    (folder / "2.bmp").write_bytes(content)
    again = run(tmp_path / "run", opened(folder), **FAST)
    assert computed == [2, 3] and "an image that was missing is back (2)" in capsys.readouterr().err
    assert_same_records(complete.records(), again.records())
    assert len(list((tmp_path / "run" / "records").iterdir())) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"batch_size": value}, "batch_size") for value in (0, -1, 1.5, True)),
        *(({"seed": value}, "seed") for value in (-1, 2**32, 0.5)),
        *(({"chunk_size": value}, "chunk_size") for value in (0, 2.5)),
        *(({"limit": value}, "limit") for value in (0, -3, 1.5)),
        *(({"workers": value}, "workers") for value in (-1, 0.5)),
        ({"min_confidence": float("nan")}, "min_confidence"),
        ({"process": "4/4"}, "process '4/4'"),
        ({"process": "0/2", "engine": "ray"}, "divides the run itself"),
        ({"metrics": [{"metric": "iou", "threshold": float("nan")}]}, "threshold=nan"),
    ],
)
def test_numbers_out_of_range_are_refused_and_nothing_is_written(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "run", Pictures(3), **{**FAST, **options})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [{"out": Path("gs://bucket/run")}, {"cache": "s3://bucket/cache"}])
def test_object_stores_are_refused_and_no_folder_is_made(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="object stores and URLs"):
        run(options.pop("out", tmp_path / "run"), Pictures(3), **FAST, **options)
    assert not list(tmp_path.iterdir())
