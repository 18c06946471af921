"""Killed, cut, changed, shared, out of space, out of memory: nothing finished is lost and no row is wrong."""

import random
import resource
import signal
import threading
import time

import jax
import pytest

from tests.cases import tiny_model
from tests.evaluating.world import METHODS, Pictures, assert_same_rows, child, finish, run
from vitjax.errors import RunError
from vitjax.evaluating import compute
from vitjax.evaluating.run import Run
from vitjax.execution import devices as mesh
from vitjax.rundir.locks import Slot


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "whole", Pictures(18))


def computed(monkeypatch) -> list[int]:
    """Indices of the pictures that are computed from here on."""
    seen: list[int] = []
    chunk = compute.Evaluator.chunk
    monkeypatch.setattr(
        compute.Evaluator, "chunk", lambda self, samples: (seen.extend(samples.index.tolist()), chunk(self, samples))[1]
    )
    return seen


def test_the_same_command_again_computes_nothing(whole, monkeypatch):
    seen = computed(monkeypatch)
    again = run(whole.directory, Pictures(18))
    assert seen == [] and again.finished
    assert_same_rows(whole.records(), again.records())


@pytest.mark.parametrize("damage", ["cut", "xor", "rename"])
def test_a_damaged_record_file_is_found_and_computed_again(damage, whole, tmp_path, monkeypatch, capsys):
    """FAILURES 33."""
    mine = run(tmp_path / "run", Pictures(18))
    path = mine.store.finished()[2]
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "xor":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.rename(path.with_name("chunk-00002-0123456789abcdef.parquet"))
    assert not Run(mine.directory).finished
    assert any("damaged" in line for line in str(Run(mine.directory).status()).splitlines())
    seen = computed(monkeypatch)
    again = run(mine.directory, Pictures(18))
    assert seen == [8, 9, 10, 11]
    assert "damaged" in capsys.readouterr().err
    assert_same_rows(whole.records(), again.records())


def test_changed_settings_weights_or_data_are_refused_field_by_field(tmp_path):
    """FAILURES 31."""
    run(tmp_path / "run", Pictures(6))
    for text, options in [
        (r"methods: \[\"rollout\", \"transformer_mm\", \"random\"\] -> \[\"rollout\"\]", {"methods": ["rollout"]}),
        (r"model.name.*\n.*model.sha256", {"model": tiny_model("layer_scale")}),
        (r"data.digest: \"6 \(\) 0\" -> \"6 \(\) 1\"", {"source": Pictures(6, version=1)}),
        (r"seed: 0 -> 1", {"seed": 1}),
        (r"chunk_size: 4 -> 5", {"chunk_size": 5}),
        (r"metrics\[2\].options.levels", {"metrics": [*METRICS_WITHOUT_LEVELS, {"metric": "perturbation_auc"}]}),
    ]:
        with pytest.raises(RunError, match=text):
            run(tmp_path / "run", options.pop("source", Pictures(6)), **options)


METRICS_WITHOUT_LEVELS = ["energy_pointing_game", "mean_iou"]


def test_other_batch_sizes_go_on_with_the_same_run(whole, tmp_path, monkeypatch):
    """FAILURES 32, one device; test_devices has eight."""
    mine = run(tmp_path / "run", Pictures(18))
    for chunk, path in mine.store.finished().items():
        if chunk != 1:
            path.unlink()
    seen = computed(monkeypatch)
    again = run(mine.directory, Pictures(18), batch_size=2)
    assert 4 not in seen and len(seen) == 14
    assert_same_rows(whole.records(), again.records(), rtol=1e-5, atol=1e-6)


def test_a_second_writer_is_refused(tmp_path):
    """FAILURES 30."""
    run(tmp_path / "run", Pictures(3))
    with Slot(tmp_path / "run", 0, 1):
        with pytest.raises(RunError, match=r"process \d+ on .* is writing to it as process 0-of-1"):
            run(tmp_path / "run", Pictures(3))
        with pytest.raises(RunError, match="0-of-1; this one would be 1-of-2"):
            run(tmp_path / "run", Pictures(3), process="1/2")
    with Slot(tmp_path / "run", 0, 2):
        run(tmp_path / "run", Pictures(3), process="1/2")
    run(tmp_path / "run", Pictures(3))


def test_processes_share_a_run_and_give_the_same_rows_exactly(whole, tmp_path):
    out = tmp_path / "run"
    first = run(out, Pictures(18), process="0/2")
    assert not first.finished and "2 left" in str(first.status()).splitlines()[0]
    with pytest.raises(RunError, match="of 18"):
        first.table()
    second = run(out, Pictures(18), process=(1, 2))
    assert second.finished
    assert_same_rows(whole.records(), second.records())


