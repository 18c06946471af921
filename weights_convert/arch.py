"""Identifies the architecture of a state dict: supported ones by their shapes, others by characteristic keys."""

from __future__ import annotations

import re
from collections.abc import Mapping

from vitjax.errors import WeightsError
from vitjax.nn.vit_config import ViTConfig
from weights_convert.keys import state_shapes
from weights_convert.stems import stem_in

FOREIGN = {
    r"^layers\.\d+\.blocks\.\d+\..*relative_position_bias_table": ("Swin", "attention in shifted windows"),
    r"^layers\.\d+\.blocks\.\d+\.": ("Swin or another hierarchical transformer", "stages of different width"),
    r"\.attn\.gate\.": ("a ViT with gated attention", "a gate on the attention output"),
    r"^blocks\.\d+\.in_proj\.": ("a ViT with parallel scaling blocks", "attention and MLP in one projection"),
    r"^blocks_token_only\.": ("CaiT", "class attention in layers of its own"),
    r"^decoder_(blocks|embed)\b": ("a masked autoencoder", "a decoder"),
    r"^(aligner|merger)\.": (
        "the vision encoder of a language model",
        "a projector merges several patches into one token",
    ),
    r"\.(input|output)_(min|max)$": ("a Gemma 4 encoder", "linear layers that clip their inputs and outputs"),
    r"^(module\.|visual\.)?layer1\.0\.conv1\.": ("ResNet", "convolutions"),
    r"^(stages|features|stem)\.": ("a convolutional network", "convolutional stages"),
}
"""Pattern of a key -> (architecture with such keys, the feature that vitjax's ViT lacks). The first match counts."""


def foreign(keys: Mapping[str, object]) -> str | None:
    """The error message for weights of an unsupported architecture, or None for a plain ViT.

    Example: "these are weights of Swin (attention in shifted windows; key 'layers.0...'), which vitjax's ViT does not
    support".
    """
    for pattern, (name, reason) in FOREIGN.items():
        match = next((key for key in keys if re.search(pattern, key)), None)
        if match:
            return f"these are weights of {name} ({reason}; key {match!r}), which vitjax's ViT does not support"
    return None


def described(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Sizes of the model that a ViT state dict with timm's names belongs to; None if it is no such state dict.

    Args:
        shapes: key -> shape of every array.

    Example: "width 384, depth 12, patch 16, 197 positions, 1000 classes".
    """
    kernel = shapes.get("patch_embed.proj.weight")
    if kernel is None or len(kernel) != 4:
        return None
    try:
        stem = stem_in(shapes)
    except WeightsError:
        return None
    patch = kernel[-1] * (1 if stem is None else stem.stride)
    depth = len({key.split(".")[1] for key in shapes if key.startswith("blocks.")})
    positions = (*shapes.get("pos_embed", ()), 0, 0)[1]
    classes = (*shapes.get("head.weight", ()), 0)[0]
    return _format_sizes(kernel[0], depth, patch, positions, classes)


def check_header(config: ViTConfig, shapes: Mapping[str, tuple[int, ...]], source: object) -> None:
    """Check the configuration that a file states against its tensors, before arrays of that size are planned.

    Args:
        config: the configuration in the file's header.
        shapes: key -> shape of every tensor, with timm's names.
        source: name of the file, for error messages.

    Raises:
        WeightsError: they disagree, or the tensors are not those of a ViT.
    """
    sizes = described(shapes)
    if sizes != summary(config):
        raise WeightsError(f"{source}: the header says {summary(config)}; the tensors have {sizes or 'no ViT'}")


def summary(config: ViTConfig) -> str:
    """Sizes of a configuration, in the format of `described`."""
    return _format_sizes(config.width, config.depth, config.patch_size, config.position_tokens, config.num_classes)


def _format_sizes(width: int, depth: int, patch: int, positions: int, classes: int) -> str:
    head = f"{classes} classes" if classes else "no head"
    return f"width {width}, depth {depth}, patch {patch}, {positions} positions, {head}"


def names_like(shapes: Mapping[str, tuple[int, ...]], known: Mapping[str, ViTConfig]) -> list[str]:
    """Names of the architectures whose state dict has exactly these shapes, except for the head.

    Args:
        shapes: key -> shape of every array, with timm's names.
        known: architectures by name.
    """
    sizes = described(shapes)
    if sizes is None:
        return []

    def without_head(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        return {key: tuple(shape) for key, shape in shapes.items() if not key.startswith("head")}

    sizes_without_head = sizes.rsplit(", ", 1)[0]
    similar = (name for name, config in known.items() if summary(config).startswith(sizes_without_head))
    return [name for name in similar if without_head(state_shapes(known[name])) == without_head(shapes)]
