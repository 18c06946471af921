"""timm's Gemma 4 vision encoder: its configuration, and its tensors in the names of timm's VisionTransformer.

Its linear layers, position tables and rotations are stored in other orders, and two constants stand outside of the
parameters. Both are resolved here: the parameters that result compute the same as a plain transformer.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from vitjax.errors import WeightsError
from vitjax.nn.rotary import Rotary
from vitjax.nn.vit_config import ViTConfig
from weights_convert.keys import State
from weights_convert.live_parts import activation_of, class_name, is_identity

GEMMA = {"gemma4_vit.Gemma4VitClassifier", "gemma4_vit.Gemma4VitEncoder"}
"""Classes of timm.models that `gemma_config` reads."""
POSITIONS, PATCHES = "patch_embed.position_embedding_table", "patch_embed.input_proj.weight"
GRID = (48, 48)
"""Patches along the (height, width) of the images that the encoder is evaluated on; its weights do not show it."""
_NORMS = {"norm1": "norm1", "norm2": "post_norm1", "norm3": "norm2", "norm4": "post_norm2"}
_LAYERS = {"attn.o_proj": "attn.proj", "mlp.down_proj": "mlp.fc2"}
_UNUSED = re.compile(r"std_(bias|scale)|.*\.(input|output)_(min|max)|rotary_emb\..*")
"""Buffers that follow from the configuration, or that a classifier does not read."""


def gemma_config(module: Any) -> ViTConfig:
    """The configuration with which vitjax computes the same as a Gemma4VitClassifier or -Encoder in eval mode.

    Raises:
        WeightsError: the module has a feature that vitjax does not support; the message names it.
    """
    encoder = getattr(module, "encoder", module)
    outer = None if encoder is module else module
    norm: Any = getattr(outer, "norm", None)
    head: Any = getattr(outer, "head", None)
    block, patch = encoder.blocks[0], encoder.patch_embed
    attn, mlp, side = block.attn, block.mlp, patch.patch_size[0]
    stated = (getattr(module, "pretrained_cfg", None) or {}).get("input_size")
    image_size = tuple(stated[1:]) if stated else (GRID[0] * side, GRID[1] * side)
    for reason, present in {
        f"the encoder merges several patches into one token (pooling {encoder.global_pool!r})": encoder.global_pool
        == "soft",
        f"global_pool={module.global_pool!r}": module.global_pool != "avg",
        "linear layers that clip their inputs and outputs": any(
            getattr(part, "use_clipped", False) for part in encoder.modules()
        ),
        f"{encoder.in_chans} input channels, not 3": encoder.in_chans != 3,
        "patches that are not square": len(set(patch.patch_size)) > 1,
        f"activation {activation_of(mlp.act)}": activation_of(mlp.act) != "GELUTanh",
        f"a head of type {class_name(head)}, not one linear layer with bias": not is_identity(head)
        and (class_name(head) != "Linear" or head.bias is None),
        "norms with different epsilons": not is_identity(norm) and norm.eps != block.norm1.eps,
        f"images of {image_size} pixels, for which it has no positions": max(image_size)
        > side * patch.position_embedding_size,
    }.items():
        if present:
            raise WeightsError(f"this {class_name(module)} is not supported: {reason}")
    heads, width = attn.num_heads, attn.head_dim
    return ViTConfig(
        width=encoder.embed_dim,
        depth=len(encoder.blocks),
        heads=heads,
        head_dim=0 if heads * width == encoder.embed_dim else width,
        mlp_dim=mlp.down_proj.linear.in_features,
        patch_size=side,
        image_size=(image_size[0], image_size[1]),
        num_classes=0 if is_identity(head) else head.out_features,
        class_token=False,
        pool="avg",
        final_norm=False,
        head_norm=not is_identity(norm),
        norm="rms",
        norm_eps=block.norm1.eps,
        qkv_bias=False,
        biases=False,
        qk_norm=True,
        value_norm=True,
        sandwich_norm=True,
        mlp="geglu_tanh",
        resampling="crop",
        rotary=Rotary("axial", float(encoder.rotary_emb.rope_theta), half=True, x_first=True),
    )


def without_gemma(state: State, grid: tuple[int, int]) -> State:
    """The state dict in the names of timm's VisionTransformer; returned as it is if it is of no Gemma 4 encoder.

    Args:
        state: without the prefix of a classifier.
        grid: number of patches along (height, width), of which the position tables' rows are kept.
    """
    if POSITIONS not in state or PATCHES not in state:
        return state
    plain: State = {}
    for key, array in state.items():
        name = re.sub(r"\.linear\.weight$", ".weight", key)
        if not _UNUSED.fullmatch(name):
            plain[name] = array
    of_x, of_y = _wide(plain.pop(POSITIONS))
    plain["pos_embed"] = (of_y[: grid[0], None] + of_x[None, : grid[1]]).reshape(1, -1, of_x.shape[-1])
    weight = _wide(plain.pop(PATCHES))
    side = round((weight.shape[1] / 3) ** 0.5)
    # The encoder maps pixels from [0, 1] to [-1, 1] itself: W (2 x - 1) = 2 W x - W 1.
    plain["patch_embed.proj.weight"] = 2 * weight.reshape(-1, 3, side, side)
    plain["patch_embed.proj.bias"] = -weight.sum(axis=1)
    depth = 1 + max((int(match[1]) for key in plain if (match := re.match(r"blocks\.(\d+)\.", key))), default=-1)
    for number in range(depth):
        prefix = f"blocks.{number}."
        block = {key: plain.pop(key) for key in list(plain) if key.startswith(prefix)}
        own = _block({key.removeprefix(prefix): array for key, array in block.items()})
        plain |= {prefix + key: array for key, array in own.items()}
    return plain


def _block(block: State) -> State:
    """The tensors of one block.

    Scores are q k without the factor 1 / sqrt(d), which the scale of the queries' norm makes up for. The pairs of
    channels that turn are those a quarter of the head apart, in its first half by x and in its second by y; their order
    becomes that of `Rotary.half`.
    """
    query, key = (_wide(block.pop(f"attn.{part}_norm.weight")) for part in "qk")
    width = len(query)
    quarters = np.arange(width).reshape(4, -1)
    order = quarters[[0, 2, 1, 3]].ravel()
    by_head = [block.pop(f"attn.{part}_proj.weight") for part in "qkv"]
    by_head = [weight.reshape(-1, width, weight.shape[-1]) for weight in by_head]
    repeats = [len(by_head[0]) // len(weight) for weight in by_head]  # of grouped heads of keys and values
    by_head = [np.repeat(weight, count, axis=0) for weight, count in zip(by_head, repeats, strict=True)]
    joined = [by_head[0][:, order], by_head[1][:, order], by_head[2]]
    gates = [block.pop(f"mlp.{part}_proj.weight") for part in ("gate", "up")]
    renamed = {}
    for name, array in block.items():
        layer = name.removesuffix(".weight")
        renamed[f"{_NORMS.get(layer) or _LAYERS.get(layer) or layer}.weight"] = array
    return renamed | {
        "attn.qkv.weight": np.concatenate([weight.reshape(-1, weight.shape[-1]) for weight in joined]),
        "attn.q_norm.weight": query[order] * width**0.5,
        "attn.k_norm.weight": key[order],
        "mlp.fc1.weight": np.concatenate(gates),
    }


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.promote_types(array.dtype, np.float32) if array.dtype != np.float64 else np.float64)
