"""A model in words: what its `repr` and a notebook show."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import jax

from vitjax.nn.network import Config, params_dtype
from vitjax.nn.resnet import ResNetConfig
from vitjax.nn.vit_config import ViTConfig
from vitjax.output.html import html_table

ROOM = 96
"""Characters of a line."""


def architecture(config: Config) -> str:
    """The kind of network and its size: "ViT, 12 blocks of 3 heads, width 192"."""
    if isinstance(config, ViTConfig):
        return f"ViT, {config.depth} blocks of {config.heads} heads, width {config.width}"
    if isinstance(config, ResNetConfig):
        return f"ResNet, {sum(config.depths)} blocks in {len(config.depths)} stages"
    maps = ", ".join(feature_map.name for feature_map in config.feature_maps)
    return f"function with feature maps {maps}" if maps else "function without feature maps"


def parameters(params: Any) -> str:
    """Number and dtype of the parameters: "5.7 M parameters in float32"."""
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params) if hasattr(leaf, "shape"))
    number = f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.1f} k" if count >= 1e3 else str(count)
    return f"{number} parameters in {params_dtype(params).name}"


def seen(config: Config) -> str:
    """The size of the input: "224 x 224 pixels, 14 x 14 patches"."""
    pixels = "{} x {} pixels".format(*config.image_size)
    return f"{pixels}, {'{} x {}'.format(*config.grid)} patches" if isinstance(config, ViTConfig) else pixels


def classes(config: Config, names: Sequence[str] | None) -> str:
    """The number of classes, and the first names: "1000 classes: tench, goldfish, ..."."""
    if config.num_classes == 0:
        return "no classes, outputs are features"
    count = "1 class" if config.num_classes == 1 else f"{config.num_classes} classes"
    return f"{count}: {', '.join(names[:10])}{', ...' * (len(names) > 10)}" if names else f"{count} without names"


def two_lines(name: str, config: Config, params: Any, names: Sequence[str] | None) -> str:
    """The repr of a model: what it is, what it sees and tells apart."""
    outputs = textwrap.shorten(f"{seen(config)}; {classes(config, names)}", ROOM, placeholder=" ...")
    return f"Model {name!r}: {architecture(config)}, {parameters(params)}\n  {outputs}"


def as_html(name: str, config: Config, params: Any, names: Any, preprocessing: Any, weights: dict[str, Any]) -> str:
    """The same as a table, with preprocessing and the source of the weights."""
    crop = f"crop_pct {preprocessing.crop_pct:g}, {preprocessing.crop_mode}, {preprocessing.interpolation}"
    scale = f"mean {_numbers(preprocessing.mean)}, std {_numbers(preprocessing.std)}"
    rows = [
        ("architecture", architecture(config)),
        ("parameters", parameters(params)),
        ("input", seen(config)),
        ("preprocessing", f"{crop}; {scale}"),
        ("outputs", textwrap.shorten(classes(config, names), 2 * ROOM, placeholder=" ...")),
        ("weights", f"{weights.get('source', 'not recorded')}, sha256 {str(weights.get('sha256', ''))[:12]}"),
    ]
    return html_table(f"Model {name}", rows)


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
