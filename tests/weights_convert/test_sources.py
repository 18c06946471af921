"""`vitjax.load(FILE)`: architecture, classes, size and preprocessing of files of timm, Facebook, torchvision."""

import argparse
import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from safetensors.numpy import save_file

import vitjax
from tests.timm_peers import PEERS, build, timm, torch
from tests.weights_convert.made import difference, randomised
from vitjax.errors import ConfigError, UnknownNameError, WeightsError
from vitjax.nn.vit_config import ViTConfig
from weights_convert.live import config_of
from weights_convert.preprocessing import usual, usual_kind
from weights_convert.source import Wanted, read_source

HEADS_SEEN = {"embed_dim": 128, "num_heads": 2}
"""A width whose heads of 64 are the usual choice."""


def numpy_state(module):
    return {key: value.detach().numpy() for key, value in module.state_dict().items()}


def saved(state, path):
    save_file({key: np.ascontiguousarray(value) for key, value in state.items()}, path)
    return path


# ---- timm


UNSEEN = {
    "non_square",
    "patch32_non_square",
    "avg_norm_first",
    "token_fc_norm",
    "clip_quickgelu",
    "registers_with_position",
}
"""Families of PEERS whose size, pooling or activation shapes do not show; their tests are below."""


@pytest.mark.parametrize("name", [name for name in PEERS if name not in UNSEEN])
def test_architecture_of_a_timm_file_is_found(name, tmp_path):
    module = build(**{**PEERS[name], **HEADS_SEEN, "depth": 2})
    model = vitjax.load(saved(numpy_state(module), tmp_path / "mine.safetensors"))
    assert model.config == config_of(module)
    assert model.name == "mine" and model.weights["format"] == "safetensors"


def test_what_was_found_is_said_in_two_lines_and_recorded(tmp_path, capsys):
    path = saved(numpy_state(build(**HEADS_SEEN)), tmp_path / "mine.safetensors")
    model = vitjax.load(path)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"{path}: timm keys: width 128, depth 3, patch 16, 5 positions, 10 classes, heads 2 (width / 64)",
        f"{path}: preprocessing: assumed: mean and std of ImageNet, --preprocess states others",
    ]
    assert model.weights["inferred"] == "; ".join(line.removeprefix(f"{path}: ") for line in lines)
    assert model.weights["arguments"] == {"source": str(path)}


