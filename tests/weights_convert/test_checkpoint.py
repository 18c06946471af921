"""vitjax's checkpoint directories and the command that writes them: complete, damaged and unfinished directories."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import vitjax
from tests.conftest import SHARED, needs_shared
from tests.timm_peers import ARCH, named_in_table
from vitjax.errors import ConfigError, UnknownNameError, WeightsError
from weights_convert import __main__ as cli
from weights_convert import checkpoint, source
from weights_convert.load import digest
from weights_convert.stored import file_digests


@pytest.fixture
def module(monkeypatch):
    return named_in_table(monkeypatch)


@pytest.fixture
def file(module, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_file({key: value.numpy() for key, value in module.state_dict().items()}, path)
    return path


def test_checkpoint_directory_round_trip(module, tmp_path):
    expected = vitjax.from_timm(module)
    out = checkpoint.write_checkpoint(
        tmp_path / "made" / "out", expected.params, expected.config, ARCH, {"path": "here", "sha256": "0"}
    )
    model = vitjax.load(ARCH, weights=out)
    assert model.weights["format"] == "orbax" and model.weights["sha256"] == expected.weights["sha256"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["arch"] == ARCH and manifest["source"] == {"path": "here", "sha256": "0"}
    assert digest(manifest["sha256"]) == expected.weights["sha256"] and "jax" in manifest["versions"]


# ---- damaged directories


@pytest.fixture
def directory(module, tmp_path):
    model = vitjax.from_timm(module)
    return checkpoint.write_checkpoint(tmp_path / "out", model.params, model.config, ARCH, {})


def test_flipped_bits_are_detected(directory):
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 100_000  # the files include the arrays
    for path in files:
        content = path.read_bytes()
        for position in np.linspace(0, len(content) - 1, 7).astype(int):
            flipped = bytearray(content)
            flipped[position] ^= 4
            path.write_bytes(flipped)
            with pytest.raises(WeightsError, match="damaged"):
                checkpoint.read_checkpoint(directory)
        path.write_bytes(content)
    checkpoint.read_checkpoint(directory)


def test_altered_array_is_detected_by_its_sha256(directory, module):
    import orbax.checkpoint as ocp

    params = vitjax.from_timm(module).params
    params["norm"]["bias"] = params["norm"]["bias"].at[3].add(1e-6)
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(directory / "arrays", params, force=True)
    with pytest.raises(WeightsError, match=r"sha256 differs from the manifest for .*ocdbt"):
        vitjax.load(ARCH, weights=directory)
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["files"] = file_digests(directory / "arrays")
    manifest["seal"] = checkpoint._seal(manifest)
    (directory / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match=r"sha256 differs from the manifest for norm.bias$"):
        vitjax.load(ARCH, weights=directory)


def test_unfinished_directory_or_another_architecture_is_refused(directory, module):
    with pytest.raises(WeightsError, match=f"contains {ARCH}, not deit_tiny_patch16_224"):
        vitjax.load("deit_tiny_patch16_224", weights=directory)
    with pytest.raises(WeightsError, match=r"1000 classes; requested: .* 7 classes"):
        vitjax.load(ARCH, weights=directory, num_classes=7)
    (directory / "manifest.json").unlink()
    with pytest.raises(WeightsError, match=r"no manifest.json"):
        vitjax.load(ARCH, weights=directory)


# ---- the command line


def test_convert_and_verify(module, file, tmp_path, capsys):
    assert cli.convert(str(file), arch=ARCH, out=tmp_path / "out", verify=True) == 0
    printed = capsys.readouterr().out
    assert "max |Δlogit|" in printed and "block 1" in printed and "passed" in printed
    manifest = checkpoint.read_manifest(tmp_path / "out")
    assert manifest["source"]["path"] == str(file) and len(manifest["source"]["sha256"]) == 64


def test_verify_fails_beyond_tolerance(module, file, tmp_path, capsys, monkeypatch):
    from weights_convert import check

    timm_peer = check.timm_peer

    def altered_peer(config, state, arch, like):
        return timm_peer(config, state | {"norm.bias": state["norm.bias"] + 0.01}, arch, like)

    monkeypatch.setattr(check, "timm_peer", altered_peer)
    assert cli.convert(str(file), arch=ARCH, out=tmp_path / "out", verify=True) == 1
    assert "FAILED" in capsys.readouterr().out


def test_output_directory_is_checked_before_the_source_is_read(module, file, tmp_path):
    with pytest.raises(ConfigError, match="not empty"):  # rather than WeightsError for the missing source
        cli.convert("missing.safetensors", arch=ARCH, out=tmp_path)
    with pytest.raises(ConfigError, match="cannot be used as the output directory"):
        cli.convert(str(file), arch=ARCH, out=file / "below")
    with pytest.raises(UnknownNameError, match="did you mean"):
        cli.convert(str(file), arch="deit_tiny_patch_224", out=tmp_path / "new")


@needs_shared
@pytest.mark.slow
def test_command_line_on_real_weights(tmp_path):
    weights = SHARED / "data" / "deit_tiny_patch16_224.safetensors"
    arguments = [str(weights), "--arch", "deit_tiny_patch16_224", "-o", str(tmp_path / "out"), "--verify"]
    command = [sys.executable, "-m", "weights_convert"]
    root = Path(__file__).parents[2]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert "5,717,416 parameters" in done.stdout and "block 11" in done.stdout and "passed" in done.stdout
    again = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=root)
    assert again.returncode == 2 and again.stderr.startswith("error: ") and "not empty" in again.stderr
    assert source.locate(tmp_path / "out")[1] == "orbax"
