"""State dicts with Hugging Face's names, and their LayerNorm epsilon."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from tests.timm_peers import build, torch
from weights_convert import huggingface, keys
from weights_convert.live import config_of
from weights_convert.load import digests, params_of


def huggingface_state(state, root):
    """A timm state dict under Hugging Face's names, written independently of the key map that is tested."""
    parts = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    fixed = {
        "cls_token": f"{root}.embeddings.cls_token",
        "dist_token": f"{root}.embeddings.distillation_token",
        "pos_embed": f"{root}.embeddings.position_embeddings",
        "patch_embed.proj": f"{root}.embeddings.patch_embeddings.projection",
        "norm": f"{root}.layernorm",
        "head": "cls_classifier" if root == "deit" else "classifier",
        "head_dist": "distillation_classifier",
    }
    renamed = {}
    for key, array in state.items():
        stem, _, kind = key.rpartition(".") if "." in key else (key, "", "")
        if not stem.startswith("blocks."):
            renamed[fixed[stem] + (f".{kind}" if kind else "")] = array
            continue
        _, layer, part = stem.split(".", 2)
        prefix = f"{root}.encoder.layer.{layer}"
        if part == "attn.qkv":
            for name, values in zip(("query", "key", "value"), np.split(array, 3), strict=True):
                renamed[f"{prefix}.attention.attention.{name}.{kind}"] = np.ascontiguousarray(values)
        else:
            renamed[f"{prefix}.{parts[part]}.{kind}"] = array
    return renamed


@pytest.mark.parametrize("root", ["vit", "deit"])
def test_huggingface_state_dict_round_trip(root):
    module = build(distilled=root == "deit", norm_layer=partial(torch.nn.LayerNorm, eps=1e-12))
    config = config_of(module)
    state = {key: value.detach().numpy() for key, value in module.state_dict().items()}
    theirs = huggingface_state(state, root) | {f"{root}.pooler.dense.weight": np.ones((2, 2), np.float32)}
    read_config, params = params_of(theirs, replace(config, norm_eps=1e-6), "test")
    assert read_config == config and read_config.norm_eps == 1e-12
    ours = keys.to_params(state, config)
    assert digests(params) == digests(ours)
    back = keys.to_state(params, huggingface.key_map(theirs))
    assert all(np.array_equal(back[key], theirs[key]) for key in back)
    assert theirs.keys() - back.keys() == {f"{root}.pooler.dense.weight"}
