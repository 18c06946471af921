"""What a file declares is compared with its size and its shapes before memory is allocated for it."""

import json
import resource
import struct
import zipfile
from dataclasses import asdict

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save, save_file

import vitjax
from tests.timm_peers import ARCH, named_in_table, torch
from vitjax.errors import ConfigError, WeightsError
from vitjax.models.load import BUNDLED, BUNDLED_FILE
from weights_convert import checkpoint
from weights_convert.load import read_state


def peak_bytes():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def changed_header(path, **changes):
    """The bundled model, with other metadata."""
    with safe_open(BUNDLED_FILE, "np") as file:
        metadata = {key: json.loads(text) for key, text in file.metadata().items()}
    for key, value in changes.items():
        metadata[key] = {**metadata[key], **value} if key == "config" else value
    save_file(load_file(BUNDLED_FILE), path, metadata={key: json.dumps(value) for key, value in metadata.items()})
    return path


@pytest.mark.parametrize(
    "field",
    [{"depth": 10**9}, {"depth": 5}, {"width": 256}, {"image_size": [10**6, 10**6]}, {"num_classes": 10**12}],
)
def test_configuration_in_a_header_is_compared_with_the_shapes(tmp_path, field):
    before = peak_bytes()
    path = changed_header(tmp_path / "w.safetensors", config=field)
    with pytest.raises(WeightsError, match=r"w\.safetensors: the header says width .*; the tensors have width 128"):
        vitjax.load(BUNDLED, weights=path)
    assert peak_bytes() < before + 2**27


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"config": {"depth": "6"}}, "depth must be an integer of at least 1, not '6'"),
        ({"config": {"depth": True}}, "depth must be an integer"),
        ({"config": {"heads": 0}}, "heads must be an integer of at least 1, not 0"),
        ({"config": {"patch_size": -8}}, "patch_size must be"),
        ({"config": {"image_size": [64]}}, "image_size must be"),
        ({"config": {"image_size": None}}, "image_size must be"),
        ({"config": {"layer_scale": "false"}}, "layer_scale must be true or false, not 'false'"),
        ({"config": {"pool": "max"}}, "pool must be one of token, avg, avg_all, token_avg, map, map_all, not 'max'"),
        ({"config": {"norm_eps": float("nan")}}, "norm_eps must be a number"),
        ({"config": {"colour": 1}}, "not a ViT configuration"),
        ({"mean": [0.5, 0.5]}, "inhomogeneous|three finite numbers"),
        ({"std": [0.5, float("inf"), 0.5]}, "finite"),
        ({"classes": "abcdefghij"}, "classes must be a list"),
        ({"classes": ["a", "b"]}, "classes are not 10 names"),
        ({"classes": [1] * 10}, "classes are not 10 names"),
    ],
)
def test_fields_of_a_header_are_checked(tmp_path, changes, cause):
    path = changed_header(tmp_path / "w.safetensors", **changes)
    with pytest.raises(WeightsError, match=cause) as caught:
        vitjax.load(BUNDLED, weights=path)
    assert "w.safetensors" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("field", [{"depth": 0}, {"heads": -1}, {"num_classes": -1}, {"norm_eps": 2.0}])
def test_configuration_of_a_user_is_checked_in_the_same_way(field):
    with pytest.raises(ConfigError, match=next(iter(field))):
        vitjax.ViTConfig(**{"width": 64, "depth": 2, "heads": 2, "mlp_dim": 128, **field})


@pytest.mark.parametrize("length", [0x3C20, 0x3C0A, 0x0A3C])
def test_length_of_a_header_may_look_like_html(length, monkeypatch, tmp_path):
    state = {key: value.numpy() for key, value in named_in_table(monkeypatch).state_dict().items()}
    content = save(state)
    end = 8 + struct.unpack("<Q", content[:8])[0]
    content = struct.pack("<Q", length) + content[8:end].ljust(length) + content[end:]
    assert content.lstrip().startswith(b"<")
    (tmp_path / "w.safetensors").write_bytes(content)
    assert vitjax.load(ARCH, weights=tmp_path / "w.safetensors").config.depth == 2


# ---- pickles


def test_archive_that_unpacks_to_much_more_than_its_size_is_refused(tmp_path):
    torch.save({"a": torch.zeros(8_000_000)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
    assert read_state(tmp_path / "plain.pth")["a"].size == 8_000_000
    with pytest.raises(WeightsError, match=r"bomb.pth: refused: declares 320\d{5} bytes of data, but the file has"):
        read_state(tmp_path / "bomb.pth")


def test_one_stored_number_that_stands_for_billions_is_refused(tmp_path):
    before = peak_bytes()
    for dtype in (torch.float32, torch.bfloat16):
        torch.save({"a": torch.zeros(1, dtype=dtype).expand(10**10)}, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match=r"declares [24]0000000000 bytes of data"):
            read_state(tmp_path / "w.pth")
    assert peak_bytes() < before + 2**27


def test_number_of_elements_in_an_old_pickle_is_not_believed(tmp_path):
    before = peak_bytes()
    torch.save({"a": torch.zeros(0x01020304 // 1000)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "w.pth").read_bytes()
    count = struct.pack("<H", 0x01020304 // 1000)
    assert b"M" + count in content  # BININT2
    (tmp_path / "w.pth").write_bytes(content.replace(b"M" + count, b"J" + struct.pack("<i", 2**31 - 1)))
    with pytest.raises(WeightsError, match=r"w\.pth: truncated or damaged checkpoint"):
        read_state(tmp_path / "w.pth")
    assert peak_bytes() < before + 2**27


# ---- directories of weights_convert


def test_manifest_is_compared_with_the_stored_shapes(monkeypatch, tmp_path):
    model = vitjax.from_timm(named_in_table(monkeypatch))
    out = checkpoint.write_checkpoint(tmp_path / "out", model.params, model.config, ARCH, {})
    file = out / checkpoint.MANIFEST
    manifest = json.loads(file.read_text())

    def error_with(**changes):
        changed = {**manifest, **changes}
        changed["seal"] = checkpoint._seal(changed)
        file.write_text(json.dumps(changed))
        with pytest.raises(WeightsError) as caught:
            checkpoint.read_checkpoint(out)
        return str(caught.value)

    deeper = {**asdict(model.config), "depth": 10**9}
    assert "blocks.attn.qkv.bias is [2, 48], needs [1000000000, 48] and 9 more" in error_with(config=deeper)
    assert "depth must be an integer of at least 1, not 'two'" in error_with(config={**deeper, "depth": "two"})
    assert "damaged manifest: sha256 is missing or of another type" in error_with(sha256=None)
    assert "has format None" in error_with(format=None)


def test_arrays_that_are_not_finite_are_refused_in_a_directory_too(monkeypatch, tmp_path):
    model = vitjax.from_timm(named_in_table(monkeypatch))
    params = {**model.params, "norm": {**model.params["norm"], "scale": np.full(16, np.nan, np.float32)}}
    out = checkpoint.write_checkpoint(tmp_path / "out", params, model.config, ARCH, {})
    with pytest.raises(WeightsError, match=r"norm\.scale: 16 NaN, 0 Inf of 16"):
        vitjax.load(ARCH, weights=out)


def test_flipped_bit_in_an_archive_is_found_by_its_checksum(tmp_path):
    torch.save({"a": torch.ones(1000)}, tmp_path / "w.pth")
    content = bytearray((tmp_path / "w.pth").read_bytes())
    content[content.index(np.float32(1).tobytes() * 9) + 2] ^= 1
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"damaged checkpoint .* the checksum of 'w/data/0' is wrong"):
        read_state(tmp_path / "w.pth")
