"""Resumed runs after kills, damage, changed settings, full disks and too little memory lose no finished chunk."""

import random
import resource
import signal
import threading
import time

import jax
import pytest

from tests.cases import tiny_model
from tests.evaluating.world import METHODS, Pictures, assert_same_records, child, finish, run
from vitjax.errors import RunError
from vitjax.evaluating import compute
from vitjax.evaluating.run import Run
from vitjax.execution import devices as mesh
from vitjax.rundir.locks import Slot
from vitjax.rundir.saved_maps import read_maps


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "complete", Pictures(18))


def record_computed(monkeypatch) -> list[int]:
    """A list that receives the indices of all images that are evaluated from now on."""
    computed: list[int] = []
    chunk = compute.Evaluator.chunk

    def recorded(self, samples):
        computed.extend(samples.index.tolist())
        return chunk(self, samples)

    monkeypatch.setattr(compute.Evaluator, "chunk", recorded)
    return computed


def test_repeating_a_finished_run_computes_nothing(complete, monkeypatch):
    computed = record_computed(monkeypatch)
    again = run(complete.directory, Pictures(18))
    assert computed == [] and again.finished
    assert_same_records(complete.records(), again.records())


@pytest.mark.parametrize("damage", ["truncate", "xor", "rename"])
def test_chunk_of_a_damaged_record_file_is_recomputed(damage, complete, tmp_path, monkeypatch, capsys):
    """The damage is noticed, said, and repaired by running the same command again."""
    first = run(tmp_path / "run", Pictures(18))
    path = first.store.finished()[2]
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "xor":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.rename(path.with_name("chunk-00002-0123456789abcdef.parquet"))
    assert not Run(first.directory).finished
    assert any("damaged" in line for line in str(Run(first.directory).status()).splitlines())
    computed = record_computed(monkeypatch)
    again = run(first.directory, Pictures(18))
    assert computed == [8, 9, 10, 11]
    assert "damaged" in capsys.readouterr().err
    assert_same_records(complete.records(), again.records())


def test_chunk_of_which_the_saved_maps_are_lost_is_evaluated_again(tmp_path, monkeypatch, capsys):
    first = run(tmp_path / "run", Pictures(10), save_maps="float32")
    maps = read_maps(first.directory, "rollout")
    (first.directory / "maps" / "chunk-00001.npz").unlink()
    computed = record_computed(monkeypatch)
    again = run(tmp_path / "run", Pictures(10), save_maps="float32")
    assert sorted(set(computed)) == [4, 5, 6, 7] and "chunk 1: its saved maps are missing" in capsys.readouterr().err
    assert_same_records(first.records(), again.records())
    assert all((read_maps(again.directory, "rollout")[name] == each).all() for name, each in maps.items())


def test_changed_settings_weights_or_data_are_rejected_and_named(tmp_path):
    """The error lists every field that differs, with both values."""
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


def test_run_is_resumed_with_another_batch_size(complete, tmp_path, monkeypatch):
    """On one device; test_devices uses eight."""
    first = run(tmp_path / "run", Pictures(18))
    for chunk, path in first.store.finished().items():
        if chunk != 1:
            path.unlink()
    computed = record_computed(monkeypatch)
    again = run(first.directory, Pictures(18), batch_size=2)
    assert 4 not in computed and len(computed) == 14
    assert_same_records(complete.records(), again.records(), rtol=1e-5, atol=1e-6)


def test_second_process_with_the_same_number_is_rejected(tmp_path):
    """The error names the process that writes."""
    run(tmp_path / "run", Pictures(3))
    with Slot(tmp_path / "run", 0, 1):
        with pytest.raises(RunError, match=r"process \d+ on .* is writing to it as process 0-of-1"):
            run(tmp_path / "run", Pictures(3))
        with pytest.raises(RunError, match="0-of-1; this process would be 1-of-2"):
            run(tmp_path / "run", Pictures(3), process="1/2")
    with Slot(tmp_path / "run", 0, 2):
        run(tmp_path / "run", Pictures(3), process="1/2")
    run(tmp_path / "run", Pictures(3))


def test_two_processes_give_exactly_the_same_records(complete, tmp_path):
    out = tmp_path / "run"
    first = run(out, Pictures(18), process="0/2")
    assert not first.finished and "2 left" in str(first.status()).splitlines()[0]
    with pytest.raises(RunError, match="of 18"):
        first.table()
    second = run(out, Pictures(18), process=(1, 2))
    assert second.finished
    assert_same_records(complete.records(), second.records())


