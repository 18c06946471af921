"""Checkpoints as training scripts leave them: dicts in dicts, prefixes, averaged weights, unused tensors."""

import argparse

import numpy as np
import pytest

import vitjax
from tests.timm_peers import ARCH, named_in_table, torch
from vitjax.errors import WeightsError
from weights_convert.load import read_state


@pytest.fixture
def module(monkeypatch):
    return named_in_table(monkeypatch)


@pytest.fixture
def state(module):
    return module.state_dict()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "c.pth"


def loaded(content, path):
    torch.save(content, path)
    return vitjax.load(ARCH, weights=path)


def sha(module):
    return vitjax.from_timm(module).weights["sha256"]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "backbone.", "encoder."])
def test_prefix_of_a_wrapper_is_removed_and_recorded(module, state, path, capsys, prefix):
    model = loaded({prefix + key: value for key, value in state.items()}, path)
    assert model.weights["sha256"] == sha(module)
    assert model.weights["read"] == f"removed the prefix '{prefix}' of the keys"
    assert capsys.readouterr().err == f"{path}: {model.weights['read']}\n"


def test_prefix_stays_where_two_keys_would_become_one(state, path):
    content = {f"model.{key}": value for key, value in state.items()} | {"norm.weight": state["norm.weight"] + 1}
    torch.save(content, path)
    assert set(read_state(path)) == set(content)
    with pytest.raises(WeightsError, match=r"\n  missing: .* and 28 more\n  extra: model\.cls_token"):
        vitjax.load(ARCH, weights=path)


def test_tensors_beside_the_prefix_are_listed_and_not_dropped(state, path):
    content = {f"backbone.{key}": value for key, value in state.items()} | {"criterion.weight": torch.ones(3)}
    torch.save(content, path)
    with pytest.raises(WeightsError, match=r"1 keys do not fit:\n  extra: criterion.weight \[3\]"):
        vitjax.load(ARCH, weights=path)


@pytest.mark.parametrize(
    "key", ["state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema", "teacher", "net", "module"]
)
def test_usual_keys_are_opened(module, state, path, key):
    model = loaded({key: state, "epoch": 3, "optimizer": {"lr": 0.1}}, path)
    assert model.weights["sha256"] == sha(module) and "read" not in model.weights


@pytest.mark.parametrize(
    ("raw", "averaged"), [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("student", "teacher")]
)
def test_averaged_weights_are_read_and_this_is_said(module, state, path, raw, averaged):
    model = loaded({raw: {key: value + 1 for key, value in state.items()}, averaged: state}, path)
    assert model.weights["sha256"] == sha(module)
    assert model.weights["read"] == f"read the averaged weights '{averaged}'; the file also contains '{raw}'"


def test_dicts_within_dicts_are_opened_as_far_as_they_go(module, state, path):
    assert loaded({"model": {"state_dict": state}}, path).weights["sha256"] == sha(module)
    endless: dict = {}
    endless["model"] = endless
    torch.save(endless, path)
    with pytest.raises(WeightsError, match="'model' is a dict, not a tensor"):
        read_state(path)


def test_unusual_key_is_named(state, path):
    torch.save({"weights_of_tuesday": state}, path)
    with pytest.raises(WeightsError, match="state dicts under 'weights_of_tuesday', none of which is a usual key"):
        read_state(path)


def test_namespace_of_a_training_script_is_data_and_other_objects_are_refused(module, state, path):
    model = loaded({"model": state, "args": argparse.Namespace(lr=0.1, nested=argparse.Namespace(a=[1]))}, path)
    assert model.weights["sha256"] == sha(module)
    torch.save({"model": state, "best": np.float64(0.9)}, path)
    with pytest.raises(WeightsError, match=r"refused.*'numpy.*safetensors.torch.save_file"):
        read_state(path)


def test_mask_token_of_pretraining_is_left_aside(module, state, path):
    model = loaded({**state, "mask_token": torch.zeros(1, 16)}, path)
    assert model.weights["sha256"] == sha(module)
    assert model.weights["read"] == "left mask_token aside, which only pretraining uses"


def test_names_of_tensors_cannot_control_the_terminal(state, path):
    torch.save({**state, "a\x1b[2J": torch.ones(1), "\x1b.mask_token": torch.ones(1)}, path)
    with pytest.raises(WeightsError) as caught:
        vitjax.load(ARCH, weights=path)
    assert r"extra: 'a\x1b[2J' [1]" in str(caught.value) and "\x1b" not in str(caught.value)


def test_live_module_is_taken_out_of_its_wrappers(module):
    wrapped = torch.compile(torch.nn.DataParallel(module))
    assert vitjax.from_timm(wrapped).weights["sha256"] == sha(module)


def test_head_of_several_layers_is_refused_by_its_type(module):
    module.head = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(16, 5))
    with pytest.raises(WeightsError, match="a head of type Sequential, not one linear layer with bias"):
        vitjax.from_timm(module)