def test_heads_that_no_shape_shows_need_arch(tmp_path, monkeypatch):
    from tests.timm_peers import ARCH, named_in_table

    module = named_in_table(monkeypatch)
    path = saved(numpy_state(module), tmp_path / "narrow.safetensors")
    model = vitjax.load(path)  # the table has one name with these shapes
    assert model.config.heads == 2 and "class names: assumed to be ImageNet-1k's 1000" in model.weights["inferred"]
    other = saved(numpy_state(build(embed_dim=24, num_heads=3)), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other.safetensors: .*heads cannot be seen in a width of 24: pass arch="):
        vitjax.load(other)
    three = vitjax.load(path, arch=ARCH, class_names=[f"c{i}" for i in range(1000)])
    assert three.config == model.config and three.label(7) == "c7" and three.name == ARCH
    with pytest.raises(UnknownNameError, match="did you mean 'vit_tiny_patch16_224'"):
        vitjax.load(path, arch="vit_tiny_patch16_22")
    with pytest.raises(ConfigError, match="names an architecture already"):
        vitjax.load(ARCH, weights=path, arch=ARCH)
    with pytest.raises(UnknownNameError, match="unknown model"):
        vitjax.load("no_such_model")


def test_quickgelu_and_other_unseen_fields_come_from_arch(tmp_path, monkeypatch):
    from tests.timm_peers import ARCH, named_in_table
    from vitjax.models import families

    named_in_table(monkeypatch)
    for name in ("clip_quickgelu", "avg_norm_first"):
        module = build(**{**PEERS[name], **HEADS_SEEN})
        models = families.table()["models"]
        monkeypatch.setitem(models, ARCH, {**models[ARCH], "config": asdict(config_of(module))})
        path = saved(numpy_state(module), tmp_path / f"{name}.safetensors")
        assert vitjax.load(path, arch=ARCH).config == config_of(module)


def test_grid_that_is_not_square_needs_image_size(tmp_path):
    module = build(img_size=(32, 48), **HEADS_SEEN)
    path = saved(numpy_state(module), tmp_path / "wide.safetensors")
    with pytest.raises(WeightsError, match=r"7 rows is for no square image .*pass image_size=\(height, width\)"):
        vitjax.load(path)
    assert vitjax.load(path, image_size=(32, 48)).config == config_of(module)
    square = saved(numpy_state(build(**HEADS_SEEN)), tmp_path / "square.safetensors")
    resampled = vitjax.load(square, image_size=64)
    assert resampled.config.image_size == (64, 64) and resampled.weights["positions"] == "resampled 2x2 -> 4x4"


@pytest.mark.parametrize("given", [{"mean": [0.1, 0.2, 0.3], "std": 0.5, "crop_pct": 1.0}, {"size": (64, 32)}], ids=str)
def test_preprocessing_is_overridden(tmp_path, given):
    path = saved(numpy_state(build(**HEADS_SEEN)), tmp_path / "mine.safetensors")
    model = vitjax.load(path, preprocess=given)
    if "size" in given:
        assert model.preprocessing.size == model.config.image_size == (64, 32)
    else:
        assert model.preprocessing.mean == (0.1, 0.2, 0.3) and model.preprocessing.std == (0.5, 0.5, 0.5)
    assert model.weights["arguments"]["preprocess"] == given


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"means": 0.5}, "preprocess has no 'means'; known: size, crop_pct"),
        ({"mean": [1, 2]}, "mean must be one number or three"),
        ({"interpolation": "best"}, "interpolation must be one of"),
        ({"size": (32, 64)}, "differ"),
    ],
)
def test_preprocessing_that_cannot_be_is_refused(tmp_path, given, cause):
    path = saved(numpy_state(build(**HEADS_SEEN)), tmp_path / "mine.safetensors")
    with pytest.raises(ConfigError, match=cause):
        vitjax.load(path, preprocess=given, image_size=64)


VARIANTS = {
    "eva02_tiny_patch14_224": {"img_size": 56},  # rotary positions, which no tensor shows
    "vit_small_patch16_rope_224": {"img_size": 64},
    "vit_small_patch16_rope_mixed_224": {"img_size": 64},
    "vit_small_patch16_dinov3": {"img_size": 64},
    "vit_relpos_small_patch16_224": {"img_size": 64},  # a bias that an MLP computes
    "beit_base_patch16_224": {"img_size": 64},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_timm_need_a_known_architecture_of_their_shapes(name, tmp_path):
    module = randomised(timm.create_model(name, depth=2, num_classes=3, **VARIANTS[name]))
    config = config_of(module)
    path = saved(numpy_state(module), tmp_path / "variant.safetensors")
    known = {"plain": config_of(build(**HEADS_SEEN)), name: config}
    loaded = read_source(path, Wanted(known=known))
    assert loaded.config == config and loaded.names == (name,)
    model = vitjax.models.model.Model(loaded.config, loaded.params, loaded.usual[0])
    assert difference(model, module) < 1e-5
    with pytest.raises(WeightsError, match=r"variant.safetensors: .*pass arch=NAME"):
        read_source(path, Wanted())


# ---- what training scripts leave


@pytest.mark.parametrize("name", ["last.pth.tar", "epoch=3.ckpt", "mp_rank_00_model_states.pt", "ema.pth", "raw.pth"])
def test_checkpoints_of_training_scripts(name, tmp_path):
    module = build(**HEADS_SEEN)
    state, other = module.state_dict(), {key: value + 1 for key, value in module.state_dict().items()}
    content = {
        "last.pth.tar": {"state_dict": other, "state_dict_ema": state, "epoch": 3, "args": argparse.Namespace(lr=1.0)},
        "epoch=3.ckpt": {
            "state_dict": {f"model.{key}": value for key, value in state.items()},
            "pytorch-lightning_version": "2.5",
            "hyper_parameters": {"lr": 0.1},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        },
        "mp_rank_00_model_states.pt": {"module": {f"module.{k}": v for k, v in state.items()}, "dp_world_size": 8},
        "ema.pth": {"model": other, "model_ema": {f"module.{key}": value for key, value in state.items()}},
        "raw.pth": {"model": state, "model_ema": other},
    }[name]
    torch.save(content, tmp_path / name)
    model = vitjax.load(tmp_path / name, ema=name != "raw.pth")
    assert model.config == config_of(module)
    assert difference(model, module) < 1e-5
    if name == "raw.pth":
        assert "read the raw weights 'model'; the file also contains 'model_ema'" in model.weights["read"]


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "backbone.", "encoder.", "visual.", "vit.", "module.model.vit.", "net.x."],
)
def test_any_prefix_before_a_vit_is_removed_and_said(prefix, tmp_path):
    module = build(**HEADS_SEEN)
    state = {prefix + key: value for key, value in numpy_state(module).items()}
    model = vitjax.load(saved(state, tmp_path / "mine.safetensors"))
    assert model.config == config_of(module) and f"removed the prefix {prefix!r} of the keys" in model.weights["read"]