@pytest.mark.parametrize("worker_count", [1, 2])
def test_out_of_device_memory_halves_the_batch(worker_count, complete, tmp_path, monkeypatch, capsys):
    """With two worker threads, both run out of memory; the second error has no effect."""
    call = compute.Evaluator._call
    limit = [2]

    def call_with_limited_memory(self, key, program, *arguments):
        if self.per_device > limit[0]:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 byte.")
        return call(self, key, program, *arguments)

    monkeypatch.setattr(compute, "worker_count", lambda: worker_count)
    monkeypatch.setattr(compute.Evaluator, "_call", call_with_limited_memory)
    small = run(tmp_path / "run", Pictures(18), chunk_size=4 * worker_count)
    assert_same_records(complete.records(), small.records(), rtol=1e-5, atol=1e-6)
    assert "continuing with 2 images per device" in capsys.readouterr().err
    assert small.store.logged()[-1]["batch_halved_to"] == [2]
    limit[0] = 0
    with pytest.raises(RunError, match="out of device memory with one image per device"):
        run(tmp_path / "none", Pictures(18))


def test_other_device_errors_are_raised(tmp_path, monkeypatch):
    def broken(self, key, program, *arguments):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(compute.Evaluator, "_call", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        run(tmp_path / "run", Pictures(4))


def test_failing_worker_thread_stops_the_others(tmp_path, monkeypatch, four_threads):
    """Of four worker threads with one batch each, the first fails; the others then compute nothing more."""
    compiled, dispatch, all_started = [], compute.Evaluator._dispatch, threading.Barrier(4, timeout=20)

    def first_fails(self, samples, indices):
        all_started.wait()
        if indices[0] == 0:
            raise ValueError("broken")
        assert self._stop.wait(20)
        return dispatch(self, samples, indices)

    monkeypatch.setattr(compute.Evaluator, "_dispatch", first_fails)
    monkeypatch.setattr(mesh.Devices, "compile", lambda self, *arguments: compiled.append(arguments))
    with pytest.raises(ValueError, match="broken"):
        run(tmp_path / "run", Pictures(16), chunk_size=16)
    assert not compiled


@pytest.mark.slow
def test_error_of_a_full_disk_names_chunk_and_file_and_the_run_is_resumed(complete, tmp_path):
    """The full disk is simulated by a limit on the size of files."""
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
    assert_same_records(complete.records(), run(tmp_path / "run", Pictures(18)).records())


@pytest.mark.slow
def test_run_that_is_killed_repeatedly(tmp_path):
    """Each kill loses at most the chunk being computed."""
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
    assert_same_records(run(tmp_path / "complete", Pictures(80)).records(), run(out, Pictures(80)).records())
    assert not list(out.rglob(".*.tmp"))


@pytest.mark.slow
def test_killed_process_loses_only_its_own_chunks(complete, tmp_path):
    """Two processes share one run directory."""
    out = tmp_path / "run"
    codes = [f"run(Path({str(out)!r}), Pictures(18, pause={pause}), process='{i}/2')" for i, pause in ((0, 0), (1, 2))]
    survivor, victim = child(codes[0]), child(codes[1])
    finish(survivor)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert set(Run(out).store.finished()) >= {0, 2, 4}
    finish(child(codes[1].replace("pause=2", "pause=0")))
    assert_same_records(complete.records(), Run(out).records())


def finished_files(out):
    return list((out / "records").glob("chunk-*.parquet")) if (out / "records").is_dir() else []


def wait_until(condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_log_contains_the_events_of_a_run(complete):
    events = complete.store.logged()
    assert [event["event"] for event in events] == ["started", "finished"]
    assert events[0]["devices"] == jax.local_device_count() and events[1]["images"] == 18
    assert METHODS[0] in complete.config["methods"][0]["label"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data_set():
    """Ten times as many images in the same process raise the peak memory by less than 24 MiB."""
    code = """
import resource, tempfile
peaks = []
for count in (48, 480):
    run(Path(tempfile.mkdtemp()) / "run", Pictures(count), chunk_size=16)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(peaks[1] - peaks[0])
"""
    increase = float(finish(child(code)).splitlines()[-1])
    assert increase < 24, f"{increase} MiB"