@pytest.mark.parametrize("worker_count", [1, 2])
def test_out_of_device_memory_halves_the_batch(worker_count, whole, tmp_path, monkeypatch, capsys):
    """FAILURES 34. Of two lanes both run out, and the one that is not heard does no harm."""
    call = compute.Evaluator._call
    limit = [2]

    def scarce(self, key, program, *arguments):
        if self.per_device > limit[0]:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 byte.")
        return call(self, key, program, *arguments)

    monkeypatch.setattr(compute, "worker_count", lambda: worker_count)
    monkeypatch.setattr(compute.Evaluator, "_call", scarce)
    small = run(tmp_path / "run", Pictures(18), chunk_size=4 * worker_count)
    assert_same_rows(whole.records(), small.records(), rtol=1e-5, atol=1e-6)
    assert "going on with 2 pictures a device" in capsys.readouterr().err
    assert small.store.logged()[-1]["batch_halved_to"] == [2]
    limit[0] = 0
    with pytest.raises(RunError, match="out of device memory with one picture a device"):
        run(tmp_path / "none", Pictures(18))


def test_other_errors_of_the_device_are_not_taken_for_memory(tmp_path, monkeypatch):
    def broken(self, key, program, *arguments):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(compute.Evaluator, "_call", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        run(tmp_path / "run", Pictures(4))


def test_a_lane_that_fails_ends_the_others(tmp_path, monkeypatch, four_threads):
    """Four lanes, each with a batch: where the first breaks, the others compute nothing more."""
    compiled, dispatch, meet = [], compute.Evaluator._dispatch, threading.Barrier(4, timeout=20)

    def first_breaks(self, samples, rows):
        meet.wait()  # all have begun
        if rows[0] == 0:
            raise ValueError("broken")
        assert self._stop.wait(20)
        return dispatch(self, samples, rows)

    monkeypatch.setattr(compute.Evaluator, "_dispatch", first_breaks)
    monkeypatch.setattr(mesh.Devices, "compile", lambda self, *arguments: compiled.append(arguments))
    with pytest.raises(ValueError, match="broken"):
        run(tmp_path / "run", Pictures(16), chunk_size=16)
    assert not compiled


@pytest.mark.slow
def test_a_full_disk_names_chunk_and_file_and_the_run_goes_on(whole, tmp_path):
    """FAILURES 29: files larger than the limit cannot be written."""
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
run(Path({str(tmp_path / "run")!r}), Pictures(18))
"""
    process = child(code)
    _, err = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "RunError: chunk 0 could not be written to" in err and "chunk-00000-" in err and "File too large" in err
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert not list((tmp_path / "run" / "records").iterdir())
    assert_same_rows(whole.records(), run(tmp_path / "run", Pictures(18)).records())


@pytest.mark.slow
def test_killed_at_random_again_and_again(tmp_path):
    """FAILURES 27: at most the chunk in flight is lost each time."""
    out, rng = tmp_path / "run", random.Random(0)
    code = f"run(Path({str(out)!r}), Pictures(80, pause=0.3))"
    counts = [0]
    while counts[-1] < 16:
        process = child(code)
        wait_until(lambda: len(finished_files(out)) > counts[-1])
        time.sleep(rng.random())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        counts.append(len(finished_files(out)))
        assert counts[-1] > counts[-2]
    assert len(counts) > 3, counts
    assert_same_rows(run(tmp_path / "whole", Pictures(80)).records(), run(out, Pictures(80)).records())
    assert not list(out.rglob(".*.tmp"))


@pytest.mark.slow
def test_a_dead_peer_costs_its_own_chunks_only(whole, tmp_path):
    """FAILURES 28, and two processes on one run directory."""
    out = tmp_path / "run"
    codes = [f"run(Path({str(out)!r}), Pictures(18, pause={pause}), process='{i}/2')" for i, pause in ((0, 0), (1, 2))]
    survivor, victim = child(codes[0]), child(codes[1])
    finish(survivor)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert set(Run(out).store.finished()) >= {0, 2, 4}
    finish(child(codes[1].replace("pause=2", "pause=0")))
    assert_same_rows(whole.records(), Run(out).records())


def finished_files(out):
    return list((out / "records").glob("chunk-*.parquet")) if (out / "records").is_dir() else []


def wait_until(condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_log_says_who_did_what(whole):
    events = whole.store.logged()
    assert [event["event"] for event in events] == ["started", "finished"]
    assert events[0]["devices"] == jax.local_device_count() and events[1]["images"] == 18
    assert METHODS[0] in whole.config["methods"][0]["label"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data_set():
    """Ten times the pictures in the same process: the peak moves by less than a chunk of decoded pictures would."""
    code = """
import resource, tempfile
peaks = []
for count in (48, 480):
    run(Path(tempfile.mkdtemp()) / "run", Pictures(count), chunk_size=16)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(peaks[1] - peaks[0])
"""
    grown = float(finish(child(code)).splitlines()[-1])
    assert grown < 24, f"{grown} MiB"
