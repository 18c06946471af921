"""Reading checkpoints: all formats give the same weights; damaged, unsafe and unsupported files are refused."""

import os
import subprocess
import sys
from dataclasses import asdict

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import vitjax
from tests.timm_peers import ARCH, build, named_in_table, timm, torch
from vitjax.errors import ConfigError, WeightsError
from vitjax.models.families import find, known_configs
from weights_convert import keys
from weights_convert.fitting import params_of
from weights_convert.load import read_state


@pytest.fixture
def module(monkeypatch):
    return named_in_table(monkeypatch)


@pytest.fixture
def state(module):
    return {key: value.detach().numpy() for key, value in module.state_dict().items()}


@pytest.fixture
def file(state, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_file(state, path)
    return path


def same(model, other):
    left, right = keys.flatten(model.params), keys.flatten(other.params)
    return left.keys() == right.keys() and all(np.array_equal(left[path], right[path]) for path in left)


# ---- valid checkpoints


def test_every_format_gives_the_same_model(module, state, file, tmp_path):
    tensors = module.state_dict()
    torch.save(tensors, tmp_path / "plain.pth")
    torch.save({"model": tensors, "epoch": 3}, tmp_path / "wrapped.pt")
    torch.save({"state_dict": tensors}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    expected = vitjax.from_timm(module)
    model = vitjax.load(ARCH, weights=file)
    assert same(model, expected)
    assert model.weights == {
        "source": str(file),
        "format": "safetensors",
        "sha256": expected.weights["sha256"],
    }
    assert (model.name, model.dtype, model.labels[281]) == (ARCH, np.float32, "tabby")
    for name in ("plain.pth", "wrapped.pt", "old.bin"):
        other = vitjax.load(ARCH, weights=str(tmp_path / name))
        assert same(other, expected) and other.weights["sha256"] == model.weights["sha256"]


def test_half_precision_checkpoints_become_float32(state, tmp_path):
    half = {key: array.astype(np.float16) for key, array in state.items()}
    save_file(half, tmp_path / "half.safetensors")
    model = vitjax.load(ARCH, weights=tmp_path / "half.safetensors")
    assert model.dtype == np.float32
    np.testing.assert_array_equal(model.params["norm"]["scale"], half["norm.weight"].astype(np.float32))
    torch.save({key: torch.from_numpy(value).bfloat16() for key, value in state.items()}, tmp_path / "b.pth")
    assert vitjax.load(ARCH, weights=tmp_path / "b.pth", dtype="bfloat16").dtype == jax.numpy.bfloat16


def test_header_of_the_bundled_format_describes_the_model(tmp_path, module, file):
    from vitjax.train.scenes import save

    expected = vitjax.from_timm(build(img_size=64, patch_size=8, num_classes=2))
    header = {"config": asdict(expected.config), "classes": ["a", "b"], "mean": [0.5] * 3, "std": [0.25] * 3}
    save(jax.device_get(expected.params), tmp_path / "scenes.safetensors", header | {"note": "any text"})
    model = vitjax.load("vitjax_scenes", weights=tmp_path / "scenes.safetensors")
    assert model.config == expected.config and model.labels.names == ("a", "b")
    assert model.preprocessing.size == (64, 64) and model.preprocessing.std == (0.25,) * 3
    np.testing.assert_allclose(model.params["pos_embed"], expected.params["pos_embed"], rtol=1e-3)
    with pytest.raises(WeightsError, match=r"not that of a vitjax_scenes file: .config.; .* --model NAME"):
        vitjax.load("vitjax_scenes", weights=file)


# ---- keys that do not fit


def test_one_error_lists_all_key_problems_with_both_shapes(state, tmp_path):
    del state["blocks.1.norm2.bias"], state["cls_token"]
    state["extra.weight"] = np.zeros((2, 3), np.float32)
    state["head.bias"] = np.zeros(7, np.float32)
    save_file(state, tmp_path / "bad.safetensors")
    with pytest.raises(WeightsError) as caught:
        vitjax.load(ARCH, weights=tmp_path / "bad.safetensors")
    text = str(caught.value)
    assert "bad.safetensors" in text and "4 keys do not fit" in text
    assert "missing: blocks.1.norm2.bias [16]" in text and "missing: cls_token [1, 1, 16]" in text
    assert "extra: extra.weight [2, 3]" in text and "misshaped: head.bias is [7], needs [1000]" in text


def test_head_of_another_size_is_followed_and_said_unless_the_caller_states_the_classes(state, tmp_path, capsys):
    state["head.weight"], state["head.bias"] = state["head.weight"][:7], state["head.bias"][:7]
    file = tmp_path / "seven.safetensors"
    save_file(state, file)
    model = vitjax.load(ARCH, weights=file)
    assert model.config.num_classes == 7 and model.labels is None
    said = "the weights have 7 classes, the name has 1000"
    assert model.weights["read"] == said and capsys.readouterr().err == f"{file}: {said}\n"
    named = vitjax.load(ARCH, weights=file, num_classes=7, class_names=list("abcdefg"))
    assert named.label(6) == "g" and named.weights["arguments"]["class_names"] == tuple("abcdefg")
    with pytest.raises(WeightsError, match=r"head.weight is \[7, 16\], needs \[9, 16\]"):
        vitjax.load(ARCH, weights=file, num_classes=9)
    with pytest.raises(ConfigError, match="2 class names for a model with 7 classes"):
        vitjax.load(ARCH, weights=file, class_names=["a", "b"])


def test_positions_of_another_size_and_a_missing_head_are_followed_and_said(tmp_path, module, capsys):
    larger = build(embed_dim=16, depth=2, num_heads=2, num_classes=0, img_size=64)
    save_file({key: value.numpy() for key, value in larger.state_dict().items()}, tmp_path / "large.safetensors")
    model = vitjax.load(ARCH, weights=tmp_path / "large.safetensors")
    assert (model.config.image_size, model.config.num_classes, model.preprocessing.size) == ((64, 64), 0, (64, 64))
    said = capsys.readouterr().err
    assert "the weights have no classes, the name has 1000" in said
    assert "the weights have positions for 64 x 64 pixels, the name 32 x 32" in said


# ---- weights that are not finite


def test_tensors_with_nan_or_inf_are_listed_with_counts(state, tmp_path):
    state["norm.bias"][:2] = np.nan
    state["blocks.0.mlp.fc1.weight"][0, :3] = np.inf
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(WeightsError) as caught:
        vitjax.load(ARCH, weights=tmp_path / "nan.safetensors")
    assert "norm.bias: 2 NaN, 0 Inf of 16" in str(caught.value)
    assert "blocks.0.mlp.fc1.weight: 0 NaN, 3 Inf of 1024" in str(caught.value)


# ---- pickles


@pytest.mark.parametrize("name", ["evil.pth", "evil.bin", "evil.pt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_pickle_is_not_executed(module, tmp_path, name, zipped):
    created_by_pickle = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {created_by_pickle}",)

    torch.save({"cls_token": Evil()}, tmp_path / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"refused.*No code of the pickle was executed.*safetensors") as caught:
        vitjax.load(ARCH, weights=tmp_path / name)
    assert name in str(caught.value) and not created_by_pickle.exists()
    assert "weights_only" not in str(caught.value)  # torch's own message recommends to disable the protection


def test_pickles_need_torch_and_tensors(module, tmp_path, monkeypatch):
    torch.save({"a": [1, 2]}, tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="'a' is a list, not a tensor"):
        read_state(tmp_path / "list.pth")
    torch.save([torch.ones(1)], tmp_path / "bare.pth")
    with pytest.raises(WeightsError, match="contains a list, not a state dict"):
        read_state(tmp_path / "bare.pth")
    torch.save({}, tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="contains no tensors"):
        read_state(tmp_path / "none.pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(WeightsError, match=r"needs PyTorch .*safetensors"):
        read_state(tmp_path / "list.pth")


# ---- files that are not checkpoints


def test_error_for_a_truncated_checkpoint_names_path_and_size(module, file, tmp_path):
    torch.save(module.state_dict(), tmp_path / "a.pth")
    torch.save(module.state_dict(), tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    for path in (file, tmp_path / "a.pth", tmp_path / "b.pth"):
        content = path.read_bytes()
        for size in (len(content) // 2, len(content) - 5, 300, 12, 1):
            truncated = path.with_name("truncated" + path.suffix)
            truncated.write_bytes(content[:size])
            with pytest.raises(WeightsError) as caught:
                vitjax.load(ARCH, weights=truncated)
            assert str(truncated) in str(caught.value) and f"{size} bytes" in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"<!DOCTYPE html><html>moved</html>", "HTML page"),
        (b"\n  <html>", "HTML page"),
        (b"", "empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"\x00\x01garbage" * 100, "bytes"),
    ],
)
def test_files_that_are_not_checkpoints_are_refused(module, tmp_path, suffix, content, cause):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=cause) as caught:
        vitjax.load(ARCH, weights=path)
    assert str(path) in str(caught.value) and f"{len(content)} bytes" in str(caught.value)


def test_missing_file_and_unknown_suffix_are_refused(module, file):
    with pytest.raises(WeightsError, match=r"no such file.*did you mean tiny.safetensors"):
        vitjax.load(ARCH, weights=file.with_name("tinny.safetensors"))
    file.rename(file.with_suffix(".zip"))
    with pytest.raises(WeightsError, match=r"unknown checkpoint format '.zip'"):
        vitjax.load(ARCH, weights=file.with_suffix(".zip"))


# ---- weights of another architecture


def empty_state(shapes):
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}


def test_error_names_the_architecture_that_the_weights_fit():
    state = empty_state(keys.state_shapes(find("vit_small_patch16_224").config))
    with pytest.raises(WeightsError) as caught:
        params_of(state, find("vit_small_patch32_224").config, "s16.safetensors", known_configs())
    text = str(caught.value)
    assert "patch_embed.proj.weight is [384, 3, 16, 16], needs [384, 3, 32, 32]" in text
    assert "the weights have width 384, depth 12, patch 16" in text
    assert "(the shapes of vit_small_patch16_224, deit_small_patch16_224)" in text
    assert "the requested model has width 384, depth 12, patch 32" in text


@pytest.mark.parametrize(
    ("name", "description"),
    [
        ("swin_tiny_patch4_window7_224", "Swin"),
        ("swinv2_tiny_window8_256", "Swin"),
        ("vit_base_patch16_xp_224", "parallel scaling blocks"),
        ("cait_xxs24_224", "CaiT"),
        ("resnet18", "ResNet"),
        ("convnext_tiny", "convolutional network"),
    ],
)
def test_error_names_an_unsupported_architecture(name, description):
    with torch.device("meta"):
        theirs = timm.create_model(name).state_dict()
    with pytest.raises(WeightsError, match=f"weights of .*{description}.*does not support"):
        params_of(empty_state({k: v.shape for k, v in theirs.items()}), find("deit_base_patch16_224").config, name)


# ---- image sizes


def test_positions_are_resampled_for_a_valid_image_size(module, file):
    with pytest.raises(ConfigError, match="image height 40 is not a multiple of the patch size 16"):
        vitjax.load(ARCH, weights=file, image_size=40)
    model = vitjax.load(ARCH, weights=file, image_size=(64, 48))
    assert model.config.image_size == model.preprocessing.size == (64, 48)
    assert model.weights["positions"] == "resampled 2x2 -> 4x3"
    module.set_input_size((64, 48))
    np.testing.assert_allclose(model.params["pos_embed"], module.pos_embed[0].detach().numpy(), atol=1e-5)
    assert "positions" not in vitjax.load(ARCH, weights=file, image_size=32).weights


# ---- the hub


@pytest.fixture
def offline(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("weights", [None, "timm/tiny_test.none"])
def test_error_without_a_network_names_the_missing_file(module, offline, weights):
    with pytest.raises(WeightsError) as caught:
        vitjax.load(ARCH, weights=weights)
    text = str(caught.value)
    assert "timm/tiny_test.none" in text and "model.safetensors" in text and str(offline) in text
    assert "weights='PATH/model.safetensors'" in text


def test_cached_hub_file_needs_no_network(module, file, offline):
    snapshot = offline / "models--timm--tiny_test.none" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(file.read_bytes())
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    model = vitjax.load(ARCH)
    assert model.weights["source"] == "timm/tiny_test.none" and model.weights["format"] == "hub"


def test_architecture_without_default_weights_needs_weights():
    with pytest.raises(WeightsError, match="no default weights"):
        vitjax.load("vit_base_patch16_gap_224")


def test_import_of_vitjax_imports_no_heavy_packages():
    heavy = ("torch", "timm", "orbax", "huggingface_hub", "safetensors", "weights_convert")
    script = f"import sys, vitjax; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
