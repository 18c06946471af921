"""`.npz` files of JAX's own ViTs: google-research/vision_transformer (AugReg, SAM-optimised, i21k) and big_vision."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np

from vitjax.errors import WeightsError
from weights_convert.keys import State
from weights_convert.renaming import Renamed, Table, joined, renamed_by

_BLOCK = r"(?:Transformer/)?encoderblock_(\d+)/"
_ATTENTION = rf"{_BLOCK}MultiHeadDotProductAttention_\d+/"
TABLE: Table = (
    (r"cls", "cls_token"),
    (r"(?:Transformer/posembed_input/)?pos_embedding", "pos_embed"),
    (r"embedding/(\w+)", r"patch_embed.proj.\1"),
    (rf"{_BLOCK}LayerNorm_0/(\w+)", r"blocks.\1.norm1.\2"),
    (rf"{_ATTENTION}query/(\w+)", r"blocks.\1.attn.q.\2"),
    (rf"{_ATTENTION}key/(\w+)", r"blocks.\1.attn.k.\2"),
    (rf"{_ATTENTION}value/(\w+)", r"blocks.\1.attn.v.\2"),
    (rf"{_ATTENTION}out/(\w+)", r"blocks.\1.attn.proj.\2"),
    (rf"{_BLOCK}LayerNorm_[12]/(\w+)", r"blocks.\1.norm2.\2"),
    (rf"{_BLOCK}MlpBlock_\d+/Dense_0/(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (rf"{_BLOCK}MlpBlock_\d+/Dense_1/(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"(?:Transformer/)?encoder_norm/(\w+)", r"norm.\1"),
    (r"MAPHead_0/probe", "attn_pool.latent"),
    (r"MAPHead_0/MultiHeadDotProductAttention_0/(query|key|value)/(\w+)", r"attn_pool.\1.\2"),
    (r"MAPHead_0/MultiHeadDotProductAttention_0/out/(\w+)", r"attn_pool.proj.\1"),
    (r"MAPHead_0/LayerNorm_0/(\w+)", r"attn_pool.norm.\1"),
    (r"MAPHead_0/MlpBlock_0/Dense_0/(\w+)", r"attn_pool.mlp.fc1.\1"),
    (r"MAPHead_0/MlpBlock_0/Dense_1/(\w+)", r"attn_pool.mlp.fc2.\1"),
    (r"head/(\w+)", r"head.\1"),
)
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}


def read_npz(path: Path) -> State:
    """All arrays of a `.npz` file; objects, which would have to be unpickled, are refused.

    Raises:
        WeightsError: the file is damaged or contains objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, KeyError) as error:
        cause = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path}: not a readable .npz file of arrays: {cause}") from error


def is_big_vision(state: State) -> bool:
    """Whether the keys are those of a ViT of big_vision or vision_transformer."""
    return any(re.search(r"(^|/)embedding/kernel$", key) for key in state)


def big_vision(state: State) -> Renamed:
    """big_vision's or vision_transformer's ViT in timm's names.

    The number of heads is the middle axis of a query kernel [c, h, d]. `pre_logits`, a tanh layer before the head, is
    no part of the model here: the head behind it is left aside with it.
    """
    arrays = _parameters(state)
    notes = []
    if any(key.startswith("pre_logits/") for key in arrays):
        arrays = {key: array for key, array in arrays.items() if not key.startswith(("pre_logits/", "head/"))}
        notes.append("left pre_logits, a tanh layer, and the head behind it aside: the model returns features")
    heads = next((array.shape[1] for key, array in arrays.items() if key.endswith("/query/kernel")), 0)
    named = renamed_by(TABLE, arrays)
    plain = _keys_and_values(joined({_torch_name(key): _torch_layout(key, array) for key, array in named.items()}))
    return Renamed("big_vision", plain, {"heads": heads, "norm_eps": 1e-6}, notes)


def _keys_and_values(state: State) -> State:
    """The state dict with keys and values of an attention pooling head as one layer, and timm's name of its query."""
    if "attn_pool.query.weight" not in state:
        return state
    state = dict(state)
    for kind in ("weight", "bias"):
        both = [state.pop(f"attn_pool.{part}.{kind}") for part in ("key", "value")]
        state |= {
            f"attn_pool.q.{kind}": state.pop(f"attn_pool.query.{kind}"),
            f"attn_pool.kv.{kind}": np.concatenate(both),
        }
    return state


def _parameters(state: State) -> State:
    """The parameters of the image model, without optimizer states and the name of its branch."""
    anchor = next(key for key in state if key.endswith("embedding/kernel"))
    prefix = anchor.removesuffix("embedding/kernel")
    inside = {key.removeprefix(prefix): array for key, array in state.items() if key.startswith(prefix)}
    return _unstacked(inside)


def _unstacked(state: State) -> State:
    """The state dict where blocks that big_vision stacked along a leading axis, for its scan, have their numbers."""
    flat: State = {}
    for key, array in state.items():
        if "encoderblock/" not in key:
            flat[key] = array
            continue
        for number, values in enumerate(array):
            flat[key.replace("encoderblock/", f"encoderblock_{number}/")] = values
    return flat


def _torch_name(key: str) -> str:
    module, _, leaf = key.rpartition(".")
    return f"{module}.{_LEAVES[leaf]}" if module and leaf in _LEAVES else key


def _torch_layout(key: str, array: np.ndarray) -> np.ndarray:
    """flax's axes -> PyTorch's: [in, out] of a linear layer, [c, h, d] and [h, d, c] of attention, [p, p, 3, c]."""
    if key.endswith("patch_embed.proj.kernel") and array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    if key.endswith("attn.proj.kernel") or key == "attn_pool.proj.kernel":
        return array.reshape(-1, array.shape[-1]).T
    if key.endswith(".kernel") and array.ndim == 3:
        return array.reshape(array.shape[0], -1).T
    if key.endswith(".kernel"):
        return array.T
    if re.search(r"\.(q|k|v|query|key|value)\.bias$", key):
        return array.reshape(-1)
    return array
