"""Hub ids as sources: files of the local cache, with the configuration beside the weights; no network."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

import vitjax
from tests.timm_peers import ARCH, build, named_in_table
from vitjax.errors import WeightsError
from weights_convert.checkpoint import read_manifest, write_checkpoint
from weights_convert.live import config_of


@pytest.fixture
def cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def cached(cache, repo):
    """The folder of a repository's files in the cache."""
    snapshot = cache / f"models--{repo.replace('/', '--')}" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    return snapshot


def saved(module, path):
    save_file({key: value.numpy() for key, value in module.state_dict().items()}, path)


def test_hub_id_says_itself_what_the_model_is(cache):
    module = build(embed_dim=128, num_heads=4)
    folder = cached(cache, "me/pets-vit")
    saved(module, folder / "model.safetensors")
    names = {str(index): f"pet {index}" for index in range(10)}
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 4, "id2label": names}))
    model = vitjax.load("me/pets-vit")
    assert model.config == config_of(module) and model.label(3) == "pet 3"
    assert (model.name, model.weights["format"], model.weights["source"]) == ("pets-vit", "hub", "me/pets-vit")


def test_hub_id_of_sharded_weights(cache):
    module = build(embed_dim=128, num_heads=2)
    folder = cached(cache, "me/sharded")
    state = {key: value.numpy() for key, value in module.state_dict().items()}
    halves = list(state)[::2], list(state)[1::2]
    shards = {f"model-0000{number}-of-00002.safetensors": half for number, half in enumerate(halves, 1)}
    for name, half in shards.items():
        save_file({key: state[key] for key in half}, folder / name)
    table = {key: name for name, half in shards.items() for key in half}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    assert vitjax.load("me/sharded").config == config_of(module)


def test_hub_id_of_timm_is_its_name(cache, monkeypatch):
    module = named_in_table(monkeypatch)
    saved(module, cached(cache, f"timm/{ARCH}.none") / "model.safetensors")
    model = vitjax.load(f"timm/{ARCH}.none")
    assert model.config == config_of(module) and model.preprocessing.crop_pct == 0.9
    assert model.labels is not None and model.weights["format"] == "hub"


def test_missing_repository_is_an_error_that_says_where_was_looked(cache):
    with pytest.raises(WeightsError, match=r"no weights for me/nothing: looked for model.safetensors"):
        vitjax.load("me/nothing")


# ---- directories of weights_convert, which need no further argument


def test_converted_directory_says_classes_preprocessing_and_names(tmp_path, capsys):
    from weights_convert.__main__ import convert

    module = build(embed_dim=128, num_heads=2)
    saved(module, tmp_path / "mine.safetensors")
    (tmp_path / "names.txt").write_text("\n".join(f"pet {index}" for index in range(10)))
    assert convert(str(tmp_path / "mine.safetensors"), tmp_path / "out", class_names=tmp_path / "names.txt") == 0
    model = vitjax.load(tmp_path / "out")
    assert model.config == config_of(module) and model.label(9) == "pet 9"
    assert model.preprocessing == vitjax.load(tmp_path / "mine.safetensors").preprocessing
    assert "preprocessing: manifest.json; class names: the source's" in capsys.readouterr().err
    with pytest.raises(WeightsError, match=r"requested: 3 classes"):
        vitjax.load(tmp_path / "out", num_classes=3)


def test_directory_of_an_earlier_version_lacks_names_and_still_loads(tmp_path):
    model = vitjax.from_timm(build(embed_dim=128, num_heads=2))
    out = write_checkpoint(tmp_path / "out", model.params, model.config, "", {})
    assert not {"class_names", "preprocessing"} & read_manifest(out).keys()
    loaded = vitjax.load(out)
    assert loaded.config == model.config and loaded.labels is None
    assert np.array_equal(loaded.params["norm"]["scale"], model.params["norm"]["scale"])


def test_folder_with_several_checkpoint_files_asks_which(tmp_path):
    saved(build(embed_dim=128, num_heads=2), tmp_path / "a.safetensors")
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match=r"contains 2 checkpoint files \(a.safetensors, b.safetensors\); name one"):
        vitjax.load(tmp_path)
    (tmp_path / "b.safetensors").unlink()
    assert vitjax.load(tmp_path).config.num_classes == 10
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"contains no checkpoint file"):
        vitjax.load(tmp_path)
