"""benchmarks.accelerator: searches, deadlines and tables, and a complete run with a tiny model."""

import json
import os
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.accelerator import engine, parity, sections
from benchmarks.accelerator.device import peaks_of
from benchmarks.accelerator.setup import DRY_RUN, Clock, Peaks
from benchmarks.accelerator.table import render, targets
from benchmarks.accelerator.throughput import roofline
from benchmarks.accelerator.timing import best_batch, timed
from benchmarks.harness import BATCHED, HOOKS, Case
from tests.conftest import SHARED, needs_shared
from vitjax.execution.flops import Product, products

ROOT = Path(__file__).parents[2]
NEEDED = ("jax", "flax", "numpy", "pillow", "safetensors", "jinja2", "matplotlib", "scipy")
"""The distributions that the run needs; their own requirements are added."""


def clock_of(seconds=60.0):
    """A clock whose deadline is in so many seconds."""
    return Clock(time.time() + seconds, rounds=3, round_seconds=0.001)


def fake_case(monkeypatch, rates):
    """Cases with the given images per second by batch. A batch that is not given does not fit into memory."""
    from benchmarks.accelerator import timing

    def case_at(batch):
        if batch not in rates:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return Case(lambda: batch, items=batch, compile_s=0.5)

    def fake_timed(run, clock):
        return timing.Timed(run() / rates[run()], [run() / rates[run()]])

    monkeypatch.setattr(timing, "timed", fake_timed)
    return case_at


@pytest.mark.parametrize(
    ("rates", "batch", "tried"),
    [
        ({8: 100, 16: 150, 32: 152, 64: 999}, 32, [8, 16, 32]),  # from 150 to 152 is less than the required growth
        ({8: 100, 16: 90, 32: 999}, 8, [8, 16]),
        ({8: 100, 16: 150}, 16, [8, 16, 32]),  # 32 does not fit
        ({2: 50, 1: 30}, 2, [8, 4, 2]),  # 8 and 4 do not fit
        ({8: 100, 16: 200, 32: 400, 64: 800, 128: 1600}, 64, [8, 16, 32, 64]),  # 64 is the limit
    ],
)
def test_batch_is_doubled_while_it_is_faster_and_fits(monkeypatch, rates, batch, tried):
    best = best_batch(fake_case(monkeypatch, rates), 8, 64, clock_of())
    assert best.batch == batch and [attempt["batch"] for attempt in best.tried] == tried
    assert best.case.items / best.timed.seconds == rates[batch]


def test_search_ends_if_no_batch_fits_or_no_time_is_left(monkeypatch):
    assert best_batch(fake_case(monkeypatch, {}), 8, 64, clock_of()) is None
    best = best_batch(fake_case(monkeypatch, {8: 1, 16: 9}), 8, 64, clock_of(-1))
    assert best.batch == 8
    with pytest.raises(RuntimeError, match="another"):
        best_batch(lambda batch: (_ for _ in ()).throw(RuntimeError("another")), 8, 64, clock_of())


def test_rounds_of_several_calls_report_seconds_per_call():
    calls = []
    times = timed(lambda: calls.append(time.sleep(0.002)), Clock(time.time() + 9, rounds=4, round_seconds=0.02))
    assert len(times.rounds) == 4 and len(calls) > 20
    assert 0.002 < times.seconds < 0.02


def test_rounds_keep_no_results_but_the_last():
    alive = weakref.WeakSet()
    most = 0

    class Result:
        pass

    def run():
        nonlocal most
        result = Result()
        alive.add(result)
        most = max(most, len(alive))
        return result

    timed(run, Clock(time.time() + 9, rounds=3, round_seconds=0.001))
    assert most <= 2  # the next result exists before the last one is dropped


