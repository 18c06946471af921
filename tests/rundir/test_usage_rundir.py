"""`vitjax.rundir` in use: chunks of records are written, damaged, noticed and counted."""

import json

import numpy as np
import pytest

from tests.report.synthetic import base
from vitjax.errors import RunError
from vitjax.rundir.saved_maps import MAPS, chunks_without_maps, read_maps, save_maps
from vitjax.rundir.sealed import read_profile, sealed
from vitjax.rundir.status import status
from vitjax.rundir.store import RunStore

CONFIG = {"methods": [{"label": "rollout"}, {"label": "random"}], "count": 5, "chunk_size": 2, "seed": 0}


def records(first, count, **columns):
    """The records of a chunk: `count` images from number `first` on, of both methods."""
    table = base(["rollout", "random"], count, **columns)
    index = np.repeat(np.arange(first, first + count), 2)
    ids = [f"image{number}" for number in index]
    for name, values in {"index": index, "image_id": ids}.items():
        table = table.set_column(table.column_names.index(name), name, [values])
    return table


def test_a_damaged_chunk_is_not_finished_and_is_written_again(tmp_path):
    store = RunStore.create(tmp_path / "run", CONFIG)
    paths = [store.write(chunk, records(2 * chunk, 2)) for chunk in (1, 0)]
    assert store.records()["index"].to_pylist() == [0, 0, 1, 1, 2, 2, 3, 3]
    data = bytearray(paths[1].read_bytes())
    data[len(data) // 2] ^= 1
    paths[1].write_bytes(data)

    opened = RunStore.open(tmp_path / "run")
    assert opened.finished() == {1: paths[0]} and opened.damaged() == [paths[1]]
    assert opened.records()["index"].to_pylist() == [2, 2, 3, 3]
    assert status(opened).damaged == [paths[1].name]
    assert opened.remove_damaged() == [f"{paths[1]}: damaged, its chunk will be recomputed"]
    again = RunStore.open(tmp_path / "run")
    assert again.write(0, records(0, 2)) == paths[1]  # equal records have the same name
    assert sorted(again.finished()) == [0, 1]


def test_a_run_is_continued_with_the_same_settings_only(tmp_path):
    RunStore.create(tmp_path / "run", CONFIG).write(0, records(0, 2))
    assert sorted(RunStore.create(tmp_path / "run", CONFIG).finished()) == [0]
    with pytest.raises(RunError, match=r'methods: \["rollout", "random"\] -> \["rollout"\]\n  seed: 0 -> 1'):
        RunStore.create(tmp_path / "run", {**CONFIG, "methods": CONFIG["methods"][:1], "seed": 1})


def test_the_status_counts_images_and_says_why_some_were_skipped(tmp_path):
    store = RunStore.create(tmp_path / "run", CONFIG)
    unreadable = {"status": ["ok", "degenerate", "unreadable", "unreadable"], "cause": ["", "", "empty", "empty"]}
    store.write(0, records(0, 2, **unreadable))
    store.log("0-of-1", event="finished", images_per_second=12.5)
    found = status(store)
    assert (found.chunks, found.done, found.evaluated, found.left) == (3, 1, 1, 3)
    assert found.skipped == {"unreadable": 1} and found.maps == {("random", "degenerate"): 1}
    lines = str(found).splitlines()
    assert lines[:2] == ["1 of 3 chunks done, 2 left", "5 images: 1 evaluated, 1 skipped, 3 left"]
    assert lines[2] == "  1 unreadable (the image cannot be decoded): image1: empty"
    assert lines[-1].startswith("process 0-of-1: finished ") and lines[-1].endswith(", 12.5 images/s")


def test_saved_maps_of_any_magnitude_are_read_in_their_own_unit(tmp_path):
    store = RunStore.create(tmp_path / "run", CONFIG)
    maps = np.random.default_rng(0).normal(size=(2, 4, 4)) * np.asarray([1e-9, 1e6])[:, None, None]
    save_maps(store, 0, ["a", "b"], {"rollout": maps}, "float16")
    saved = read_maps(tmp_path / "run", "rollout")
    for name, raw in zip("ab", maps, strict=True):
        np.testing.assert_allclose(saved[name], raw, atol=1e-3 * np.abs(raw).max())
    with pytest.raises(RunError, match="contains no maps of 'random', only of rollout"):
        read_maps(tmp_path / "run", "random")


def test_record_files_of_another_run_or_chunk_are_not_finished(tmp_path):
    store = RunStore.create(tmp_path / "run", CONFIG)
    own = store.write(0, records(0, 2))
    other = RunStore.create(tmp_path / "other", {**CONFIG, "seed": 1}).write(1, records(2, 2))
    foreign = own.with_name(other.name)
    foreign.write_bytes(other.read_bytes())
    copied = own.with_name(own.name.replace("chunk-00000", "chunk-00002"))
    copied.write_bytes(own.read_bytes())
    opened = RunStore.open(tmp_path / "run")
    assert opened.finished() == {0: own} and opened.damaged() == [foreign, copied]
    assert len(opened.remove_damaged()) == 2 and not foreign.exists()


def test_changed_settings_and_profiles_are_refused(tmp_path):
    store = RunStore.create(tmp_path / "run", CONFIG)
    path = tmp_path / "run" / "run.json"
    text = path.read_text()
    for damaged in (text.replace('"seed": 0', '"seed": 2'), text.replace('"digest"', '"digesr"'), "[1]", "[" * 100_000):
        path.write_text(damaged)
        with pytest.raises(RunError, match=r"run.json: damaged: (the content does not|not a JSON object|it nests)"):
            RunStore.open(tmp_path / "run")
    path.write_text(json.dumps({"config": CONFIG, "opened": None}))  # as older versions wrote it
    assert RunStore.open(tmp_path / "run").config == CONFIG
    profile = {"device": "cpu", "methods": {"rollout": {"images_per_second": 9.0}}}
    for other in (sealed(profile, of="another run"), {**sealed(profile, of=store.identity), "device": "gpu"}, {}):
        (tmp_path / "run" / "profile.json").write_text(json.dumps(other))
        with pytest.raises(RunError, match=r"profile.json: damaged"):
            read_profile(tmp_path / "run", CONFIG)
    (tmp_path / "run" / "profile.json").write_text(json.dumps(sealed(profile, of=store.identity)))
    assert read_profile(tmp_path / "run", CONFIG) == profile


def test_damaged_lines_of_the_log_are_left_out_and_counted(tmp_path):
    store = RunStore.create(tmp_path / "run", CONFIG)
    store.log("0-of-1", event="started", images=5)
    path = tmp_path / "run" / "log" / "0-of-1.jsonl"
    whole = path.read_text()
    path.write_text(whole + "5\n" + whole.replace('"images": 5', '"images": 7') + whole[:40])
    store.log("0-of-1", event="finished", images=5)
    assert [(event["event"], event["images"]) for event in store.logged()] == [("started", 5), ("finished", 5)]
    assert "3 damaged lines of the log are left out" in str(status(store))
    path.write_text('{"time": "2025-01-01T00:00:00", "event": "started"}\n')  # as older versions wrote it
    assert [event["event"] for event in store.logged()] == ["started"] and store.lost_log_lines() == 0


def test_saved_maps_that_are_missing_or_of_another_run_are_noticed(tmp_path):
    store = RunStore.create(tmp_path / "run", {**CONFIG, "save_maps": "float32"})
    maps = np.arange(32.0).reshape(2, 4, 4)
    identity = save_maps(store, 0, ["a", "b"], {"rollout": maps}, "float32")
    store.write(0, records(0, 2).replace_schema_metadata({MAPS: identity}))
    np.testing.assert_array_equal(read_maps(tmp_path / "run", "rollout")["b"], maps[1])
    assert chunks_without_maps(store) == set()
    path = tmp_path / "run" / "maps" / "chunk-00000.npz"
    save_maps(store, 0, ["a", "b"], {"rollout": maps + 1}, "float32")
    with pytest.raises(RunError, match=r"chunk-00000.npz: damaged: it has changed since it was written; remove it"):
        read_maps(tmp_path / "run", "rollout")
    other = RunStore.create(tmp_path / "other", CONFIG)  # before its first chunk is finished
    (tmp_path / "other" / "maps").mkdir()
    (tmp_path / "other" / "maps" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(RunError, match=r"chunk-00000.npz: damaged: it is of another run"):
        read_maps(other.directory, "rollout")
    path.rename(path.with_name("chunk-00001.npz"))
    with pytest.raises(RunError, match=r"chunk-00000.npz: missing"):
        read_maps(tmp_path / "run", "rollout")
    assert chunks_without_maps(store) == {0} and status(store).damaged == ["maps of chunk 0"]
