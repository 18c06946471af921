"""`vitjax verify --methods`: what it reports, and that the shipped packages are all it needs."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from vitjax.errors import ConfigError
from vitjax.verifying.formulas import FORMULAS

pytest.importorskip("torch")  # before tests.timm_peers imports it

from tests.timm_peers import ARCH, named_in_table
from vitjax.cli.main import main
from weights_convert.live import config_of

pytestmark = pytest.mark.unoptimised

ROOT = Path(__file__).parents[2]


def write_weights(module, directory: Path) -> Path:
    path = directory / "tiny.safetensors"
    save_file({name: tensor.numpy() for name, tensor in module.state_dict().items()}, path)
    return path


@pytest.fixture
def verify(monkeypatch, tmp_path):
    """The arguments of `vitjax verify` for a tiny model with random weights."""
    weights = write_weights(named_in_table(monkeypatch), tmp_path)
    return ["verify", "--model", ARCH, "--weights", str(weights), "--images", "2", "--methods"]


def test_methods_are_compared_and_those_without_a_formula_are_named(verify, capsys):
    main([*verify, "rollout", "random", "integrated_gradients:steps=64,quadrature=adaptive"])
    printed = capsys.readouterr().out
    assert "\nrollout " in printed and "tolerance 1e-03: passed" in printed
    assert "without a formula: integrated_gradients(steps=64, quadrature=adaptive), random" in printed


def test_methods_without_a_formula_alone_are_named(verify, capsys):
    main([*verify, "random"])
    assert "without a formula: random" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [0.0, np.nan])
def test_a_map_that_differs_fails(wrong, verify, capsys, monkeypatch):
    formula, calls = FORMULAS["raw_attention"], []

    def wrong_on_the_second_image(run, **options):
        calls.append(run)
        return formula(run, **options) if len(calls) == 1 else np.full(run.config.grid, wrong).ravel() + np.eye(4)[0]

    monkeypatch.setitem(FORMULAS, "raw_attention", wrong_on_the_second_image)
    with pytest.raises(SystemExit) as exit_:
        main([*verify, "raw_attention", "rollout"])
    assert exit_.value.code == 1
    assert "tolerance 1e-03: FAILED" in capsys.readouterr().out


def test_a_missing_networkx_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(ConfigError, match=r"attention_flow needs networkx: pip install 'vitjax\[verify\]'"):
        FORMULAS["attention_flow"](None)


COMMAND = """
import json, sys
sys.modules["tests"] = sys.modules["benchmarks"] = None  # importing them fails, as with an installed wheel
import vitjax
from vitjax.cli.main import main
from vitjax.models.families import table

arch, weights, config = json.loads(sys.argv[1])
models = table()["models"]
models[arch] = {**models["deit_tiny_patch16_224"], "config": config}
arguments = ["--model", arch, "--weights", weights, "--images", "1", "--methods", "rollout", "lrp", "attention_flow"]
main(["verify", *arguments])
print(vitjax.__file__)
"""


@pytest.mark.slow
def test_the_shipped_packages_suffice(monkeypatch, tmp_path):
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for package in ("vitjax", "weights_convert"):
        shutil.copytree(ROOT / package, installed / package, ignore=shutil.ignore_patterns("__pycache__"))
    module = named_in_table(monkeypatch)
    argument = json.dumps([ARCH, str(write_weights(module, tmp_path)), asdict(config_of(module))])
    command = [sys.executable, "-c", COMMAND, argument]
    monkeypatch.setenv("PYTHONPATH", str(installed))
    done = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert "\nrollout " in done.stdout and "\nlrp " in done.stdout and "\nattention_flow " in done.stdout
    assert done.stdout.splitlines()[-1] == str(installed / "vitjax" / "__init__.py")
