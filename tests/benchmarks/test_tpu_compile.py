"""Ahead-of-time compilation for TPUs: figures of a program, and the compiler itself where it is installed."""

import importlib.util
import json

import pytest

from benchmarks import tpu_compile
from benchmarks.tpu_compile import (
    BATCHES,
    FOUR_CHIPS,
    ONE_CHIP,
    Task,
    largest_batch,
    row,
    table,
    tasks,
)

MIB = 2**20


def found(temporary, **changes):
    sizes = {"temporary": temporary * MIB, "arguments": 100 * MIB, "results": 0}
    return {**sizes, "compile_s": 1.0, "gflop_per_image": 2.0, "collectives": [], "host_calls": [], **changes}


def test_the_largest_batch_lies_on_the_line_through_both():
    assert largest_batch([(32, found(10)), (128, found(106))], memory=1000 * MIB) == 32 + (1000 - 110)
    assert largest_batch([(32, found(10)), (128, {"error": "does not fit"})]) is None


def test_a_row_says_what_the_compiler_said():
    one, more, four = tasks("m", "bfloat16", ["rollout"])
    other = dict(zip(("one", "more", "four"), tasks("m", "bfloat16", ["lrp"]), strict=True))
    assert [each.topology for each in (one, more, four)] == [ONE_CHIP, ONE_CHIP, FOUR_CHIPS]
    assert [each.batch for each in (one, more)] == [*BATCHES]
    good = row({one: found(10), more: found(20), four: found(10)}, "m", "bfloat16", "rollout")
    assert good["errors"] == [] and good["MiB_at_32"]["temporary"] == 10
    bad = row(
        {
            other["one"]: found(10),
            other["more"]: {"error": "Ran out of memory"},
            other["four"]: found(1, collectives=["all-gather"]),
        },
        "m",
        "bfloat16",
        "lrp",
    )
    about = {"model": "m", "dtype": "bfloat16", "topology": "v5e", "libtpu": "1"}
    shown = table({**about, "rows": [good, bad]}).splitlines()
    assert "| rollout | 2.0 | 10.0 | 20.0 |" in shown[-2] and "no communication, no host calls" in shown[-2]
    assert "does not fit" in shown[-1] and "all-gather" in shown[-1]


def test_rows_are_written_one_by_one_and_kept(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(tpu_compile.importlib.metadata, "version", lambda name: "1")
    monkeypatch.setattr(tpu_compile, "_in_a_process", lambda task: found(10))
    out = tmp_path / "tpu.json"
    tpu_compile.main(["--methods", "rollout", "--out", str(out)])
    tpu_compile.main(["--methods", "gmar", "--out", str(out)])
    assert [each["what"] for each in json.loads(out.read_text())["rows"]] == ["rollout", "gmar"]
    tpu_compile.main(["--methods", "gmar", "--model", "another", "--out", str(out)])
    assert [each["what"] for each in json.loads(out.read_text())["rows"]] == ["gmar"]
    assert str(out) in capsys.readouterr().out


def test_without_the_compiler_it_says_how_to_get_it(monkeypatch):
    def absent(name):
        raise tpu_compile.importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(tpu_compile.importlib.metadata, "version", absent)
    with pytest.raises(SystemExit, match="tpu-aot"):
        tpu_compile.main([])


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="the TPU compiler is not installed: vitjax[tpu-aot]"
)
def test_a_method_compiles_for_four_chips_without_communication():
    said = tpu_compile._in_a_process(Task("vitjax_scenes", "bfloat16", "transformer_mm", FOUR_CHIPS, 8))
    assert said["collectives"] == said["host_calls"] == [] and said["temporary"] > 0