def test_architecture_that_the_script_stored_is_used(tmp_path, monkeypatch):
    from tests.timm_peers import ARCH, named_in_table

    module = named_in_table(monkeypatch)
    for number, content in enumerate(({"arch": ARCH}, {"args": argparse.Namespace(model=ARCH)})):
        torch.save({"state_dict": module.state_dict(), **content}, tmp_path / f"{number}.pth")
        assert vitjax.load(tmp_path / f"{number}.pth").name == ARCH


@pytest.mark.parametrize(
    "entry",
    [
        {"class_names": list("abcdefghij")},
        {"classes": tuple("abcdefghij")},
        {"class_to_idx": {name: index for index, name in enumerate("abcdefghij")}},
        {"idx_to_class": dict(enumerate("abcdefghij"))},
        {"id2label": {str(index): name for index, name in enumerate("abcdefghij")}},
    ],
    ids=lambda entry: next(iter(entry)),
)
def test_class_names_stored_with_the_weights_are_used(entry, tmp_path):
    module = build(**HEADS_SEEN)
    torch.save({"model": module.state_dict(), **entry}, tmp_path / "mine.pth")
    assert vitjax.load(tmp_path / "mine.pth").labels.names == tuple("abcdefghij")
    (name,) = entry
    metadata = {name: json.dumps(entry[name])}
    save_file(numpy_state(module), tmp_path / "mine.safetensors", metadata)
    assert vitjax.load(tmp_path / "mine.safetensors").label(9) == "j"


@pytest.mark.parametrize("entry", [list("abc"), {"a": 5}, {"a": 0, "b": 0}, "words", 3, [1] * 10])
def test_class_names_that_do_not_fit_are_not_used(entry, tmp_path):
    torch.save({"model": build(**HEADS_SEEN).state_dict(), "classes": entry}, tmp_path / "mine.pth")
    model = vitjax.load(tmp_path / "mine.pth")
    assert model.labels is None
    assert ("names 3 classes, which are not the model's 10" in model.weights["read"]) == (entry == list("abc"))


def test_several_models_in_one_file_are_an_error_that_names_them(tmp_path):
    state = numpy_state(build(**HEADS_SEEN))
    both = {f"{name}.{key}": value for name in ("student", "teacher") for key, value in state.items()}
    cause = r"both.safetensors: contains 2 models, under the prefixes student\., teacher\."
    with pytest.raises(WeightsError, match=cause):
        vitjax.load(saved(both, tmp_path / "both.safetensors"))