@pytest.mark.parametrize(("platform", "flags"), [("gpu", "--xla_of_gpus"), ("cpu", ""), (None, "")])
def test_flags_of_a_section_are_set_on_gpus_only(platform, flags, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    section = sections.Section("tests.benchmarks.sections_that_end", "reading_flags", 1, "--xla_of_gpus")
    monkeypatch.setattr(sections, "SECTIONS", {"reading_flags": section})
    (row,) = sections.rows_of("reading_flags", DRY_RUN, None, time.time() + 60, platform)
    assert row == {"case": flags}


def test_roofline_sums_the_longer_of_compute_and_memory_time():
    peaks = Peaks({"bfloat16": 100.0, "float32": 10.0}, 50.0)
    compute_bound = Product(flops=200.0, bytes=10, dtype="bfloat16", times=3)
    memory_bound = Product(flops=10.0, bytes=100, dtype="float32", times=1)
    assert roofline([compute_bound, memory_bound], peaks) == pytest.approx(3 * 2 + 2)
    a, b = jnp.ones((3, 4)), jnp.ones((4, 5), jnp.float32)
    (product,) = products(jax.jit(lambda a, b: a @ b), a, b)
    assert product == Product(2 * 3 * 4 * 5, 4 * (12 + 20 + 15), "float32", 1)


ENDS = {
    "completing": ["first", "second"],
    "raising": ["first", "ValueError: of two lines"],
    "exiting": ["first", "its process ended with 7"],
    "hanging": ["first", "cut off at its deadline"],
}


@pytest.mark.parametrize("how", [pytest.param(name, marks=[pytest.mark.slow] * (name == "hanging")) for name in ENDS])
def test_rows_of_a_section_are_received_however_it_ends(how, monkeypatch):
    section = sections.Section("tests.benchmarks.sections_that_end", how, 1)
    monkeypatch.setattr(sections, "SECTIONS", {how: section})
    monkeypatch.setattr(sections, "GRACE", 0.5)
    started = time.time()
    rows = list(sections.rows_of(how, DRY_RUN, None, started + (5 if how == "hanging" else 60)))
    assert [row.get("status", row["case"]) for row in rows] == ENDS[how]
    assert time.time() - started < 30


def results_of(**sections):
    return {"dry_run": False, "sections": {name: {"seconds": 1.0, "rows": rows} for name, rows in sections.items()}}


def parity_row(case, name, error, spearman, **tolerance):
    return {"case": case, "map": name, "largest_error": error, "spearman": spearman, **tolerance}


def test_targets_are_compared_with_the_results():
    verdicts = {line[0]: line[2:] for line in targets(results_of())}
    assert set(verdicts.values()) == {("not measured", "?")}
    results = results_of(
        device=[{"case": "about", "device": "A chip"}],
        parity=[
            parity_row("float32, highest", "a", 1e-6, 1.0, tolerance=1e-5, met=True),
            parity_row("float32, highest", "b", 0.1, None, tolerance=None, met=None),
            parity_row("bfloat16, default", "a", 0.02, 0.9),
        ],
        throughput=[
            {"case": "logits", "images_per_s": 900.0, "mfu": 0.46, "rounds": [1.0]},
            {"case": "transformer_mm", "images_per_s": 300.0, "mfu": 0.2},
        ],
        peers=[
            {"case": "transformer_mm", "who": HOOKS, "images_per_s": 5.0},
            {"case": "transformer_mm", "who": BATCHED, "images_per_s": 200.0},
        ],
        engine=[{"case": "one chunk"}, {"case": "engine", "seconds_for_50000": 119.0}],
    )  # fmt: skip
    verdicts = {line[0]: line[2:] for line in targets(results)}
    assert verdicts["maps at full precision within their recorded tolerance"] == ("1 of 1", "yes")
    assert verdicts["logits, MFU"] == ("46.0%", "yes")
    assert verdicts["transformer_mm, MFU"] == ("20.0%", "**no**")
    assert verdicts["transformer_mm, times PyTorch with hooks, one image"] == ("60.0", "yes")
    assert verdicts["transformer_mm, times PyTorch batched by hand"] == ("1.50", "**no**")
    assert verdicts["50,000 images through the engine"] == ("119 s", "yes")
    shown = render(results)
    assert "## vitjax on A chip" in shown and "| a | 1e-05 | True | 1.0e-06, 1.0 | 2.0e-02, 0.9 |" in shown
    assert "rounds" not in shown


def test_peaks_need_every_rate():
    rows = [
        {"case": f"product {name}", "tflops": rate} for name, rate in (("bfloat16", 8), ("tf32", 4), ("float32", 1))
    ]
    assert peaks_of(rows) is None
    peaks = peaks_of([*rows, {"case": "copy within the device", "GB_per_s": 3}])
    assert peaks.flops["bfloat16"] == 8e12 and peaks.flops["float32"] == 4e12 and peaks.bytes == 3e9


def test_synthetic_images_have_an_object_each():
    source = engine.synthetic_images(70, (32, 48), distinct=5)
    (samples,) = source.chunks([range(70)], (32, 48))
    assert samples.pixels.shape == (70, 32, 48, 3) and set(np.unique(samples.masks)) == {0, 255}
    assert set(samples.mask_state) == {"object"} and len(set(samples.ids)) == len(source.ids) == 70
    np.testing.assert_array_equal(samples.pixels[3], samples.pixels[68])


@pytest.mark.slow
def test_engine_section_writes_every_record():
    chunk, run = engine.measure(replace(DRY_RUN, images=24), clock_of(), None)
    assert chunk["first_s"] > chunk["again_s"]
    assert run["images"] == 24 and run["records"] == "written"
    assert run["seconds_for_50000"] == pytest.approx(50_000 * run["seconds"] / 24, rel=0.01)


@needs_shared
def test_recorded_references_are_of_methods_of_the_shared_pass():
    images, target, references = parity.recorded(SHARED / "golden")
    assert len(images) == len(target) == 5
    methods = {reference.method["method"] for reference in references}
    assert {"rollout", "transformer_mm", "lrp"} < methods and not methods & {"occlusion", "tam", "attention_flow"}
    assert all(len(reference.maps) == 5 for reference in references)


# sitecustomize.py of a process in which only NEEDED and their requirements can be imported.
BLOCKER = """
import importlib.metadata, re, sys

def distributions(names):
    closure, left = set(), list(names)
    while left:
        name = re.split(r"[^A-Za-z0-9._-]", left.pop())[0].lower().replace("_", "-")
        if name not in closure:
            try:
                requirements = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue
            closure.add(name)
            left += [requirement for requirement in requirements if "extra ==" not in requirement]
    return closure

allowed = distributions({needed!r})
modules = {{
    module
    for module, names in importlib.metadata.packages_distributions().items()
    if not any(name.lower().replace("_", "-") in allowed for name in names)
}}

modules -= {{"vitjax", "weights_convert"}}

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in modules else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
"""


@pytest.mark.slow
def test_complete_run_needs_no_other_packages(tmp_path):
    """A dry run of the source tree in which only NEEDED can be imported, as on a machine with few packages."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER.format(needed=NEEDED))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, "-m", "benchmarks.accelerator", "--dry-run", "--out", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": path}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    (written,) = tmp_path.glob("accelerator_*.json")
    results = json.loads(written.read_text())
    assert results["dry_run"] and [*results["sections"]] == [*sections.SECTIONS]
    rows = {name: section["rows"] for name, section in results["sections"].items()}
    status = [row["status"] for section in rows.values() for row in section if "status" in row]
    assert status == ["not installed: torch, timm"], process.stderr
    assert {row["case"] for row in rows["throughput"]} == {*DRY_RUN.whats}
    assert all(row["images_per_s"] > 0 and row["share_of_roofline"] > 0 for row in rows["throughput"])
    assert rows["engine"][-1]["images"] == DRY_RUN.images and "no pyarrow" in rows["engine"][-1]["records"]
    assert all(row["largest_error"] == 0 for row in rows["parity"] if row["case"] == "float32, highest")
    assert "### engine" in process.stdout


@pytest.mark.slow
def test_peers_are_timed_on_the_same_model():
    from tests.torch_peer import import_timm

    import_timm()
    from benchmarks.accelerator import peers

    rows = list(peers.measure(replace(DRY_RUN, dtype="float32"), clock_of(), None))
    by_peer = {(row["case"], row["who"]): row for row in rows}
    assert by_peer["transformer_mm", BATCHED]["images_per_s"] > 0 and by_peer["logits", HOOKS]["batch"] == 1
    assert ("folds", BATCHED) in by_peer and ("folds", HOOKS) not in by_peer
