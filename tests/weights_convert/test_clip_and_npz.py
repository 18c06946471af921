"""Files of OpenCLIP, OpenAI's CLIP, and JAX's own ViTs (`.npz`): the same embeddings, features and logits."""

import json

import numpy as np
import pytest

import vitjax
from tests.timm_peers import build, timm, torch
from tests.weights_convert.made import difference, randomised
from vitjax.errors import WeightsError
from weights_convert import check
from weights_convert.peers import own_library

open_clip = pytest.importorskip("open_clip")

VISION = {"image_size": 32, "layers": 2, "width": 128, "patch_size": 16}
TEXT = {"context_length": 8, "vocab_size": 20, "width": 32, "heads": 2, "layers": 1}


def clip(quick_gelu=False):
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    return randomised(CLIP(24, CLIPVisionCfg(**VISION), CLIPTextCfg(**TEXT), quick_gelu=quick_gelu))


def tensors(module):
    return {key: value for key, value in module.state_dict().items() if key != "attn_mask"}


@pytest.mark.parametrize("towers", ["both", "both in DataParallel", "image"])
def test_open_clip_tower(towers, tmp_path):
    module = clip()
    state = tensors(module.visual if towers == "image" else module)
    if "Parallel" in towers:  # as open_clip_train saves it
        state = {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 1}
    torch.save(state, tmp_path / "clip.pt")
    model = vitjax.load(tmp_path / "clip.pt")
    assert (model.config.num_classes, model.config.embedding, model.labels) == (0, 24, None)
    assert difference(model, module.encode_image) < 1e-5
    assert "assumed to be GELU, not QuickGELU" in model.weights["read"]
    report = check.compare_on_noise(model, own_library(tmp_path / "clip.pt", model.config))
    assert report.passed and "open_clip" in report.peer and len(report.differences) == 3
    assert model.preprocessing.mean[0] == 0.48145466


def test_open_clip_folder_says_activation_heads_and_preprocessing(tmp_path):
    module = clip(quick_gelu=True)
    torch.save(tensors(module), tmp_path / "open_clip_pytorch_model.bin")
    model_cfg = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": {**VISION, "head_width": 64}, "text_cfg": TEXT}
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "interpolation": "bilinear", "resize_mode": "squash"}
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    model = vitjax.load(tmp_path)
    assert model.config.mlp == "quick_gelu" and difference(model, module.encode_image) < 1e-5
    assert (model.preprocessing.mean, model.preprocessing.crop_mode) == ((0.5, 0.4, 0.3), "squash")


def test_openai_state_dict_is_known_by_its_constants(tmp_path):
    module = clip(quick_gelu=True)
    constants = {name: torch.tensor(32) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.save({**tensors(module), **constants}, tmp_path / "ViT-B-32.pt")
    model = vitjax.load(tmp_path / "ViT-B-32.pt")
    assert difference(model, module.encode_image) < 1e-5 and "OpenAI CLIP keys" in model.weights["read"]


def test_torchscript_archive_is_refused_with_two_lines(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "openai.pt")
    with pytest.raises(WeightsError, match=r"TorchScript.*\n.*torch.jit.load.*\n.*save_file"):
        vitjax.load(tmp_path / "openai.pt")


def test_open_clip_with_an_image_tower_of_timm(tmp_path):
    """SigLIP in OpenCLIP: timm's names under `visual.trunk`, and the text tower beside it."""
    module = randomised(timm.create_model("vit_base_patch16_siglip_224", depth=2, img_size=32))
    state = {f"visual.trunk.{key}": value for key, value in module.state_dict().items()}
    state |= {"logit_scale": torch.ones(()), "logit_bias": torch.ones(1), "text.positional_embedding": torch.ones(4, 8)}
    torch.save(state, tmp_path / "siglip.bin")
    model = vitjax.load(tmp_path / "siglip.bin")
    assert model.config.pool == "map" and difference(model, module) < 1e-5
    assert "3 tensors" in model.weights["read"] or "text.positional_embedding" in model.weights["read"]


# ---- .npz


def npz_of(module, path, *, new_names=False, stacked=False, prefix="", more=(), **beside):
    """The parameters of a timm module under the names and axes of google-research/vision_transformer.

    timm's own reader of these files is the judge of the names below.
    """
    state = {key: value.detach().numpy() for key, value in module.state_dict().items()}
    heads, width = module.blocks[0].attn.num_heads, module.embed_dim
    attention, second, mlp = ("0", "1", "0") if new_names else ("1", "2", "3")
    arrays = {
        "embedding/kernel": state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"],
        "pos_embedding" if new_names else "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
    }
    if "cls_token" in state:
        arrays["cls"] = state["cls_token"]
    if "head.weight" in state:
        arrays |= {"head/kernel": state["head.weight"].T, "head/bias": state["head.bias"]}
    for layer in range(len(module.blocks)):
        ours, block = f"blocks.{layer}.", {}
        for number, name in (("0", "norm1"), (second, "norm2")):
            block[f"LayerNorm_{number}/scale"] = state[f"{ours}{name}.weight"]
            block[f"LayerNorm_{number}/bias"] = state[f"{ours}{name}.bias"]
        inner = f"MultiHeadDotProductAttention_{attention}"
        kernels, biases = (np.split(state[f"{ours}attn.qkv.{kind}"], 3) for kind in ("weight", "bias"))
        for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
            block[f"{inner}/{name}/kernel"] = kernel.T.reshape(width, heads, -1)
            block[f"{inner}/{name}/bias"] = bias.reshape(heads, -1)
        block[f"{inner}/out/kernel"] = state[f"{ours}attn.proj.weight"].T.reshape(heads, -1, width)
        block[f"{inner}/out/bias"] = state[f"{ours}attn.proj.bias"]
        for number in (0, 1):
            block[f"MlpBlock_{mlp}/Dense_{number}/kernel"] = state[f"{ours}mlp.fc{number + 1}.weight"].T
            block[f"MlpBlock_{mlp}/Dense_{number}/bias"] = state[f"{ours}mlp.fc{number + 1}.bias"]
        arrays |= {f"Transformer/encoderblock_{layer}/{name}": array for name, array in block.items()}
    if stacked:
        blocks = [name for name in arrays if "encoderblock_0/" in name]
        layers = range(len(module.blocks))
        both = {n: np.stack([arrays.pop(n.replace("_0/", f"_{i}/", 1)) for i in layers]) for n in blocks}
        arrays |= {name.replace("encoderblock_0/", "encoderblock/"): array for name, array in both.items()}
    np.savez(path, **{prefix + name: array for name, array in (arrays | dict(more)).items()}, **beside)
    return path


FORMS = {
    "augreg": {},
    "big_vision": {"new_names": True},
    "big_vision with optimizer": {"new_names": True, "prefix": "params/", "opt/step": np.ones(1)},
    "scanned": {"new_names": True, "stacked": True},
}


@pytest.mark.parametrize("form", FORMS)
def test_npz_of_jax_vits(form, tmp_path):
    module = build(num_heads=4, embed_dim=48, num_classes=7)  # the file shows the heads: no width of 64 is needed
    path = npz_of(module, tmp_path / "augreg.npz", **FORMS[form])
    if form == "augreg":
        peer = timm.create_model("vit_tiny_patch16_224", depth=3, num_heads=4, embed_dim=48, num_classes=7, img_size=32)
        peer.load_pretrained(str(path))
        module = peer.eval()
    model = vitjax.load(path)
    assert model.config.heads == 4 and difference(model, module) < 1e-5
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)


