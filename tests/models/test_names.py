"""Named models: the table against the installed timm, preprocessing of every tag, look-ups and their errors."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import vitjax
from tests.timm_peers import ARCH, named_in_table, timm
from vitjax.errors import UnknownNameError
from vitjax.images.reading import Preprocessing, preprocess
from vitjax.models import families, timm_table
from vitjax.models.families import find
from vitjax.nn.network import parameter_count
from vitjax.nn.vit_config import ViTConfig

TABLE = families.table()
LOADS = [name for name in families.names() if name not in families.CNNS]
TAGS = [(name, tag) for name in LOADS for tag in families.tags(name)]
same_timm = pytest.mark.skipif(timm.__version__ != TABLE["timm"], reason=f"the table is of timm {TABLE['timm']}")


def entries_of(names):
    """Entries of some names as the installed timm gives them, with preprocessing in place of its index."""
    content = timm_table.table(names)
    return resolved(content, names)


def resolved(content, names):
    models = json.loads(json.dumps({name: content["models"][name] for name in names}))
    for model in models.values():
        for tag in model["tags"]:
            if "refused" not in model:
                model["tags"][tag]["preprocessing"] = content["preprocessing"][model["tags"][tag]["preprocessing"]]
    return json.loads(json.dumps(models))


@same_timm
def test_every_name_and_tag_of_timm_is_in_the_table():
    assert list(TABLE["models"]) == timm_table.timm_names()
    assert (len(TABLE["models"]), sum(len(families.tags(name)) for name in TABLE["models"])) == (309, 512)


@same_timm
def test_the_table_is_what_timm_and_config_of_give():
    """Of every 24th name. If this fails, run `python -m vitjax.models.timm_table`, which takes minutes for all."""
    names = list(TABLE["models"])[::24]
    theirs, ours = entries_of(names), resolved(TABLE, names)
    assert [name for name in names if theirs[name] != ours[name]] == []


@same_timm
def test_preprocessing_of_every_tag_is_that_of_timms_pretrained_cfg():
    differing = []
    for name, tag in TAGS:
        cfg, entry = timm.models.get_pretrained_cfg(f"{name}.{tag}").to_dict(), find(f"{name}.{tag}")
        outputs = entry.config.num_classes or entry.config.embedding
        expected = Preprocessing.from_timm(cfg), cfg["num_classes"], cfg.get("hf_hub_id"), tag
        found = entry.preprocessing, outputs, entry.hub, entry.tag
        differing += [(name, tag)] * (found != expected)
        assert (entry.outputs == "features") == (cfg["num_classes"] == 0)
        assert (entry.outputs == "imagenet") == (cfg["num_classes"] == 1000)
        assert (entry.outputs == "embedding") == (entry.config.embedding > 0)
        assert name.startswith("naflexvit") or entry.config.image_size == entry.preprocessing.size
    assert differing == []


DISTINCT = sorted({find(f"{name}.{tag}").preprocessing: f"{name}.{tag}" for name, tag in TAGS}.values())


@same_timm
@pytest.mark.parametrize("name", DISTINCT)
def test_preprocessed_images_equal_timms_transform(name):
    """One tag for each distinct preprocessing, on images that are wider, higher and smaller than the input."""
    data = timm.data.resolve_data_config(timm.models.get_pretrained_cfg(name).to_dict())
    transform = timm.data.create_transform(**data, is_training=False)
    rng = np.random.default_rng(0)
    for height, width in ((375, 500), (451, 333), (90, 120)):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        theirs = transform(image).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(preprocess(image, find(name).preprocessing), theirs)


FOLDED = ("18x2", "eva02_enormous", "resnet26d", "resnet50d", "_mci_")
"""In names of models whose parallel blocks, biases without that of the keys, or batch norms become other arrays."""


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_parameters_are_counted_as_jax_counts_them(step):
    """One name of each kind. Rotary and relative positions are excepted: vitjax stores what timm computes of them."""
    kinds = {config: names[0] for config, names in families.kinds().items()}
    plain = [name for config, name in kinds.items() if config.rotary is None and not config.position_bias]
    plain = [name for name in plain if not any(part in name for part in FOLDED)][::step]
    assert len(plain) > 5
    assert [name for name in plain if parameter_count(find(name).config) != find(name).parameters] == []


def test_a_tag_has_its_own_classes_and_size():
    assert find("vit_base_patch16_224").tag == "augreg2_in21k_ft_in1k"
    assert find("vit_base_patch16_224.augreg_in21k").config == replace(
        find("vit_base_patch16_224").config, num_classes=21843
    )
    dino = find("vit_base_patch16_224.dino")
    assert (dino.config.num_classes, dino.outputs, dino.hub) == (0, "features", "timm/vit_base_patch16_224.dino")
    clip = find("vit_base_patch16_clip_quickgelu_224.openai")
    assert (clip.config.num_classes, clip.config.embedding, clip.outputs) == (0, 512, "embedding")
    assert clip.hub == "timm/vit_base_patch16_clip_224.openai"
    untrained = find("vit_large_patch14_224")
    assert (untrained.hub, untrained.tag, untrained.outputs) == (None, "", "classes")
    assert find("resnet50.tv_in1k") is find("resnet50") is families.CNNS["resnet50"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_base_patch16_244", "unknown model 'vit_base_patch16_244'; did you mean 'vit_base_patch16_224'"),
        ("vit_base_patch16_224.in1k", "unknown tag of vit_base_patch16_224 'in1k'; did you mean"),
        ("vit_base_patch16_224.dino.x", "unknown tag of vit_base_patch16_224 'dino.x'; did you mean 'dino'"),
        ("zzzzzzzz", "unknown model 'zzzzzzzz'; there are .* such as"),
    ],
)
def test_an_unknown_name_or_tag_is_one_short_line_with_close_matches(name, message):
    with pytest.raises(UnknownNameError, match=message) as caught:
        find(name)
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_a_refused_name_says_why(monkeypatch):
    monkeypatch.setitem(TABLE["models"], "swim", {"refused": "it swims", "tags": ["in1k"]})
    with pytest.raises(UnknownNameError, match="timm's swim is not supported: it swims"):
        find("swim.in1k")
    for name in families.refused():
        with pytest.raises(UnknownNameError) as caught:
            find(name)
        assert str(caught.value).count("supported") == 1
    assert families.refused()["swim"] == "it swims" and "swim" not in families.names()
    assert families.tags("swim") == ["in1k"]


def test_configurations_by_name():
    known = families.known_configs()
    assert list(known) == LOADS and all(isinstance(config, ViTConfig) for config in known.values())
    assert known["deit_tiny_patch16_224"] == find("deit_tiny_patch16_224").config


def test_a_tag_is_part_of_the_name_that_load_takes(monkeypatch, tmp_path):
    module = named_in_table(monkeypatch)
    models, weights = TABLE["models"], tmp_path / "tiny.safetensors"
    half = models["vit_small_patch16_224"]["tags"]["augreg_in21k"]
    tags = {**models[ARCH]["tags"], "small": {**half, "config": {"num_classes": 3}}}
    monkeypatch.setitem(models, ARCH, {**models[ARCH], "tags": tags})
    save_file({key: value.numpy() for key, value in module.state_dict().items()}, weights)
    default, tagged = (vitjax.load(name, weights=weights) for name in (ARCH, f"{ARCH}.small"))
    assert default.preprocessing.std == (0.229, 0.224, 0.225) and tagged.preprocessing.std == (0.5, 0.5, 0.5)
    assert (default.name, tagged.name) == (ARCH, f"{ARCH}.small")
    with pytest.raises(UnknownNameError, match=f"unknown tag of {ARCH} 'smal'; did you mean 'small'"):
        vitjax.load(f"{ARCH}.smal")
    with pytest.raises(UnknownNameError, match="unknown model 'deit_tiny_patch16_244'; did you mean"):
        vitjax.load(weights, arch="deit_tiny_patch16_244")
    models["swim"] = {"refused": "it swims", "tags": []}
    with pytest.raises(UnknownNameError, match="timm's swim is not supported: it swims"):
        vitjax.load("swim", weights=weights)
    del models["swim"]
