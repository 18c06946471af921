"""Folders of transformers' save_pretrained, and its state dicts: the same outputs, class names, preprocessing."""

import json

import numpy as np
import pytest
from PIL import Image

import vitjax
from tests.timm_peers import ARCH, named_in_table, torch
from tests.weights_convert.made import difference, randomised
from vitjax.cli.main import main
from vitjax.errors import WeightsError
from weights_convert import check
from weights_convert.peers import own_library

transformers = pytest.importorskip("transformers")

TINY = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "image_size": 32,
    "patch_size": 16,
}
DINO = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "mlp_ratio": 2, "image_size": 42}
NAMES = {0: "cat", 1: "dog", 2: "cow"}
LABELS = {"id2label": NAMES, "label2id": {name: index for index, name in NAMES.items()}}
TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 9}
TEXT |= {"bos_token_id": 0, "eos_token_id": 1}


def logits(module):
    return lambda x: module(pixel_values=x).logits


def class_token(module):
    return lambda x: module(pixel_values=x).last_hidden_state[:, 0]


def pooled(module):
    return lambda x: module(pixel_values=x).pooler_output


def of_images(module):
    return lambda x: module.get_image_features(pixel_values=x).pooler_output


def embeds(module):
    return lambda x: module(pixel_values=x).image_embeds


def clip_config(**more):
    return transformers.CLIPConfig(text_config=TEXT, vision_config=TINY, projection_dim=24, **more)


def siglip_config(**more):
    return transformers.SiglipConfig(text_config=TEXT, vision_config=TINY, **more)


def beit_config(shared=False):
    kind = "use_shared_relative_position_bias" if shared else "use_relative_position_bias"
    return transformers.BeitConfig(**TINY, **LABELS, **{kind: True})


def mae(module):
    """transformers masks at random; without masking it only permutes the patches, which the class token ignores."""
    module.config.mask_ratio = 0.0
    return lambda x: module(pixel_values=x).last_hidden_state[:, 0]


MODELS = {
    "vit": lambda t: (t.ViTForImageClassification(t.ViTConfig(**TINY, **LABELS)), logits),
    "vit without head": lambda t: (t.ViTModel(t.ViTConfig(**TINY)), class_token),
    "vit of masked images": lambda t: (t.ViTForMaskedImageModeling(t.ViTConfig(**TINY)), lambda m: class_token(m.vit)),
    "deit": lambda t: (t.DeiTForImageClassification(t.DeiTConfig(**TINY, **LABELS)), logits),
    "deit with teacher": lambda t: (t.DeiTForImageClassificationWithTeacher(t.DeiTConfig(**TINY, **LABELS)), logits),
    "dinov2": lambda t: (t.Dinov2Model(t.Dinov2Config(**DINO)), pooled),
    "dinov2 giant": lambda t: (t.Dinov2Model(t.Dinov2Config(**DINO, use_swiglu_ffn=True)), pooled),
    "dinov2 with registers": lambda t: (
        t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**DINO, num_register_tokens=4)),
        pooled,
    ),
    "clip": lambda t: (t.CLIPModel(clip_config()), of_images),
    "clip tower": lambda t: (t.CLIPVisionModel(t.CLIPVisionConfig(**TINY, hidden_act="gelu")), pooled),
    "clip tower with projection": lambda t: (
        t.CLIPVisionModelWithProjection(t.CLIPVisionConfig(**TINY, projection_dim=24)),
        embeds,
    ),
    "mae": lambda t: (t.ViTMAEModel(t.ViTMAEConfig(**TINY)), mae),
    "mae with decoder": lambda t: (
        t.ViTMAEForPreTraining(t.ViTMAEConfig(**TINY, decoder_hidden_size=16, decoder_num_hidden_layers=1)),
        lambda m: mae(m.vit),
    ),
    "msn": lambda t: (t.ViTMSNForImageClassification(t.ViTMSNConfig(**TINY, **LABELS)), logits),
    "dinov2 with classes": lambda t: (t.Dinov2ForImageClassification(t.Dinov2Config(**DINO, **LABELS)), logits),
    "dinov2 with registers and classes": lambda t: (
        t.Dinov2WithRegistersForImageClassification(t.Dinov2WithRegistersConfig(**DINO, **LABELS)),
        logits,
    ),
    "clip with classes": lambda t: (t.CLIPForImageClassification(clip_config(**LABELS)), logits),
    "siglip": lambda t: (t.SiglipModel(siglip_config()), of_images),
    "siglip tower": lambda t: (t.SiglipVisionModel(t.SiglipVisionConfig(**TINY)), pooled),
    "siglip with classes": lambda t: (t.SiglipForImageClassification(siglip_config(**LABELS)), logits),
    "dinov3": lambda t: (t.DINOv3ViTModel(t.DINOv3ViTConfig(**TINY, num_register_tokens=4)), pooled),
    "dinov3 huge": lambda t: (
        t.DINOv3ViTModel(t.DINOv3ViTConfig(**TINY, use_gated_mlp=True, hidden_act="silu", rope_theta=50.0)),
        pooled,
    ),
    "beit": lambda t: (t.BeitForImageClassification(beit_config()), logits),
    "beit with shared bias": lambda t: (t.BeitForImageClassification(beit_config(shared=True)), logits),
    "ijepa": lambda t: (t.IJepaForImageClassification(t.IJepaConfig(**TINY, **LABELS)), logits),
}


