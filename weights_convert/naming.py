"""Whose names a state dict has, and its translation to timm's: one entry for each library that publishes ViTs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from vitjax.errors import WeightsError
from weights_convert import huggingface
from weights_convert.keys import State, printable
from weights_convert.renaming import Renamed, Renaming, Table, as_rows, renamed_by, with_projection

OPEN_CLIP: Table = (
    (r"class_embedding", "cls_token"),
    (r"positional_embedding", "pos_embed"),
    (r"conv1\.(\w+)", r"patch_embed.proj.\1"),
    (r"ln_pre\.(\w+)", r"norm_pre.\1"),
    (r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(\w+)", r"blocks.\1.attn.qkv.\2"),
    (r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"transformer\.resblocks\.(\d+)\.ln_([12])\.(\w+)", r"blocks.\1.norm\2.\3"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"transformer\.resblocks\.(\d+)\.ls_([12])\.gamma", r"blocks.\1.ls\2.gamma"),
    (r"ln_post\.(\w+)", r"norm.\1"),
)
_TV_LAYER = r"encoder\.layers\.encoder_layer_(\d+)\."
TORCHVISION: Table = (
    (r"class_token", "cls_token"),
    (r"encoder\.pos_embedding", "pos_embed"),
    (r"conv_proj\.(\w+)", r"patch_embed.proj.\1"),
    (rf"{_TV_LAYER}ln_([12])\.(\w+)", r"blocks.\1.norm\2.\3"),
    (rf"{_TV_LAYER}self_attention\.in_proj_(\w+)", r"blocks.\1.attn.qkv.\2"),
    (rf"{_TV_LAYER}self_attention\.out_proj\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (rf"{_TV_LAYER}mlp\.(?:0|linear_1)\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (rf"{_TV_LAYER}mlp\.(?:3|linear_2)\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"encoder\.ln\.(\w+)", r"norm.\1"),
    (r"heads\.head\.(\w+)", r"head.\1"),
)
FACEBOOK: Table = (  # DINOv2 in its authors' code, where blocks may be grouped in chunks; DeiT III
    (r"register_tokens|storage_tokens", "reg_token"),
    (r"blocks\.\d+\.(\d+)\.(.+)", r"blocks.\1.\2"),
    (r"blocks\.(\d+)\.mlp\.w12\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (r"blocks\.(\d+)\.mlp\.w3\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
)
HEADS = ("head", "classifier", "linear_head", "head.fc", "fc", "linear", "heads.head", "classification_head")
"""Modules of a linear head on a backbone, by the names that training scripts give them."""
_BATCH_NORM_EPS = 1e-6
"""Epsilon of the BatchNorm before the linear head in MAE's linear probing."""


def timm(state: State) -> Renamed:
    """timm's own names, and those of Facebook's DINO, MAE and DINOv2, which differ in details."""
    plain = renamed_by(FACEBOOK, renamed_by(FACEBOOK[1:2], state))
    same = plain.keys() == state.keys()
    plain, notes = _batch_norm_folded(_masked_bias(plain))
    if "storage_tokens" in state:
        return Renamed("DINOv3", plain, {"rotary": huggingface.DINOV3, "norm_eps": 1e-5, "pool": "token"}, notes)
    return Renamed("timm" if same else "DINOv2", plain, {}, notes)


def open_clip(state: State) -> Renamed:
    """The image tower of OpenCLIP and of OpenAI's CLIP.

    The text tower's names are not those of the image tower without its root: their entries have been left aside.
    """
    plain = as_rows(as_rows(renamed_by(OPEN_CLIP, state), "pos_embed"), "cls_token")
    openai = plain.pop("input_resolution", None) is not None  # a constant that only OpenAI's own files have
    embedding = {"embedding": plain["proj"].shape[1]} if "proj" in plain else {}
    fields = {"norm_eps": 1e-5, "mlp": "quick_gelu" if openai else "gelu", **embedding}
    assumed = "the activation is assumed to be GELU, not QuickGELU (models of OpenAI's weights have QuickGELU: arch=)"
    plain = with_projection(plain, "proj", transposed=True)
    return Renamed("OpenAI CLIP" if openai else "OpenCLIP", plain, fields, [] if openai else [assumed])


def torchvision(state: State) -> Renamed:
    """torchvision's VisionTransformer."""
    return Renamed("torchvision", renamed_by(TORCHVISION, state), {"norm_eps": 1e-6}, [])


class Naming(NamedTuple):
    """The names that one library gives its modules.

    anchor: the weight of the patch embedding; what stands before it is the prefix.
    root: pattern of the prefix that belongs to the naming itself.
    """

    anchor: str
    root: str
    translate: Renaming


