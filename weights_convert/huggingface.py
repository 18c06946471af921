"""Names of Hugging Face's image models: ViT, DeiT, MAE, MSN, I-JEPA, DINOv2; CLIP and SigLIP.

transformers 5 names the modules differently from transformers 4 while a model is in memory; its files have the names of
version 4, except those that `torch.save(model.state_dict(), ...)` wrote. Both are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from vitjax.nn.rotary import Rotary
from weights_convert.class_names import names_in
from weights_convert.keys import State
from weights_convert.renaming import Renamed, Table, as_rows, joined, renamed_by, with_projection

DINOV3 = Rotary("centred", temperature=100.0, half=True)
"""Rotary positions of DINOv3."""
NORM_EPS = 1e-12
"""LayerNorm's epsilon of ViT, DeiT, MAE and I-JEPA, where timm has 1e-6."""

_VIT = r"(?:(?:vit|deit|ijepa|dinov2|dinov2_with_registers|dinov3_vit|beit)\.)?"  # a model without head has no root
_LAYER = rf"{_VIT}(?:model\.)?(?:encoder\.)?layers?\.(\d+)\."
VIT: Table = (
    (rf"{_VIT}embeddings\.cls_token", "cls_token"),
    (rf"{_VIT}embeddings\.distillation_token", "dist_token"),
    (rf"{_VIT}embeddings\.register_tokens", "reg_token"),
    (rf"{_VIT}embeddings\.mask_token", "mask_token"),
    (rf"{_VIT}embeddings\.position_embeddings", "pos_embed"),
    (rf"{_VIT}embeddings\.patch_embeddings\.(?:projection\.)?(weight|bias)", r"patch_embed.proj.\1"),
    (rf"{_LAYER}attention\.(?:attention\.)?(?:query|q_proj)\.(\w+)", r"blocks.\1.attn.q.\2"),
    (rf"{_LAYER}attention\.(?:attention\.)?(?:key|k_proj)\.(\w+)", r"blocks.\1.attn.k.\2"),
    (rf"{_LAYER}attention\.(?:attention\.)?(?:value|v_proj)\.(\w+)", r"blocks.\1.attn.v.\2"),
    (rf"{_LAYER}attention\.(?:output\.dense|o_proj)\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (rf"{_LAYER}(?:layernorm_before|norm1)\.(\w+)", r"blocks.\1.norm1.\2"),
    (rf"{_LAYER}(?:layernorm_after|norm2)\.(\w+)", r"blocks.\1.norm2.\2"),
    (rf"{_LAYER}(?:intermediate\.dense|mlp\.fc1|mlp\.weights_in)\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (rf"{_LAYER}(?:output\.dense|mlp\.fc2|mlp\.weights_out|mlp\.down_proj)\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (rf"{_LAYER}mlp\.gate_proj\.(\w+)", r"blocks.\1.mlp.gate.\2"),
    (rf"{_LAYER}mlp\.up_proj\.(\w+)", r"blocks.\1.mlp.up.\2"),
    (rf"{_LAYER}(?:layer_scale(\d)\.lambda1|lambda_(\d))", r"blocks.\1.ls\2\3.gamma"),
    (rf"{_LAYER}(?:attention\.attention\.)?relative_position_bias\.(\w+)", r"blocks.\1.attn.\2"),
    (rf"{_VIT}(?:encoder\.)?(?:relative_position_bias|shared_position_bias)\.(\w+)", r"rel_pos_bias.\1"),
    (rf"{_VIT}(?:layernorm|norm)\.(\w+)", r"norm.\1"),
    (rf"{_VIT}pooler\.layernorm\.(\w+)", r"fc_norm.\1"),
    (r"(?:cls_)?classifier\.(\w+)", r"head.\1"),
    (r"distillation_classifier\.(\w+)", r"head_dist.\1"),
)

_CLIP = r"(?:vision_model\.)?"
_TOWER = rf"{_CLIP}encoder\.layers\.(\d+)\."
CLIP: Table = (
    (rf"{_CLIP}embeddings\.class_embedding", "cls_token"),
    (rf"{_CLIP}embeddings\.position_embedding\.weight", "pos_embed"),
    (rf"{_CLIP}embeddings\.patch_embedding\.(\w+)", r"patch_embed.proj.\1"),
    (rf"{_CLIP}pre_layrnorm\.(\w+)", r"norm_pre.\1"),
    (rf"{_TOWER}self_attn\.([qkv])_proj\.(\w+)", r"blocks.\1.attn.\2.\3"),
    (rf"{_TOWER}self_attn\.out_proj\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (rf"{_TOWER}layer_norm([12])\.(\w+)", r"blocks.\1.norm\2.\3"),
    (rf"{_TOWER}mlp\.fc([12])\.(\w+)", r"blocks.\1.mlp.fc\2.\3"),
    (rf"{_CLIP}post_layernorm\.(\w+)", r"norm.\1"),
    (rf"{_CLIP}head\.probe", "attn_pool.latent"),
    (rf"{_CLIP}head\.attention\.in_proj_(\w+)", r"attn_pool.in_proj.\1"),
    (rf"{_CLIP}head\.attention\.out_proj\.(\w+)", r"attn_pool.proj.\1"),
    (rf"{_CLIP}head\.layernorm\.(\w+)", r"attn_pool.norm.\1"),
    (rf"{_CLIP}head\.mlp\.fc([12])\.(\w+)", r"attn_pool.mlp.fc\1.\2"),
    (r"classifier\.(\w+)", r"head.\1"),
)


def is_huggingface(keys: Iterable[str]) -> bool:
    """Whether the keys of a state dict follow Hugging Face's naming."""
    return any(re.search(r"(^|\.)embeddings\.(patch_embeddings?|position_embeddings?)\b", key) for key in keys)


def vit(state: State) -> Renamed:
    """ViT, DeiT, MAE, MSN, I-JEPA and DINOv2 in timm's names."""
    plain = joined(_ungated(renamed_by(VIT, state)))
    fields: dict[str, Any] = {"norm_eps": NORM_EPS}
    if "blocks.0.ls1.gamma" in plain or _is_msn(state):
        fields["norm_eps"] = 1e-6
    notes = []
    if "pos_embed" not in plain and "reg_token" in plain:  # DINOv3
        fields |= {"norm_eps": 1e-5, "rotary": DINOV3, "pool": "token"}
    if "dist_token" in plain and "head_dist.weight" not in plain:
        # The head reads the class token alone, and the distillation token is one more token beside it.
        plain["reg_token"] = plain.pop("dist_token")
        notes.append("the distillation token has no head and is taken as a register")
    return Renamed("Hugging Face ViT", plain, fields, notes)


def clip(state: State) -> Renamed:
    """The image tower of CLIP or SigLIP in timm's names."""
    plain = as_rows(as_rows(joined(renamed_by(CLIP, state)), "pos_embed"), "cls_token")
    embedding: dict[str, Any] = {}
    if "head.weight" in plain:  # of ForImageClassification, which does not use the embedding's pooling
        unused = ("norm.", "attn_pool.") if "norm_pre.weight" in plain else ("attn_pool.",)
        plain = {key: array for key, array in plain.items() if not key.startswith(unused)}
        embedding = {"pool": "avg"}
    plain = _split_pooling(plain)
    plain = with_projection(plain, "visual_projection.weight", transposed=False)
    if "visual_projection.weight" in state:
        embedding["embedding"] = plain["head.weight"].shape[0]
    kernel = plain.get("patch_embed.proj.weight")
    if kernel is not None and kernel.ndim == 2:  # SigLIP 2 multiplies flattened patches [row, column, channel]
        side = round((kernel.shape[1] / 3) ** 0.5)
        plain["patch_embed.proj.weight"] = kernel.reshape(-1, side, side, 3).transpose(0, 3, 1, 2)
    if "norm_pre.weight" in plain:
        return Renamed("Hugging Face CLIP", plain, {"norm_eps": 1e-5, "mlp": "quick_gelu", **embedding}, [])
    return Renamed("Hugging Face SigLIP", plain, {"norm_eps": 1e-6, "mlp": "gelu_tanh", **embedding}, [])


def _split_pooling(state: State) -> State:
    """The state dict with the query of an attention pooling head apart from keys and values, as timm has it."""
    if "attn_pool.in_proj.weight" not in state:
        return state
    state = dict(state)
    for kind in ("weight", "bias"):
        query, *others = np.split(state.pop(f"attn_pool.in_proj.{kind}"), 3)
        state |= {f"attn_pool.q.{kind}": query, f"attn_pool.kv.{kind}": np.concatenate(others)}
    return state


def _ungated(state: State) -> State:
    """The state dict with DINOv3's `up_proj` as fc1 where the MLP has no gate."""
    if any(".mlp.gate." in key for key in state):
        return state
    return {key.replace(".mlp.up.", ".mlp.fc1."): array for key, array in state.items()}


def _is_msn(state: State) -> bool:
    """transformers writes MSN's layers without the root that its embeddings have."""
    rooted, rootless = "vit.embeddings.cls_token", "encoder.layer.0.layernorm_before.weight"
    return rooted in state and rootless in state


def class_names(config: dict[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes of a config.json, in the order of the logits; None if it has placeholders only.

    Args:
        config: the decoded config.json.
    """
    names = names_in({"id2label": config.get("id2label")})
    placeholders = names is not None and all(name == f"LABEL_{index}" for index, name in enumerate(names))
    return None if placeholders else names