@pytest.mark.parametrize("name", MODELS)
def test_folder_and_state_dict_equal_transformers(name, tmp_path, capsys):
    module, forward = MODELS[name](transformers)
    randomised(module).save_pretrained(tmp_path / "hf")
    model = vitjax.load(tmp_path / "hf")
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith(str(tmp_path))]) == 2 and "Hugging Face" in lines[-2]
    assert model.weights["format"] == "folder" and model.weights["inferred"].startswith(model.weights["read"])
    peer = own_library(tmp_path / "hf", model.config)
    report = check.compare_on_noise(model, peer)
    assert report.passed and report.logits.relative < 1e-5
    with torch.no_grad():
        x = torch.ones(1, 3, *model.config.image_size)
        torch.testing.assert_close(peer.forward(x), forward(module)(x))
    assert len(report.differences) == 1 + (0 if "mae" in name else model.config.depth)
    has_head = hasattr(module, "classifier") or hasattr(module, "cls_classifier")
    assert (model.labels.names if model.labels else None) == (("cat", "dog", "cow") if has_head else None)
    # transformers 5 has other names in memory, which torch.save writes
    torch.save(module.state_dict(), tmp_path / "hf" / "pytorch_model.bin")
    (tmp_path / "hf" / "model.safetensors").unlink()
    assert vitjax.load(tmp_path / "hf").weights["sha256"] == model.weights["sha256"]


@pytest.fixture
def folder(tmp_path):
    module = randomised(transformers.ViTForImageClassification(transformers.ViTConfig(**TINY, **LABELS)))
    module.save_pretrained(tmp_path / "pets")
    return tmp_path / "pets"


def test_verify_compares_with_the_class_that_config_json_names(folder, capsys):
    main(["verify", "--model", str(folder)])
    printed = capsys.readouterr().out
    assert "transformers' ViTForImageClassification" in printed and "block 1" in printed and "passed" in printed


def test_sharded_folder_is_read_and_its_index_checked(folder, tmp_path):
    module = transformers.ViTForImageClassification.from_pretrained(folder)
    module.save_pretrained(tmp_path / "shards", max_shard_size="60KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert vitjax.load(tmp_path / "shards").weights["sha256"] == vitjax.load(folder).weights["sha256"]
    index = tmp_path / "shards" / "model.safetensors.index.json"
    table = json.loads(index.read_text())
    for change, cause in (
        ({"vit.new": next(iter(table["weight_map"].values()))}, "1 tensors of the index are in no shard"),
        ({"vit.new": "../elsewhere.safetensors"}, "names shards outside"),
        ({"vit.new": 3}, "no weight_map"),
    ):
        index.write_text(json.dumps({"weight_map": {**table["weight_map"], **change}}))
        with pytest.raises(WeightsError, match=cause):
            vitjax.load(tmp_path / "shards")


PROCESSORS = {
    "ViTImageProcessor": {"size": {"height": 32, "width": 32}},
    "CLIPImageProcessor": {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
    "DeiTImageProcessor": {"size": {"height": 36, "width": 36}, "crop_size": {"height": 32, "width": 32}},
    "SiglipImageProcessor": {"size": {"height": 32, "width": 32}, "rescale_factor": 1 / 127.5},
    "BitImageProcessor": {"size": {"shortest_edge": 32}, "crop_size": 32, "do_normalize": False},
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_preprocessing_is_that_of_the_processor(name, folder):
    processor = getattr(transformers, name)(**PROCESSORS[name])
    processor.save_pretrained(folder)
    model = vitjax.load(folder)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 75, 3), np.uint8))
    theirs = np.asarray(processor(photo, return_tensors="np")["pixel_values"])[0].transpose(1, 2, 0)
    ours = model.preprocess(photo)[0]
    assert ours.shape == theirs.shape
    # torchvision's and Pillow's resampling round differently: two grey values of 255, in units of the input
    scale = 1 / min(model.preprocessing.std) / 255
    assert np.abs(ours - theirs).max() < 2.01 * scale and np.abs(ours - theirs).mean() < 0.6 * scale


