"""Ahead-of-time compilation for TPUs: the reported numbers, and the compiler itself where it is installed."""

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


def compiled(temporary, **changes):
    """What `compile_for_tpu` returns for a program with so many MiB of temporary memory."""
    sizes = {"temporary": temporary * MIB, "arguments": 100 * MIB, "results": 0}
    return {**sizes, "compile_s": 1.0, "gflop_per_image": 2.0, "collectives": [], "host_calls": [], **changes}


def test_largest_batch_is_extrapolated_linearly():
    assert largest_batch([(32, compiled(10)), (128, compiled(106))], memory=1000 * MIB) == 32 + (1000 - 110)
    assert largest_batch([(32, compiled(10)), (128, {"error": "does not fit"})]) is None


def test_table_shows_memory_communication_and_errors():
    small, large, four = tasks("m", "bfloat16", ["rollout"])
    other = dict(zip(("small", "large", "four"), tasks("m", "bfloat16", ["lrp"]), strict=True))
    assert [task.topology for task in (small, large, four)] == [ONE_CHIP, ONE_CHIP, FOUR_CHIPS]
    assert [task.batch for task in (small, large)] == [*BATCHES]
    good = row({small: compiled(10), large: compiled(20), four: compiled(10)}, "m", "bfloat16", "rollout")
    assert good["errors"] == [] and good["MiB_at_32"]["temporary"] == 10
    bad = row(
        {
            other["small"]: compiled(10),
            other["large"]: {"error": "Ran out of memory"},
            other["four"]: compiled(1, collectives=["all-gather"]),
        },
        "m",
        "bfloat16",
        "lrp",
    )
    about = {"model": "m", "dtype": "bfloat16", "topology": "v5e", "libtpu": "1"}
    shown = table({**about, "rows": [good, bad]}).splitlines()
    assert "| rollout | 2.0 | 10.0 | 20.0 |" in shown[-2] and "no communication, no host calls" in shown[-2]
    assert "does not fit" in shown[-1] and "all-gather" in shown[-1]


def test_rows_of_other_programs_are_kept_for_the_same_model(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(tpu_compile.importlib.metadata, "version", lambda name: "1")
    monkeypatch.setattr(tpu_compile, "_compile_in_process", lambda task: compiled(10))
    out = tmp_path / "tpu.json"
    tpu_compile.main(["--methods", "rollout", "--out", str(out)])
    tpu_compile.main(["--methods", "gmar", "--out", str(out)])
    assert [program["what"] for program in json.loads(out.read_text())["rows"]] == ["rollout", "gmar"]
    tpu_compile.main(["--methods", "gmar", "--model", "another", "--out", str(out)])
    assert [program["what"] for program in json.loads(out.read_text())["rows"]] == ["gmar"]
    assert str(out) in capsys.readouterr().out


def test_error_without_the_compiler_names_the_package(monkeypatch):
    def absent(name):
        raise tpu_compile.importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(tpu_compile.importlib.metadata, "version", absent)
    with pytest.raises(SystemExit, match="tpu-aot"):
        tpu_compile.main([])


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="the TPU compiler is not installed: vitjax[tpu-aot]"
)
def test_method_compiles_for_four_chips_without_communication():
    program = tpu_compile._compile_in_process(Task("vitjax_scenes", "bfloat16", "transformer_mm", FOUR_CHIPS, 8))
    assert program["collectives"] == program["host_calls"] == [] and program["temporary"] > 0