@pytest.mark.parametrize("name", ["classifier", "fc", "linear_head", "head.fc"])
def test_linear_head_beside_a_backbone_is_found(name, tmp_path):
    module = build(**HEADS_SEEN)
    state = {
        key.replace("head", name) if key.startswith("head") else f"backbone.{key}": value
        for key, value in numpy_state(module).items()
    }
    model = vitjax.load(saved(state, tmp_path / "probe.safetensors"))
    assert model.config == config_of(module)


def test_adapters_and_quantised_files_are_refused_with_two_lines(tmp_path):
    state = numpy_state(build(**HEADS_SEEN))
    lora = {"base_model.model.blocks.0.attn.qkv.lora_A.weight": np.ones((2, 2), np.float32)}
    with pytest.raises(WeightsError, match=r"peft \(LoRA\) adapter.*\n.*merge_and_unload\(\)\n.*save_pretrained"):
        vitjax.load(saved(lora, tmp_path / "adapter_model.safetensors"))
    eight = {**state, "blocks.0.attn.qkv.weight": np.ones((384, 128), np.int8), "blocks.0.attn.qkv.SCB": np.ones(384)}
    with pytest.raises(WeightsError, match=r"quantised.*\n.*dequantize\(\)\n.*save_pretrained"):
        vitjax.load(saved(eight, tmp_path / "int8.safetensors"))


def test_error_of_a_file_that_does_not_fit_has_at_most_ten_lines(tmp_path):
    new = {f"new.{i}": np.ones(1, np.float32) for i in range(9)}
    path = saved({**numpy_state(build(**HEADS_SEEN)), **new}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError) as caught:
        vitjax.load(path)
    assert len(str(caught.value).splitlines()) <= 10
    assert "extra: new.0 [1], new.1 [1], new.2 [1] and 6 more" in str(caught.value)
    with pytest.raises(WeightsError, match="no ViT: a patch embedding"):
        vitjax.load(saved({"a.weight": np.ones((2, 2), np.float32)}, tmp_path / "y.safetensors"))


ONES = np.ones
ODD = {
    "patches": {"patch_embed.proj.weight": ONES(())},
    "class embedding": {"class_embedding": ONES(()), "conv1.weight": ONES(()), "proj": ONES(3)},
    "parts of attention": {
        "embeddings.patch_embeddings.projection.weight": ONES((8, 3, 4, 4)),
        "layers.0.attention.q_proj.weight": ONES((2, 3)),
        "layers.0.attention.k_proj.weight": ONES((3, 2)),
        "layers.0.attention.v_proj.weight": ONES(()),
    },
    "pooling": {"embeddings.patch_embedding.weight": ONES((8, 7)), "head.attention.in_proj_weight": ONES((4, 4))},
    "mask without bias": {"patch_embed.proj.weight": ONES((8, 3, 4, 4)), "blocks.0.attn.qkv.bias_mask": ONES(3)},
}


@pytest.mark.parametrize("name", ODD)
def test_tensors_of_other_shapes_than_their_names_promise_are_an_error(name, tmp_path):
    path = saved({key: value.astype(np.float32) for key, value in ODD[name].items()}, tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError, match=r"odd\.safetensors: "):
        vitjax.load(path)
    np.savez(tmp_path / "odd.npz", **{"embedding/kernel": ONES(3), "Transformer/encoderblock/x": ONES(())})
    with pytest.raises(WeightsError, match=r"odd\.npz: "):
        vitjax.load(tmp_path / "odd.npz")


# ---- Facebook's research code


def test_dino_teacher_with_its_projection_head(tmp_path):
    module = build(**HEADS_SEEN, num_classes=0)
    teacher = {f"module.backbone.{key}": value for key, value in module.state_dict().items()}
    teacher |= {"module.head.mlp.0.weight": torch.ones(4, 128), "module.head.last_layer.weight_g": torch.ones(4, 1)}
    student = {key: value + 1 for key, value in teacher.items()}
    content = {"student": student, "teacher": teacher, "epoch": 1, "args": argparse.Namespace()}
    torch.save(content, tmp_path / "dino.pth")
    model = vitjax.load(tmp_path / "dino.pth")
    assert model.config.num_classes == 0 and difference(model, module) < 1e-5