def test_preprocessing_of_another_size_follows_the_positions_and_this_is_said(folder, capsys):
    transformers.ViTImageProcessor(size={"height": 224, "width": 224}).save_pretrained(folder)
    model = vitjax.load(folder)
    assert model.preprocessing.size == (32, 32)
    assert "crops to 224 x 224, the positions are for 32 x 32" in capsys.readouterr().err
    assert vitjax.load(folder, image_size=64).preprocessing.size == (64, 64)


def test_name_with_a_folder_takes_class_names_and_the_epsilon_from_it(tmp_path, monkeypatch, capsys):
    named_in_table(monkeypatch)  # of width 16, 2 heads and 1000 classes
    size = {**TINY, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 64}
    module = randomised(transformers.ViTForImageClassification(transformers.ViTConfig(**size, **LABELS)))
    module.save_pretrained(tmp_path / "pets")
    model = vitjax.load(ARCH, weights=tmp_path / "pets")
    assert (model.name, model.config.norm_eps, model.label(2)) == (ARCH, 1e-12, "cow")
    assert difference(model, logits(module)) < 1e-5
    assert "the weights have 3 classes, the name has 1000" in capsys.readouterr().err
    with pytest.raises(WeightsError, match=r"head.weight is \[3, 16\], needs \[5, 16\]"):
        vitjax.load(ARCH, weights=tmp_path / "pets", num_classes=5)


def test_name_of_another_size_is_refused(folder, monkeypatch):
    named_in_table(monkeypatch)
    with pytest.raises(WeightsError, match=r"width 48.*\n.*width 16") as caught:
        vitjax.load(ARCH, weights=folder)
    assert len(str(caught.value).splitlines()) <= 10


@pytest.mark.parametrize(
    ("file", "content", "cause"),
    [
        ("config.json", "{", "config.json: damaged"),
        ("config.json", "[1]", "not a JSON object"),
        ("config.json", '{"hidden_act": "relu"}', "activation 'relu' is not supported; known: gelu"),
        ("config.json", '{"hidden_act": "gelu", "use_gated_mlp": true}', "a gated MLP with the activation 'gelu'"),
        ("config.json", '{"hidden_act": ["gelu"]}', "activation .* is not supported"),
        ("config.json", '{"num_attention_heads": "two"}', "heads must be an integer of at least 1, not 'two'"),
        ("config.json", '{"num_attention_heads": 5}', "width 48 is not a multiple of heads 5"),
        (
            "config.json",
            '{"architecture": "x", "model_args": {"num_heads": 4}, "pretrained_cfg": {"mean": 3}}',
            "config.json: pretrained_cfg",
        ),
        ("open_clip_config.json", '{"model_cfg": {}, "preprocess_cfg": {"mean": "x"}}', "open_clip_config.json: "),
        (
            "preprocessor_config.json",
            '{"size": 32, "image_mean": [NaN, 0, 0], "image_std": [1, 1, 1]}',
            "three finite numbers",
        ),
        ("config.json", '{"quantization_config": {}}', r"quantised model.*\n.*dequantize\(\)\n.*save_pretrained"),
        ("preprocessor_config.json", '{"size": "big"}', "preprocessor_config.json: "),
        ("preprocessor_config.json", '{"size": {"shortest_edge": 32}}', "without a crop has no fixed size"),
    ],
)
def test_damaged_configuration_is_named(folder, file, content, cause):
    (folder / file).write_text(content)
    with pytest.raises(WeightsError, match=cause) as caught:
        vitjax.load(folder)
    assert len(str(caught.value).splitlines()) <= 10


@pytest.mark.parametrize("table", [{"0": "a"}, {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, {"x": "a"}, ["a"]])
def test_id2label_that_does_not_name_the_classes_is_not_used(folder, table):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "id2label": table}))
    assert vitjax.load(folder).labels is None


def test_adapter_is_refused_with_the_two_lines_that_merge_it(folder):
    (folder / "model.safetensors").unlink()
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"LoRA.*\n.*merge_and_unload\(\)\n.*save_pretrained"):
        vitjax.load(folder)


def test_siglip2_takes_flattened_patches_of_any_grid(tmp_path):
    size = {name: value for name, value in TINY.items() if name != "image_size"}
    config = transformers.Siglip2VisionConfig(**size, num_patches=4)
    module = randomised(transformers.Siglip2VisionModel(config))
    module.save_pretrained(tmp_path / "naflex")
    model = vitjax.load(tmp_path / "naflex")

    def forward(x):
        patches = x.reshape(len(x), 3, 2, 16, 2, 16).permute(0, 2, 4, 3, 5, 1).reshape(len(x), 4, 768)
        mask, shape = torch.ones(len(x), 4, dtype=torch.int32), torch.tensor([[2, 2]] * len(x))
        return module(pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shape).pooler_output

    assert model.config.image_size == (32, 32) and difference(model, forward) < 1e-5
    assert check.compare_on_noise(model, own_library(tmp_path / "naflex", model.config)).passed
