"""timm's classifiers around the vision encoders of DeepSeek, Qwen3-VL and Gemma 4: live, from files, at other sizes."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import vitjax
from tests.timm_peers import random_images, timm, timm_in_float64, torch  # noqa: F401 (a fixture)
from vitjax.errors import ConfigError, WeightsError
from vitjax.models import families
from vitjax.models.families import find, table
from weights_convert.check import compare
from weights_convert.keys import to_state
from weights_convert.live import config_of
from weights_convert.source import state_of
from weights_convert.timm_module import timm_peer

benchmark = pytest.importorskip("benchmarks.timm_parity")
NAMES = ("deepseek_vit_412m", "qwen3_vit_88m", "gemma4_vit_570m")
NARROW = {"embed_dim": 48, "num_heads": 3}
OWN = {"gemma4_vit_570m": {"head_dim": 8, "intermediate_size": 40, "num_kv_heads": 1, "position_embedding_size": 9}}
"""Further arguments: heads that are narrower than width / heads, and one head of keys and values for three queries."""
ARCH = "tiny_encoder"


def narrow(name, **arguments):
    module = benchmark.reduced(name, **{**NARROW, **OWN.get(name, {}), **arguments})
    module.reset_classifier(7)
    return benchmark.randomise(module)


def logits_of(module, images):
    with torch.no_grad():
        return module(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()


def named(monkeypatch, name, module):
    """The module as a named architecture while the test runs."""
    stored = table()["models"][name]
    tag = next(iter(stored["tags"].values())) | {"outputs": "classes"}
    config = {field: getattr(config_of(module), field) for field in families.find(name).config.__dataclass_fields__}
    monkeypatch.setitem(table()["models"], ARCH, {"config": config, "parameters": 0, "tags": {"none": tag}})


@pytest.mark.usefixtures("timm_in_float64")
@pytest.mark.parametrize("name", NAMES)
def test_blocks_and_logits_equal_timms_in_float64_at_its_own_and_at_other_sizes(name):
    module = narrow(name)
    with jax.enable_x64(True):
        model = vitjax.from_timm(module)
        patch = model.config.patch_size
        assert model.config.image_size == (6 * patch, 5 * patch) and model.config.head_norm
        images = random_images(model.config.image_size).astype(np.float64)
        report = compare(model, module, images, tolerance=1e-9)
        assert report.passed and len(report.differences) == 3, str(report)
        smaller = (4 * patch, 3 * patch)
        native = vitjax.from_timm(narrow(name, **({"img_size": 48 * patch} if "qwen3" in name else {})))
        images = random_images(smaller).astype(np.float64)
        theirs = logits_of(module, images)
        np.testing.assert_allclose(native.logits(images), theirs, rtol=0, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize("name", NAMES)
def test_a_file_equals_the_module_by_its_shapes_and_by_its_name(name, monkeypatch, tmp_path):
    module = narrow(name)
    expected = vitjax.from_timm(module)
    file = tmp_path / "encoder.safetensors"
    save_file({key: value.numpy().copy() for key, value in module.state_dict().items()}, file)
    with pytest.raises(WeightsError, match="pass arch=NAME"):
        vitjax.load(file)
    named(monkeypatch, name, module)
    size = expected.config.image_size
    images = random_images(size)
    theirs = logits_of(module, images)
    for arguments in ({"image_size": size}, {"arch": ARCH}):
        model = vitjax.load(file, **arguments).at_size(size)
        assert model.config == expected.config
        np.testing.assert_allclose(model.logits(images), theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
    states = {
        "deepseek_vit_412m": (state_of(file).state, to_state(model.params)),
        "qwen3_vit_88m": (state_of(file).state,),
    }
    for state in states.get(name, ()):  # Gemma's sizes have names of their own
        assert compare(model, timm_peer(model.config, state, like=name), images).passed


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("deepseek_vit_412m_align", r"merges several patches into one token \(pooling 'align'\)"),
        ("deepseek_vit_412m_enc", r"merges several patches into one token \(pooling 'align'\)"),
        ("qwen3_vit_88m_merge", r"merges several patches into one token \(pooling 'merge'\)"),
        ("gemma4_vit_570m_enc", r"merges several patches into one token \(pooling 'soft'\)"),
        ("gemma4_vit_167m", "linear layers that clip their inputs and outputs"),
    ],
)
def test_what_vitjax_lacks_is_named_in_one_line(name, reason):
    with torch.device("meta"):
        module = timm.create_model(name, depth=1)
    with pytest.raises(WeightsError, match=reason) as caught:
        vitjax.from_timm(module)
    assert "\n" not in str(caught.value)
    with pytest.raises(vitjax.errors.UnknownNameError, match=reason):
        find(name)


def test_files_of_models_that_vitjax_lacks_are_refused_and_a_module_that_does_not_clip_is_not(tmp_path):
    file = tmp_path / "encoder.safetensors"
    module = timm.create_model("deepseek_vit_412m_align", depth=1, **NARROW, out_features=8)
    save_file({key: value.numpy().copy() for key, value in module.state_dict().items()}, file)
    with pytest.raises(WeightsError, match="a projector merges several patches into one token"):
        vitjax.load(file)
    overlay = {"pretrained_cfg_overlay": {"input_size": (3, 64, 48)}}
    module = timm.create_model("gemma4_vit_167m", depth=1, **NARROW, position_embedding_size=9, **overlay)
    save_file({key: value.numpy().copy() for key, value in module.state_dict().items()}, file)
    with pytest.raises(WeightsError, match="linear layers that clip their inputs and outputs"):
        vitjax.load(file)
    module.set_clamp_enabled(False)
    images = random_images((64, 48))
    theirs = logits_of(benchmark.randomise(module), images)
    ours = vitjax.from_timm(module).logits(images)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


def test_an_encoder_alone_pools_the_mean_and_larger_images_than_the_positions_are_refused():
    module = timm.models.gemma4_vit.Gemma4VitEncoder(
        global_pool="avg", depth=1, embed_dim=48, num_heads=3, head_dim=16, intermediate_size=40
    )
    model = vitjax.from_timm(benchmark.randomise(module))
    assert not model.config.head_norm and model.config.num_classes == 0 and model.config.grid == (48, 48)
    images = random_images((64, 48))
    theirs = logits_of(module, images)
    np.testing.assert_allclose(model.logits(images), theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
    with pytest.raises(ConfigError, match="positions for 48 x 48 patches, the images have 49 x 48"):
        model.at_size((49 * 16, 48 * 16))