def test_dinov2_with_registers_chunks_and_mask_token(tmp_path):
    """Its authors add positions to class token and patches, then insert the registers."""
    module = build(**{**PEERS["dinov2_registers"], **HEADS_SEEN})
    state = numpy_state(module)
    position = np.random.default_rng(1).normal(size=(1, 1, 128)).astype(np.float32)
    theirs = {
        key.replace("blocks.", f"blocks.{int(key.split('.')[1]) // 2}.") if key.startswith("blocks.") else key: value
        for key, value in state.items()
    }
    theirs["register_tokens"] = theirs.pop("reg_token")
    theirs["pos_embed"] = np.concatenate([position, state["pos_embed"]], axis=1)
    theirs["cls_token"] = state["cls_token"] - position
    theirs["mask_token"] = np.zeros((1, 128), np.float32)
    model = vitjax.load(saved(theirs, tmp_path / "dinov2_reg4.safetensors"))
    assert model.config == config_of(module) and difference(model, module) < 1e-5


def test_dinov2_giant_in_its_authors_names(tmp_path):
    module = build(**{**PEERS["dinov2_swiglu"], **HEADS_SEEN})
    names = {"mlp.fc1": "mlp.w12", "mlp.fc2": "mlp.w3"}
    state = {}
    for key, value in numpy_state(module).items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        state[key] = value
    model = vitjax.load(saved(state, tmp_path / "giant.safetensors"))
    assert model.config == config_of(module) and difference(model, module) < 1e-5
    assert "DINOv2 keys" in model.weights["read"]


@pytest.mark.parametrize("inputs", [1, 2])
def test_linear_classifier_on_dinov2(inputs, tmp_path):
    """Of the class token, or of class token and mean over patches side by side, as DINOv2's `_lc` models."""
    backbone = build(**{**PEERS["dinov2_registers"], **HEADS_SEEN})
    head = randomised(torch.nn.Linear(128 * inputs, 7), seed=3)
    state = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    state |= {f"linear_head.{key}": value for key, value in head.state_dict().items()}
    torch.save(state, tmp_path / "dinov2_lc.pth")

    def forward(x):
        tokens = backbone.forward_features(x)
        features = [tokens[:, 0], tokens[:, 5:].mean(1)]
        return head(torch.cat(features[:inputs], dim=1))

    model = vitjax.load(tmp_path / "dinov2_lc.pth")
    assert model.config.num_classes == 7 and difference(model, forward) < 1e-5


def test_dinov3_in_its_authors_names(tmp_path):
    module = timm.create_model("vit_small_patch16_dinov3", depth=2, img_size=64, global_pool="token")
    randomised(module)
    state = {}
    for key, value in numpy_state(module).items():
        key = key.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma").replace("reg_token", "storage_tokens")
        state[key] = value
    rng = np.random.default_rng(0)
    for layer in range(2):  # a bias of the keys is there, and masked
        state[f"blocks.{layer}.attn.qkv.bias"] = rng.normal(size=1152).astype(np.float32)
        state[f"blocks.{layer}.attn.qkv.bias_mask"] = np.zeros(1152, np.float32)
    state |= {"mask_token": np.zeros((1, 384), np.float32), "rope_embed.periods": np.ones(16, np.float32)}
    path = saved(state, tmp_path / "dinov3.safetensors")
    with pytest.raises(WeightsError, match=r"no tensor shows the image size: pass image_size"):
        vitjax.load(path)
    model = vitjax.load(path, image_size=64)
    assert difference(model, module) < 1e-5


