"""The key map of Hugging Face's `ViTForImageClassification` and `DeiTForImageClassification[WithTeacher]`.

Two things differ from timm: query, key and value are separate linear layers, and LayerNorm adds 1e-12, not 1e-6, to
the variance.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from vitjax.nn.vit_config import ViTConfig
from weights_convert.keys import PATCHES, KeyMap, State, linear, norm, tokens

NORM_EPS = 1e-12
_UNUSED = re.compile(r"\.pooler\.|\.mask_token$")  # parameters of other tasks; the classifier does not use them


def is_huggingface(keys: Iterable[str]) -> bool:
    """Whether the keys of a state dict follow Hugging Face's naming."""
    return any(re.match(r"(vit|deit)\.(embeddings|encoder)\.", key) for key in keys)


def key_map(state: State) -> KeyMap:
    """The key map for this state dict: the prefix is `vit` or `deit`, and a distilled model has two classifiers."""
    root = "deit" if any(key.startswith("deit.") for key in state) else "vit"
    two_heads = "distillation_classifier.weight" in state
    embeddings, layer = f"{root}.embeddings", f"{root}.encoder.layer.{{}}"
    attention = f"{layer}.attention.attention"
    return {
        **tokens("cls_token", f"{embeddings}.cls_token"),
        **tokens("dist_token", f"{embeddings}.distillation_token"),
        **tokens("pos_embed", f"{embeddings}.position_embeddings"),
        **linear("patch_embed.proj", f"{embeddings}.patch_embeddings.projection", kernel=PATCHES),
        **norm("blocks.norm1", f"{layer}.layernorm_before"),
        **linear("blocks.attn.qkv", *(f"{attention}.{part}" for part in ("query", "key", "value"))),
        **linear("blocks.attn.proj", f"{layer}.attention.output.dense"),
        **norm("blocks.norm2", f"{layer}.layernorm_after"),
        **linear("blocks.mlp.fc1", f"{layer}.intermediate.dense"),
        **linear("blocks.mlp.fc2", f"{layer}.output.dense"),
        **norm("norm", f"{root}.layernorm"),
        **linear("head", "cls_classifier" if two_heads else "classifier"),
        **linear("head_dist", "distillation_classifier"),
    }


def config_for(config: ViTConfig) -> ViTConfig:
    """The configuration with Hugging Face's LayerNorm epsilon."""
    return replace(config, norm_eps=NORM_EPS)


def without_unused(state: State) -> State:
    """The state dict without the pooler and the mask token, which the classifier does not use."""
    return {key: array for key, array in state.items() if not _UNUSED.search(key)}