NAMINGS = (
    Naming("patch_embed.proj.weight", r"(visual\.trunk\.)?", timm),
    Naming("patch_embed.input_proj.weight", r"", timm),
    Naming(
        "embeddings.patch_embeddings.projection.weight",
        r"((vit|deit|ijepa|dinov2|dinov2_with_registers|beit)\.)?",
        huggingface.vit,
    ),
    Naming("embeddings.patch_embeddings.weight", r"(dinov3_vit\.)?", huggingface.vit),
    Naming("embeddings.patch_embedding.weight", r"(vision_model\.)?", huggingface.clip),
    Naming("conv_proj.weight", r"", torchvision),
    Naming("class_embedding", r"(visual\.)?", open_clip),
)


def recognised(keys: Mapping[str, object] | State) -> tuple[Naming, str] | None:
    """The naming of a state dict, and what stands before its anchor: a wrapper's prefix and the naming's root.

    Raises:
        WeightsError: the keys are those of several ViTs.
    """
    for naming in NAMINGS:
        ends = [key for key in keys if key == naming.anchor or key.endswith(f".{naming.anchor}")]
        if len(ends) > 1:
            names = ", ".join(printable(key.removesuffix(naming.anchor)) or "no prefix" for key in sorted(ends)[:4])
            raise WeightsError(f"contains {len(ends)} models, under the prefixes {names}; save one of them alone")
        if ends:
            return naming, ends[0].removesuffix(naming.anchor)
    return None


def wrapper_prefix(naming: Naming, prefix: str) -> str:
    """The part of the prefix that is not the naming's own root."""
    own = re.search(rf"(^|(?<=\.)){naming.root}$", prefix)
    return prefix[: own.start()] if own else prefix


def in_timm_names(state: State) -> Renamed:
    """A state dict, without wrappers' prefixes, in timm's names; unchanged if the names are of no known kind.

    Linear heads get timm's name, a class token's position that is stored apart from the patches' is added to it, and
    the position table and tokens their axes.
    """
    recognition = recognised(state)
    naming = recognition[0] if recognition is not None else None
    if naming is not None and naming.translate in (open_clip, timm):
        tower = "visual.trunk." if naming.translate is timm else "visual."
        state = {key.removeprefix(tower): array for key, array in state.items()}
    renamed = naming.translate(state) if naming is not None else Renamed("unknown", state, {}, [])
    present = {key: array for key, array in renamed.state.items() if key != "reg_token" or array.size}
    return renamed._replace(state=_with_position_in_tokens(_with_head(present)))


def _with_head(state: State) -> State:
    """The state dict with its linear head under timm's name."""
    if "head.weight" in state:
        return state
    names = [name for name in HEADS if f"{name}.weight" in state and state[f"{name}.weight"].ndim == 2]
    if len(names) != 1:
        return state
    (name,) = names
    return {re.sub(rf"^{re.escape(name)}\.(weight|bias)$", r"head.\1", key): array for key, array in state.items()}


def _with_position_in_tokens(state: State) -> State:
    """The state dict where no register has a position: the class token's is added to the class token.

    DINOv2 adds positions to class token and patches, and inserts the registers afterwards.
    """
    table, registers, token = (state.get(key) for key in ("pos_embed", "reg_token", "cls_token"))
    if table is None or registers is None or token is None or table.ndim != 3 or registers.ndim != 3:
        return state
    length, prefix = table.shape[1], 1 + registers.shape[1] + ("dist_token" in state)
    if _is_square(length - prefix) or _is_square(length) or not _is_square(length - 1):
        return state
    return {**state, "cls_token": token + table[:, :1], "pos_embed": table[:, 1:]}


def _is_square(count: int) -> bool:
    return count > 0 and round(count**0.5) ** 2 == count


def _masked_bias(state: State) -> State:
    """The state dict with DINOv3's `bias_mask`, which is 0 at the bias of the keys, applied."""
    masks = [key for key in state if key.endswith(".attn.qkv.bias_mask")]
    masked = {(bias := key.removesuffix("_mask")): np.where(state[key] > 0, state[bias], 0) for key in masks}
    return {key: array for key, array in (state | masked).items() if key not in masks}


def _batch_norm_folded(state: State) -> tuple[State, list[str]]:
    """The head of MAE's linear probing, a BatchNorm without parameters and a linear layer, as one linear layer."""
    if "head.0.running_var" not in state or "head.1.weight" not in state:
        return state, []
    scale = 1 / np.sqrt(state["head.0.running_var"].astype(np.float64) + _BATCH_NORM_EPS)
    weight = state["head.1.weight"].astype(np.float64) * scale
    bias = state["head.1.bias"] - weight @ state["head.0.running_mean"].astype(np.float64)
    rest = {key: array for key, array in state.items() if not key.startswith(("head.0.", "head.1."))}
    folded = {"head.weight": weight.astype(np.float32), "head.bias": bias.astype(np.float32)}
    return {**rest, **folded}, ["the BatchNorm before the head is folded into it"]