def test_mae_encoder_fine_tuned_and_linear_probe(tmp_path):
    encoder = build(**HEADS_SEEN, num_classes=0)
    decoder = {"mask_token": torch.ones(1, 1, 8), "decoder_pos_embed": torch.ones(1, 5, 8)}
    decoder |= {"decoder_embed.weight": torch.ones(8, 128), "decoder_blocks.0.norm1.weight": torch.ones(8)}
    torch.save({"model": {**encoder.state_dict(), **decoder}, "args": argparse.Namespace()}, tmp_path / "mae.pth")
    model = vitjax.load(tmp_path / "mae.pth")
    assert difference(model, encoder) < 1e-5
    assert "decoder_blocks.0.norm1.weight aside, of pretraining" in model.weights["read"]
    tuned = build(**HEADS_SEEN, global_pool="avg")
    torch.save({"model": tuned.state_dict()}, tmp_path / "tuned.pth")
    model = vitjax.load(tmp_path / "tuned.pth")
    assert model.config.pool == "avg" and model.config.fc_norm and difference(model, tuned) < 1e-5
    probe = build(**HEADS_SEEN)
    norm = torch.nn.BatchNorm1d(128, affine=False, eps=1e-6)
    norm.running_mean, norm.running_var = torch.randn(128), torch.rand(128) + 0.5
    probe.head = torch.nn.Sequential(norm, probe.head).eval()
    torch.save({"model": probe.state_dict()}, tmp_path / "probe.pth")
    assert difference(vitjax.load(tmp_path / "probe.pth"), probe) < 1e-5


# ---- torchvision


@pytest.mark.parametrize("old", [False, True])
def test_torchvision(old, tmp_path):
    from torchvision.models.vision_transformer import VisionTransformer

    module = randomised(VisionTransformer(32, 16, 2, 2, 128, 256, num_classes=7))
    state = module.state_dict()
    if old:  # until torchvision 0.13
        state = {key.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): v for key, v in state.items()}
    torch.save(state, tmp_path / "vit.pth")
    model = vitjax.load(tmp_path / "vit.pth")
    assert difference(model, module) < 1e-5
    assert model.preprocessing.crop_pct == 0.875 and model.preprocessing.interpolation == "bilinear"


def test_usual_preprocessing_of_torchvision_is_that_of_each_of_its_weights():
    from torchvision.models import vision_transformer

    sizes = {"B": 768, "L": 1024, "H": 1280}
    for letter, patch in (("B", 16), ("B", 32), ("L", 16), ("L", 32), ("H", 14)):
        for weights in getattr(vision_transformer, f"ViT_{letter}_{patch}_Weights"):
            theirs = weights.transforms()
            size = (theirs.crop_size[0],) * 2
            if "SWAG_LINEAR" in weights.name and letter != "H":
                continue  # the shapes of those that were trained on ImageNet alone
            fields = {"depth": 2, "heads": 2, "mlp_dim": 8, "num_classes": 1000}
            config = ViTConfig(width=sizes[letter], patch_size=patch, image_size=size, **fields)
            ours, _ = usual((usual_kind("torchvision", config),), size)
            assert math.floor(size[0] / ours.crop_pct) == theirs.resize_size[0]
            assert (ours.interpolation, ours.size) == (theirs.interpolation.value, size)
            assert (list(ours.mean), list(ours.std)) == (theirs.mean, theirs.std)


def test_timm_folder_says_architecture_preprocessing_and_names(tmp_path):
    from timm.models._hub import save_for_hf

    module = timm.create_model("vit_tiny_patch16_224.augreg_in21k_ft_in1k", depth=2, num_classes=3, pretrained=False)
    randomised(module)
    names = {"label_names": ["n1", "n2", "n3"], "label_descriptions": {"n1": "cat", "n2": "dog", "n3": "cow"}}
    save_for_hf(module, str(tmp_path / "timm"), model_config=names)
    model = vitjax.load(tmp_path / "timm", arch=None)
    assert (model.config.depth, model.config.heads, model.label(2)) == (2, 3, "cow")
    assert model.preprocessing.mean == (0.5, 0.5, 0.5) and difference(model, module) < 1e-5
