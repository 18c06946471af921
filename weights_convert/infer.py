"""The architecture of a ViT from the names and shapes of its state dict, in timm's names.

Shapes show everything but the number of heads, the activation, LayerNorm's epsilon and whether a class token or the
patches are pooled. These come from what the source states, else from the known architectures of the same shapes, else
from the usual choice (heads of width 64, GELU, 1e-6, the class token), and each such choice is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple

from vitjax.errors import ConfigError, WeightsError
from vitjax.nn.relative_bias import EXTRA_ROWS
from vitjax.nn.vit_config import ViTConfig
from weights_convert.gemma import GRID, POSITIONS
from weights_convert.stems import stem_in

Shapes = Mapping[str, tuple[int, ...]]
HEAD_WIDTH = 64
UNSEEN = (
    "heads",
    "mlp",
    "norm_eps",
    "pool",
    "rotary",
    "post_norm",
    "head_dim",
    "head_norm",
    "value_norm",
    "resampling",
)
"""Fields of ViTConfig that shapes do not show."""
FREE = (*UNSEEN, "image_size", "num_classes", "embedding", "fc_norm", "pool_heads", "drop_remainder")
"""Fields in which a fine-tuned model may differ from the known architecture that it comes from."""
_CLIP_EPS = 1e-5
"""LayerNorm's epsilon of models with a norm before the first block, which are CLIP's; others have 1e-6."""


class Inferred(NamedTuple):
    """config: the architecture. names: known architectures of the same shapes. notes: a sentence for each choice."""

    config: ViTConfig
    names: tuple[str, ...]
    notes: list[str]


def infer(
    shapes: Shapes,
    stated: Mapping[str, Any],
    known: Mapping[str, ViTConfig],
    image_size: tuple[int, int] | None = None,
    variant: bool = False,
) -> Inferred:
    """The architecture that a state dict belongs to.

    Args:
        shapes: key -> shape of every array, in timm's names.
        stated: fields of ViTConfig that the source itself states.
        known: architectures by name.
        image_size: (height, width) that the position table is for, where its grid is not square.
        variant: whether the keys were those of another class of timm than VisionTransformer, such as Eva, which may
            have rotary positions; only a known architecture of the same shapes says so.

    Raises:
        WeightsError: the keys are not those of a ViT, or the shapes leave a doubt that `arch` or `image_size` ends.
    """
    seen = seen_in(shapes, image_size)
    stated = {name: value for name, value in stated.items() if value is not None and name != "image_size"}
    gated = seen.pop("gated")
    if gated:
        stated.pop("mlp", None)
    usual = {"mlp": "gelu", "norm_eps": _CLIP_EPS if seen["pre_norm"] else 1e-6, "pool": _usual_pool(seen)}
    attends = seen.get("pool") == "map"
    size = seen["image_size"] or (seen["patch_size"],) * 2
    rest = {"pool_heads": int(attends), "rotary": None, "image_size": size}
    draft = _config({**usual, "heads": 1, **seen, **stated, **rest})
    names = tuple(name for name, config in known.items() if _same_but_for(config, draft, gated))
    mixed = "blocks.0.attn.rotary_frequencies" in shapes
    names = tuple(name for name in names if mixed == _has_learned_rotation(known[name]))
    if variant and not names:
        raise WeightsError("what these keys compute cannot be seen in their shapes: pass arch=NAME of the architecture")
    if not (names or seen["final_norm"] or seen["class_token"] or seen["pre_norm"] or attends):
        raise WeightsError(
            "neither a final norm nor a class token, as in timm's qwen3_vit, whose rotary positions cannot be seen in "
            "its shapes: pass arch=NAME of the architecture"
        )
    if names and not seen["position_table"]:
        seen["position_on_prefix"] = known[names[0]].position_on_prefix
        seen["image_size"] = image_size or (known[names[0]].image_size if variant else seen["image_size"])
    notes: list[str] = []
    values: dict[str, Any] = {}
    for field in UNSEEN:
        if field in stated:
            continue
        options = list(dict.fromkeys(getattr(known[name], field) for name in names))
        if field == "pool":
            options = list(dict.fromkeys(known[name].pool for name in names if known[name].fc_norm == draft.fc_norm))
            if "pool" in seen or len(options) != 1:
                continue
        if len(options) == 1:
            values[field] = options[0]
        elif field == "rotary" and options and (variant or None not in options):
            raise WeightsError(f"{', '.join(names[:3])} have these shapes and different positions: pass arch=NAME")
        elif field == "heads":
            values[field] = _usual_heads(draft.width, options)
            notes.append(f"heads {values[field]} (width / {draft.width // values[field]})")
        elif options and getattr(draft, field) not in options:
            values[field] = options[0]
    merged = {**usual, **seen, **stated, **values}
    if not (seen["position_table"] or seen["position_bias"] or merged.get("rotary")):
        raise WeightsError("no position table (pos_embed): the architecture must be named by arch=NAME")
    if not merged["image_size"]:
        sizes = [image_size] if image_size else [known[name].image_size for name in names]
        if not sizes:
            raise WeightsError("no tensor shows the image size: pass image_size=(height, width)")
        merged["image_size"] = sizes[0]
    config = _config({**merged, "pool_heads": merged["heads"] if merged["pool"] == "map" else 0})
    return Inferred(config, tuple(name for name in names if known[name].heads == config.heads), notes)


def seen_in(shapes: Shapes, image_size: tuple[int, int] | None = None) -> dict[str, Any]:
    """The fields of ViTConfig that names and shapes show, and "gated": whether the MLP has a packed gate.

    Raises:
        WeightsError: as `infer`.
    """
    kernel = shapes.get("patch_embed.proj.weight", ())
    blocks = sorted({int(match[1]) for key in shapes if (match := re.match(r"blocks\.(\d{1,4})\.", key))})
    if len(kernel) != 4 or not blocks:
        raise WeightsError("no ViT: a patch embedding (patch_embed.proj.weight) and numbered blocks are needed")
    stem = stem_in(shapes)
    if (kernel[1] != 3 and stem is None) or kernel[2] != kernel[3]:
        raise WeightsError(f"patches of {kernel[2]} x {kernel[3]} pixels, {kernel[1]} channels; needs square RGB ones")
    if blocks != list(range(len(blocks))):
        raise WeightsError(f"blocks {blocks[0]} to {blocks[-1]} are not complete: {len(blocks)} are there")
    width, patch = kernel[0], kernel[2] * (1 if stem is None else stem.stride)
    hidden, fc1 = _last(shapes, "blocks.0.mlp.fc2.weight"), _first(shapes, "blocks.0.mlp.fc1.weight")
    seen: dict[str, Any] = {
        "width": width,
        "depth": len(blocks),
        "patch_size": patch,
        "stem": stem,
        "mlp_dim": hidden or 4 * width,
        "class_token": "cls_token" in shapes,
        "distilled": "dist_token" in shapes,
        "registers": (*shapes.get("reg_token", ()), 0, 0)[1],
        "layer_scale": "blocks.0.ls1.gamma" in shapes,
        "pre_norm": "norm_pre.weight" in shapes,
        "fc_norm": "fc_norm.weight" in shapes and "norm.weight" not in shapes,
        "qkv_bias": "blocks.0.attn.qkv.bias" in shapes,
        "patch_bias": "patch_embed.proj.bias" in shapes,
        "num_classes": _first(shapes, "head.weight"),
        "norm": "layer" if "blocks.0.norm1.bias" in shapes else "rms",
        "final_norm": "norm.weight" in shapes or "fc_norm.weight" in shapes,
        "patch_norm": "patch_embed.norm.weight" in shapes,
        "attention_norm": "blocks.0.attn.norm.weight" in shapes,
        "mlp_norm": "blocks.0.mlp.norm.weight" in shapes,
        "sandwich_norm": "blocks.0.post_norm1.weight" in shapes,
        "qk_norm": "blocks.0.attn.q_norm.weight" in shapes,
        "biases": "blocks.0.attn.proj.bias" in shapes,
        "position_table": "pos_embed" in shapes,
        "position_bias": "blocks.0.attn.relative_position_bias_table" in shapes,
        "pool_mlp_dim": _last(shapes, "attn_pool.mlp.fc2.weight"),
        "gated": bool(hidden) and fc1 == 2 * hidden,
    }
    if seen["gated"]:
        seen["mlp"] = "swiglu"
    if "attn_pool.latent" in shapes:
        seen["pool"] = "map"
    elif _last(shapes, "head.weight") == 2 * width:
        seen["pool"] = "token_avg"
    prefix = seen["class_token"] + seen["distilled"] + seen["registers"]
    return seen | _positions(shapes, patch, prefix, seen["registers"], image_size)


def probe(state: Mapping[str, Any]) -> ViTConfig:
    """A configuration for `canonical` before the architecture is known: width and patch size, heads of HEAD_WIDTH."""
    kernel: tuple[int, ...] = getattr(state.get("patch_embed.proj.weight"), "shape", ())
    width, patch = (kernel[0], kernel[-1]) if len(kernel) == 4 else (HEAD_WIDTH, 1)
    heads = width // HEAD_WIDTH if width % HEAD_WIDTH == 0 else 1
    down, across = GRID if POSITIONS in state else (1, 1)
    return ViTConfig(width, 1, heads, width, patch_size=patch, image_size=(down * patch, across * patch))


def resized(config: ViTConfig, shapes: Shapes) -> tuple[ViTConfig, list[str]]:
    """A named architecture with the classes and the image size that the weights have, and a sentence for each change.

    Args:
        config: the architecture.
        shapes: key -> shape of every array, in timm's names.
    """
    notes = []
    head, table = shapes.get("head.weight"), shapes.get("pos_embed")
    classes = head[0] if head is not None and len(head) == 2 else 0
    outputs = config.num_classes or config.embedding
    if classes != outputs and "patch_embed.proj.weight" in shapes:
        was = f"the name has {config.num_classes or 'no'}"
        notes.append(f"the weights have {classes or 'no'} classes, {was}")
        config = replace(config, num_classes=classes, embedding=0)
    if table is not None and len(table) == 3 and table[1] != config.position_tokens:
        patches = table[1] - (config.prefix if config.position_on_prefix else 0)
        side = _side(patches)
        if side:
            pixels = side * config.patch_size
            notes.append(
                f"the weights have positions for {_by((pixels, pixels))} pixels, the name {_by(config.image_size)}"
            )
            config = config.at_size((pixels, pixels))
    return config, notes


def _positions(
    shapes: Shapes, patch: int, prefix: int, registers: int, image_size: tuple[int, int] | None
) -> dict[str, Any]:
    """Image size, and whether prefix tokens have positions, from the length of the position table."""
    length = (*shapes.get("pos_embed", ()), 0, 0)[1]
    if not length:
        side = _side_of_bias(_first(shapes, "blocks.0.attn.relative_position_bias_table")) * patch
        return {"image_size": (side, side) if side else image_size, "position_on_prefix": not prefix}
    counts = {True: length - prefix, False: length}
    order = (False, True) if registers else (True, False)
    square = [on_prefix for on_prefix in order if _side(counts[on_prefix])]
    if image_size is not None:
        patches = (image_size[0] // patch) * (image_size[1] // patch)
        fitting = [on_prefix for on_prefix in order if counts[on_prefix] == patches]
        if fitting:
            return {"image_size": image_size, "position_on_prefix": fitting[0]}
    if not square:
        raise WeightsError(
            f"a position table of {length} rows is for no square image (patch {patch}, {prefix} tokens before the "
            "patches): pass image_size=(height, width)"
        )
    side = _side(counts[square[0]]) * patch
    return {"image_size": (side, side), "position_on_prefix": square[0] if prefix else True}


def _same_but_for(config: ViTConfig, draft: ViTConfig, gated: bool) -> bool:
    """Whether two configurations differ only in what shapes do not show, or fine-tuning changes."""
    if gated != config.gated:
        return False
    free = FREE if draft.position_table else (*FREE, "position_on_prefix")  # it says where the table's rows belong
    seen = (field.name for field in fields(draft) if field.name not in free)
    return all(getattr(config, name) == getattr(draft, name) for name in seen)


def _has_learned_rotation(config: ViTConfig) -> bool:
    return config.rotary is not None and config.rotary.kind == "mixed"


def _usual_pool(seen: Mapping[str, Any]) -> str:
    return "avg" if seen["fc_norm"] or not seen["class_token"] else "token"


def _usual_heads(width: int, usual: list[int]) -> int:
    heads = width // HEAD_WIDTH
    if width % HEAD_WIDTH or not heads:
        raise WeightsError(
            f"the number of attention heads cannot be seen in a width of {width}: pass arch=NAME of the architecture"
        )
    return heads if not usual or heads in usual else usual[0]


def _config(values: Mapping[str, Any]) -> ViTConfig:
    try:
        return ViTConfig(**values)
    except ConfigError as error:
        raise WeightsError(str(error)) from error


def _first(shapes: Shapes, key: str) -> int:
    return (*shapes.get(key, ()), 0)[0]


def _last(shapes: Shapes, key: str) -> int:
    return (0, *shapes.get(key, ()))[-1]


def _side(count: int) -> int:
    """Side of a square of `count` patches; 0 if there is none."""
    side = round(max(count, 0) ** 0.5)
    return side if side * side == count else 0


def _side_of_bias(rows: int) -> int:
    """Side of the square grid of a relative position bias with these rows, 3 of which are the class token's."""
    return (_side(rows - EXTRA_ROWS) + 1) // 2 if rows > EXTRA_ROWS else 0


def _by(size: tuple[int, int]) -> str:
    return "{} x {}".format(*size)
