"""`vitjax verify --methods`: what it reports, and that the shipped packages are all it needs."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from vitjax.errors import ConfigError
from vitjax.verifying.formulas import FORMULAS

pytest.importorskip("torch")  # before tests.timm_peers imports it

from tests.cases import ARCHITECTURES, CONFIGS, tiny_model
from tests.timm_peers import ARCH, named_in_table
from vitjax.cli.main import main
from vitjax.models.families import find, of_the_same_kind
from vitjax.verifying.parity import check_formulas_know
from weights_convert import check
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
    printed, progress = capsys.readouterr()
    assert "5/5 steps" in progress  # maps and PyTorch's gradients of two images, one formula
    assert "\nrollout " in printed and "tolerance 1e-03: passed" in printed
    assert "without a formula: integrated_gradients(steps=64, quadrature=adaptive), random" in printed


def test_methods_of_an_architecture_that_the_formulas_lack_are_refused():
    for name, feature in (("rotary", "rotary"), ("pooling_head", "pool=map"), ("rms", "norm")):
        with pytest.raises(ConfigError, match=feature):
            check_formulas_know(ARCHITECTURES[name], name)
    for name in ("plain", "distilled", "swiglu", "clip", "registers", "gap"):
        check_formulas_know(CONFIGS[name], name)


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


def test_the_bundled_model_is_verified_with_timms_class(capsys):
    main(["verify", "--model", "vitjax_scenes"])
    assert "block 5" in (printed := capsys.readouterr().out) and "passed" in printed


@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch16_224",
        "deit3_small_patch16_224",
        "vit_giant_patch14_reg4_dinov2",
        "vit_medium_patch16_gap_240",
        "vit_base_patch32_clip_quickgelu_224",
        "deit_tiny_distilled_patch16_224",
        "beit_base_patch16_224",
        "vit_base_patch16_siglip_224",
    ],
)
def test_a_model_of_other_sizes_is_compared_with_timms_architecture_of_the_same_kind(name, monkeypatch):
    """As for a file whose architecture has no name."""
    sizes = {"width": 24, "depth": 2, "heads": 2, "mlp_dim": 52, "patch_size": 8, "image_size": (32, 24)}
    config = replace(find(name).config, **sizes, num_classes=5, embedding=0)
    if config.pool == "map":
        config = replace(config, pool_heads=2, pool_mlp_dim=52, num_classes=0)
    monkeypatch.setitem(CONFIGS, "tuned", config)
    model = tiny_model("tuned")
    module = check.peer_of(model, "tuned", like=of_the_same_kind(config))
    assert config_of(module) == config  # that of a module by size, not by name
    assert check.compare_on_noise(model, module).passed


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
