"""Variants of timm's state dict -> the state dict of its plain VisionTransformer, which `keys.TIMM` maps.

timm's Eva, Beit, VisionTransformerRelPos and NaFlexVit, and some options of VisionTransformer, store the same
computation in other tensors. What is constant or linear is computed here once, instead of in every forward pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from vitjax.nn.positions import between_ends
from vitjax.nn.relative_bias import EXTRA_ROWS
from vitjax.nn.vit_config import ViTConfig
from weights_convert.gemma import without_gemma
from weights_convert.keys import State
from weights_convert.stems import with_folded_stem

BLOCK = re.compile(r"blocks\.(\d+)\.(.*)")
WRAPPER = "encoder."
"""Prefix of an encoder in timm's classifiers around one."""
UNUSED = re.compile(r"(^|\.)(relative_position_index|rel_coords_log|rope\.(periods|bands|pos_embed|t_x|t_y))$")
"""Buffers that follow from the configuration."""
BIAS_TABLE = "attn.relative_position_bias_table"


def canonical(state: State, config: ViTConfig) -> State:
    """The state dict with the keys of timm's VisionTransformer, and those of `keys.TIMM` for what it lacks.

    Args:
        state: state dict with the names of any of timm's plain transformers; returned as it is if it has no variant.
        config: the architecture, which gives the patch grid and the number of heads.
    """
    if any(key.startswith(f"{WRAPPER}blocks.") for key in state):
        state = {key.removeprefix(WRAPPER): array for key, array in state.items()}
    state = {key: array for key, array in state.items() if not UNUSED.search(key)}
    state = _on_the_grid(without_gemma(state, config.grid), config)
    state = with_folded_stem(_without_flexible_embedding(state, config))
    blocks: dict[int, State] = {}
    others: State = {}
    for key, array in state.items():
        match = BLOCK.fullmatch(key)
        if match:
            blocks.setdefault(int(match[1]), {})[match[2]] = array
        else:
            others[key] = array
    shared = {key: others.pop(key) for key in list(others) if key.startswith(("shared_rel_pos.", "rel_pos_bias."))}
    frequencies = others.pop("rope.freqs", None)
    for number, block in blocks.items():
        if frequencies is not None and frequencies.ndim == 4 and number < frequencies.shape[1]:
            block["attn.rotary_frequencies"] = frequencies[:, number]
        block |= {f"attn.rel_pos.{key.split('.', 1)[1]}": array for key, array in shared.items()}
        for rewrite in REWRITES:
            block = rewrite(block, config)
        others |= {f"blocks.{number}.{key}": array for key, array in block.items()}
    return others


def _joined_qkv(block: State, config: ViTConfig) -> State:
    """`q_proj`, `k_proj`, `v_proj` -> `qkv`. Grouped key and value heads are repeated for each of their queries."""
    if "attn.q_proj.weight" not in block:
        return block
    block = dict(block)
    width = block["attn.q_proj.weight"].shape[0] // config.heads
    parts = {}
    for kind in ("weight", "bias"):
        tensors = [block.pop(f"attn.{part}_proj.{kind}", None) for part in "qkv"]
        if kind == "bias" and all(tensor is None for tensor in tensors):
            continue
        parts[kind] = [_repeated(tensor, config.heads, width) for tensor in tensors if tensor is not None]
        if len(parts[kind]) < len(tensors):
            given = iter(parts[kind])
            zeros = np.zeros_like(parts[kind][0])
            parts[kind] = [zeros if tensor is None else next(given) for tensor in tensors]
    return block | {f"attn.qkv.{kind}": np.concatenate(tensors) for kind, tensors in parts.items()}


