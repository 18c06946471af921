"""Ahead-of-time compilation for GPUs: the reported numbers, and the compiler itself where it is installed."""

import importlib.util
import json

import pytest

from benchmarks import gpu_compile

COMPILER = importlib.util.find_spec("jax_cuda13_plugin") is not None


def test_without_the_compiler_one_line_says_what_to_install(monkeypatch):
    def missing(name):
        raise gpu_compile.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(gpu_compile.importlib.metadata, "version", missing)
    with pytest.raises(SystemExit, match=r"pip install 'jax\[cuda13\]'"):
        gpu_compile.main([])


def test_table_compares_the_plan_with_none():
    costs = {"compile_s": 8.4, "temporary_MiB": 12.0, "kernels": 3}
    row = {"what": "rollout", "planned": costs, "not_planned": {**costs, "compile_s": 29.1}}
    about = {"model": "m", "dtype": "bfloat16", "batch": 4, "target": "NVIDIA H100", "jax": "1"}
    shown = gpu_compile.table({**about, "rows": [row]}).splitlines()
    assert shown[0] == "m, bfloat16, batch 4, NVIDIA H100, jax 1"
    assert shown[-1] == "| rollout | 8.4 | 29.1 | 12.0 | 12.0 |"


@pytest.mark.slow
@pytest.mark.skipif(not COMPILER, reason="the compiler for NVIDIA GPUs is not installed")
def test_the_plan_compiles_into_a_program_for_a_gpu(tmp_path):
    out = tmp_path / "gpu.json"
    gpu_compile.main(["--model", "vitjax_scenes", "--programs", "rollout", "--batch", "2", "--out", str(out)])
    (row,) = json.loads(out.read_text())["rows"]
    assert row["planned"]["kernels"] > 0 and row["planned"]["compile_s"] > 0