def test_npz_with_pre_logits_gives_features_and_says_so(tmp_path):
    module = build(num_heads=4, embed_dim=48, num_classes=0)
    head = {"pre_logits/kernel": np.ones((48, 48)), "pre_logits/bias": np.ones(48), "head/kernel": np.ones((48, 9))}
    model = vitjax.load(npz_of(module, tmp_path / "i21k.npz", **head))
    assert model.config.num_classes == 0 and difference(model, module) < 1e-5
    assert "left pre_logits, a tanh layer, and the head behind it aside" in model.weights["read"]


def test_npz_of_siglip_with_its_attention_pooling_head(tmp_path):
    module = randomised(timm.create_model("vit_base_patch16_siglip_224", depth=2, img_size=32))
    state = {key: value.detach().numpy() for key, value in module.state_dict().items()}
    pool = {f"MAPHead_0/{name}": array for name, array in map_head(state, module.attn_pool.num_heads).items()}
    path = npz_of(module, tmp_path / "siglip.npz", new_names=True, prefix="params/img/", more=pool)
    with np.load(path) as file:
        text = {"params/txt/Embed_0/embedding": np.ones((3, 4)), "params/t": np.ones(1), "params/b": np.ones(1)}
        np.savez(path, **file, **text)
    model = vitjax.load(path)
    assert (model.config.pool, model.config.pool_heads) == ("map", 12) and difference(model, module) < 1e-5


def map_head(state, heads):
    """big_vision's names and axes of timm's attention pooling head."""
    width = state["attn_pool.latent"].shape[-1]
    arrays = {"probe": state["attn_pool.latent"]}
    key, value = (np.split(state[f"attn_pool.kv.{kind}"], 2) for kind in ("weight", "bias"))
    layers = {
        "query": (state["attn_pool.q.weight"], state["attn_pool.q.bias"]),
        "key": (key[0], value[0]),
        "value": (key[1], value[1]),
    }
    inner = "MultiHeadDotProductAttention_0"
    for name, (weight, bias) in layers.items():
        arrays[f"{inner}/{name}/kernel"] = weight.T.reshape(width, heads, -1)
        arrays[f"{inner}/{name}/bias"] = bias.reshape(heads, -1)
    arrays[f"{inner}/out/kernel"] = state["attn_pool.proj.weight"].T.reshape(heads, -1, width)
    arrays[f"{inner}/out/bias"] = state["attn_pool.proj.bias"]
    arrays |= {"LayerNorm_0/scale": state["attn_pool.norm.weight"], "LayerNorm_0/bias": state["attn_pool.norm.bias"]}
    for number in (0, 1):
        arrays[f"MlpBlock_0/Dense_{number}/kernel"] = state[f"attn_pool.mlp.fc{number + 1}.weight"].T
        arrays[f"MlpBlock_0/Dense_{number}/bias"] = state[f"attn_pool.mlp.fc{number + 1}.bias"]
    return arrays


def test_npz_with_objects_is_not_unpickled(tmp_path):
    np.savez(tmp_path / "bad.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(WeightsError, match=r"bad.npz: not a readable .npz file of arrays: .*allow_pickle=False"):
        vitjax.load(tmp_path / "bad.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(WeightsError, match=r"not a readable \.npz"):
        vitjax.load(tmp_path / "cut.npz")