def _repeated(tensor: np.ndarray, heads: int, width: int) -> np.ndarray:
    groups = tensor.shape[0] // width
    if groups == 0 or heads % groups:  # another number of heads; the comparison of shapes refuses it
        return tensor
    by_head = tensor.reshape(groups, width, *tensor.shape[1:])
    return np.repeat(by_head, heads // groups, axis=0).reshape(heads * width, *tensor.shape[1:])


def _bias_without_keys(block: State, config: ViTConfig) -> State:
    """`q_bias` and `v_bias` -> `qkv.bias`, which is 0 for the keys."""
    if "attn.q_bias" not in block or "attn.v_bias" not in block:
        return block
    block = dict(block)
    q, v, k = block.pop("attn.q_bias"), block.pop("attn.v_bias"), block.pop("attn.k_bias", None)
    return block | {"attn.qkv.bias": np.concatenate([q, np.zeros_like(q) if k is None else k, v])}


def _layer_scale(block: State, config: ViTConfig) -> State:
    """`gamma_1` and `gamma_2` -> `ls1.gamma` and `ls2.gamma`, which is 1 where only attention is scaled."""
    if "gamma_1" not in block:
        return block
    block = dict(block)
    first = block.pop("gamma_1")
    return block | {"ls1.gamma": first, "ls2.gamma": block.pop("gamma_2", np.ones_like(first))}


def _joined_gate(block: State, config: ViTConfig) -> State:
    """`fc1_g`, the gate of SwiGLU, and `fc1_x` -> `fc1`."""
    if "mlp.fc1_g.weight" not in block or "mlp.fc1_x.weight" not in block:
        return block
    block = dict(block)
    for kind in ("weight", "bias"):
        if f"mlp.fc1_g.{kind}" in block:
            gate, value = block.pop(f"mlp.fc1_g.{kind}"), block.pop(f"mlp.fc1_x.{kind}")
            block[f"mlp.fc1.{kind}"] = np.concatenate([gate, value])
    return block


def _filled_biases(block: State, config: ViTConfig) -> State:
    """Biases of zeros for the layers of an MLP that has none behind an attention that has one."""
    if "attn.proj.bias" not in block:
        return block
    layers = [name for name in ("mlp.fc1", "mlp.fc2") if f"{name}.weight" in block and f"{name}.bias" not in block]
    weights = {name: block[f"{name}.weight"] for name in layers}
    return block | {f"{name}.bias": np.zeros(weight.shape[0], weight.dtype) for name, weight in weights.items()}


def _position_bias(block: State, config: ViTConfig) -> State:
    """The relative position bias as BEiT's table: from the MLP of log coordinates, or from a table without prefixes."""
    own = {key.removeprefix("attn.rel_pos."): array for key, array in block.items() if key.startswith("attn.rel_pos.")}
    if not own:
        return block
    block = {key: array for key, array in block.items() if not key.startswith("attn.rel_pos.")}
    table = _bias_of_mlp(own, config) if "mlp.fc1.weight" in own else own["relative_position_bias_table"]
    if len(table) == (2 * config.grid[0] - 1) * (2 * config.grid[1] - 1):
        table = np.concatenate([table, np.zeros((EXTRA_ROWS, table.shape[1]), table.dtype)])
    return block | {BIAS_TABLE: table}


def _bias_of_mlp(own: State, config: ViTConfig) -> np.ndarray:
    """Bias of every offset (Liu et al. 2022, Swin V2): MLP with ReLU of sign(x) log(1 + |x|) of the offset (dy, dx)."""
    wide = {key: np.asarray(array, np.promote_types(array.dtype, np.float32)) for key, array in own.items()}
    dy, dx = (np.arange(-(side - 1), side, dtype=np.float64) for side in config.grid)
    offsets = np.stack(np.meshgrid(dy, dx, indexing="ij"), axis=-1).reshape(-1, 2)
    logs = np.sign(offsets) * np.log1p(np.abs(offsets))
    hidden = np.maximum(logs @ wide["mlp.fc1.weight"].T + wide["mlp.fc1.bias"], 0)
    bias = hidden @ wide["mlp.fc2.weight"].T + wide.get("mlp.fc2.bias", 0)
    return bias.astype(wide["mlp.fc2.weight"].dtype)


def _merged_parallel(block: State, config: ViTConfig) -> State:
    """Several attentions and several MLPs side by side (Touvron et al. 2022) -> one of each, with all their heads.

    x + Σ_i ls_i(attn_i(norm_i(x))) is one attention: norms differ in scale and bias only, which the linear layers after
    them take up; so does the output projection with LayerScale, and its bias with the sum.
    """
    branches = sorted({key.split(".")[1] for key in block if key.startswith("attns.")})
    if not branches:
        return block
    merged: State = {}
    for kind, ours, (first, last), name in (
        ("attns", "norm1", ("attn.qkv", "attn.proj"), "attn"),
        ("ffns", "norm2", ("mlp.fc1", "mlp.fc2"), "mlp"),
    ):
        inputs, biases, outputs, bias_sum = [], [], [], np.zeros(())
        for branch in branches:
            own = {key.removeprefix(f"{kind}.{branch}."): array for key, array in block.items()}
            scale, shift = own["norm.weight"], own["norm.bias"]
            weight, bias = own[f"{first}.weight"], own.get(f"{first}.bias", 0)
            inputs.append(weight * scale)
            biases.append(weight @ shift + bias)
            gain = own.get("ls.gamma", np.ones_like(own[f"{last}.bias"]))
            outputs.append(own[f"{last}.weight"] * gain[:, None])
            bias_sum = bias_sum + own[f"{last}.bias"] * gain
        parts = 3 if name == "attn" else 1  # queries, keys and values of all branches lie together
        merged |= {
            f"{ours}.weight": np.ones_like(scale),
            f"{ours}.bias": np.zeros_like(shift),
            f"{first}.weight": _interleaved(inputs, parts),
            f"{first}.bias": _interleaved(biases, parts),
            f"{last}.weight": np.concatenate(outputs, axis=1),
            f"{last}.bias": bias_sum,
        }
    return merged


def _interleaved(tensors: list[np.ndarray], parts: int) -> np.ndarray:
    """Tensors of several branches, each of `parts` parts, concatenated part by part."""
    split = [np.split(tensor, parts) for tensor in tensors]
    return np.concatenate([branch[part] for part in range(parts) for branch in split])


def _on_the_grid(state: State, config: ViTConfig) -> State:
    """The position table of a model that resamples it linearly to the images, of which only the grid's is kept."""
    table = state.get("pos_embed")
    if config.resampling != "bilinear" or table is None or table.ndim != 3:
        return state
    side = round(table.shape[1] ** 0.5)
    if side * side != table.shape[1] or config.grid == (side, side):
        return state
    down, across = (between_ends(side, count) for count in config.grid)
    rows = np.einsum("yi,xj,ijc->yxc", down, across, table[0].reshape(side, side, -1).astype(np.float64))
    return {**state, "pos_embed": rows.reshape(1, -1, rows.shape[-1]).astype(table.dtype)}


def _without_flexible_embedding(state: State, config: ViTConfig) -> State:
    """NaFlexVit's `embeds` -> `patch_embed` and tokens; linear patches are a convolution."""
    if "embeds.proj.weight" not in state:
        return state
    own = {key.removeprefix("embeds."): array for key, array in state.items() if key.startswith("embeds.")}
    state = {key: array for key, array in state.items() if not key.startswith("embeds.")}
    kernel = own.pop("proj.weight")
    if kernel.ndim == 2:
        side = round((kernel.shape[1] / 3) ** 0.5)
        kernel = kernel.reshape(-1, side, side, 3).transpose(0, 3, 1, 2)
    state["patch_embed.proj.weight"] = kernel
    if "pos_embed_y" in own:
        y, x = own.pop("pos_embed_y")[0], own.pop("pos_embed_x")[0]
        own["pos_embed"] = (y[:, None] + x[None])[None]
    if "pos_embed" in own and own["pos_embed"].ndim == 4:
        state["pos_embed"] = own.pop("pos_embed").reshape(1, -1, kernel.shape[0])
    for key, array in own.items():
        state[f"patch_embed.{key}" if key.startswith(("proj.", "norm.")) else key] = array
    return state


REWRITES: tuple[Callable[[State, ViTConfig], State], ...] = (
    _merged_parallel,
    _joined_qkv,
    _bias_without_keys,
    _layer_scale,
    _joined_gate,
    _filled_biases,
    _position_bias,
)
"""What is applied to the tensors of a block, in this order; each returns the block itself if it has no such tensors."""
