"""From a run directory to a report; files are written atomically."""

import json

import pyarrow as pa
import pytest

from tests.report.synthetic import METRICS, one_metric, profile_of, whole_run
from vitjax.errors import OutputError, RunError
from vitjax.output.files import write_bytes
from vitjax.report import write_report
from vitjax.rundir.store import RunStore

TABLES = ["summary.csv", "table.md", "table.tex", "table.txt"]


def run(directory, methods=("random", "a"), count=20):
    """A run directory with two chunks, as `evaluate` writes it."""
    config, table = whole_run(list(methods), count)
    config = {**config, "chunk_size": count // 2}
    store = RunStore.create(directory, config)
    store.write(0, table.slice(0, len(table) // 2))
    store.write(1, table.slice(len(table) // 2))
    (directory / "profile.json").write_text(json.dumps(profile_of(methods)))
    return directory


def test_report_of_a_run_directory(tmp_path):
    written = write_report(run(tmp_path / "run"), metrics=METRICS, resamples=50)
    names = [*TABLES, "curves.png", "curves.pdf", "report.html"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in (tmp_path / "run" / "report").iterdir()) == sorted(names)
    assert "1234" in written[1].read_text()  # profile.json was read


def test_other_directory_and_no_curves(tmp_path):
    config, table = one_metric([[0.1, 0.2], [0.3, 0.4]])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "curves.png").write_bytes(b"of another run")
    written = write_report(tmp_path, tmp_path / "out", config=config, records=table, metrics=METRICS)
    assert [path.name for path in written] == [*TABLES, "report.html"]
    assert not (tmp_path / "out" / "curves.png").exists()


def test_files_are_reproducible(tmp_path):
    directory = run(tmp_path / "run")
    first = [path.read_bytes() for path in write_report(directory, metrics=METRICS, resamples=50)]
    assert first == [path.read_bytes() for path in write_report(directory, metrics=METRICS, resamples=50)]


def test_unfinished_run_is_an_error_before_any_file_is_written(tmp_path):
    directory = run(tmp_path / "run")
    next((directory / "records").glob("chunk-00001*")).unlink()
    with pytest.raises(RunError, match="lacks 10 of 20 images"):
        write_report(directory, metrics=METRICS)
    assert not (directory / "report").exists()
    written = write_report(directory, metrics=METRICS, partial=True, resamples=50)
    for path in written:
        if path.suffix not in (".png", ".pdf"):
            assert "artial: 10 of 20 images" in path.read_text(), path


def test_not_a_run_directory_is_an_error(tmp_path):
    with pytest.raises(RunError, match="not a run directory"):
        write_report(tmp_path)


def test_damaged_profile_is_an_error_that_names_the_file(tmp_path):
    directory = run(tmp_path / "run")
    (directory / "profile.json").write_text("{")
    with pytest.raises(RunError, match=r"profile\.json: damaged"):
        write_report(directory, metrics=METRICS)


def test_unwritable_output_is_an_error(tmp_path):
    config, table = one_metric([[0.5]])
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(tmp_path, tmp_path / "file" / "out", config=config, records=table, metrics=METRICS)


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = write_bytes(tmp_path / "a.txt", b"old")

    def disk_full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written: No space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_chunked_records(tmp_path):
    """A table of many chunks, each with its own dictionary of texts."""
    config, table = whole_run(["random", "a"], 20)
    pieces = pa.concat_tables([table.slice(start, 7) for start in range(0, len(table), 7)])
    one, other = (
        write_report(tmp_path, tmp_path / name, config=config, records=records, metrics=METRICS, resamples=50)
        for name, records in (("one", table), ("other", pieces))
    )
    assert one[0].read_text() == other[0].read_text()
