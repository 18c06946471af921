"""Named models: timm's architecture names and pretrained tags with their configuration and preprocessing.

The table is an asset that `python -m vitjax.models.timm_table` writes from timm, so that timm need not be installed
here. It is read when the first name is looked up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from vitjax.errors import UnknownNameError, unknown_name
from vitjax.images.geometry import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitjax.nn.network import ModuleConfig
from vitjax.nn.resnet import ResNetConfig
from vitjax.nn.rotary import Rotary
from vitjax.nn.stem_config import Stem
from vitjax.nn.vit_config import ViTConfig

ASSET = Path(__file__).parents[1] / "assets" / "timm_models.json"
UNTRAINED = "untrained"
"""Stands for a tag where timm has no weights of an architecture, but settings."""

Architecture = TypeVar("Architecture", bound=ModuleConfig, covariant=True)
Outputs = Literal["imagenet", "classes", "embedding", "features"]


class Entry(NamedTuple, Generic[Architecture]):
    """Architecture, preprocessing and default weights of a named model.

    hub: hub id of the weights; None if there are none and the user must pass weights.
    outputs: what the model's outputs are: "imagenet" (the classes of ImageNet-1k, whose names are known), other
        "classes", an "embedding" that a linear layer makes (CLIP), or pooled "features" without a head.
    tag: timm's tag of the weights; "" if there is none.
    parameters: number of parameters at the default tag; None if it is not known without building the model.
    """

    config: Architecture
    preprocessing: Preprocessing
    hub: str | None
    outputs: Outputs = "classes"
    tag: str = ""
    parameters: int | None = None


CNNS: dict[str, Entry[ResNetConfig]] = {
    "resnet50": Entry(  # He et al. 2016, with torchvision's first weights
        ResNetConfig(),
        Preprocessing(
            size=(224, 224),
            crop_pct=0.875,
            crop_mode="center",
            interpolation="bilinear",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        "timm/resnet50.tv_in1k",
        outputs="imagenet",
        tag="tv_in1k",
    ),
}
"""Named CNNs, to compare transformers with."""


def names() -> list[str]:
    """Names of all named models that load, without tags: timm's transformers, then CNNs."""
    return [*_transformers(), *CNNS]


def refused() -> dict[str, str]:
    """Architecture name of timm -> why it does not load, of those that vitjax does not support."""
    return {name: model["refused"] for name, model in table()["models"].items() if "refused" in model}


def tags(name: str) -> list[str]:
    """Pretrained tags of an architecture, the default first, also of one that does not load.

    Args:
        name: name without a tag.
    """
    if name in CNNS:
        return [CNNS[name].tag]
    return [tag for tag in table()["models"][name]["tags"] if tag != UNTRAINED]


def loads(name: str) -> bool:
    """Whether `find` has an entry for a name, with or without a tag."""
    architecture, _, tag = name.partition(".")
    return architecture in names() and (not tag or tag in tags(architecture))


def find(name: str) -> Entry[ModuleConfig]:
    """The entry of a named model.

    Args:
        name: timm's name of an architecture, for its default tag, or NAME.TAG.

    Raises:
        UnknownNameError: no model has this name or tag, with close matches; or vitjax does not support it, with the
            reason.

    Example:
        >>> from vitjax.models.families import find
        >>> find("vit_small_patch16_224.dino").preprocessing.mean
        (0.485, 0.456, 0.406)
    """
    if name in CNNS:
        return CNNS[name]
    architecture, _, tag = name.partition(".")
    if architecture in CNNS and tag == CNNS[architecture].tag:
        return CNNS[architecture]
    model = table()["models"].get(architecture)
    if model is None:
        raise unknown_name("model", name, names())
    if "refused" in model:
        raise UnknownNameError(f"timm's {architecture} is not supported: {model['refused']}")
    if tag and tag not in model["tags"]:
        raise unknown_name(f"tag of {architecture}", tag, model["tags"])
    return _entry(architecture, model, tag or next(iter(model["tags"])))


def known_configs() -> dict[str, ViTConfig]:
    """Configurations of all named ViTs, so that error messages can say which of them a checkpoint resembles."""
    entries = {name: _entry(name, model, next(iter(model["tags"]))) for name, model in _transformers().items()}
    return {name: entry.config for name, entry in entries.items()}


def kinds() -> dict[ViTConfig, list[str]]:
    """Names of ViTs by what they compute: models of one kind differ in sizes only.

    Returns:
        The configuration of a kind at one common size -> names.
    """
    kinds: dict[ViTConfig, list[str]] = {}
    for name, config in known_configs().items():
        kinds.setdefault(_without_sizes(config), []).append(name)
    return kinds


def of_the_same_kind(config: ViTConfig) -> str | None:
    """The first named ViT that differs from a configuration in sizes only; None if there is none."""
    return next(iter(kinds().get(_without_sizes(config), [])), None)


def _without_sizes(config: ViTConfig) -> ViTConfig:
    """The configuration at one common size."""
    rotary = config.rotary
    if rotary is not None and rotary.reference is not None:
        rotary = replace(rotary, reference=(1, 1))
    stem = None if config.stem is None else config.stem.without_sizes()
    patch = 1 if stem is None else stem.stride
    common: dict[str, Any] = {"width": 64, "depth": 1, "heads": 1, "mlp_dim": 1}
    common |= {"stem": stem, "patch_size": patch, "image_size": (8 * patch, 8 * patch)}
    common |= {"num_classes": 0, "embedding": 0, "rotary": rotary, "head_dim": 64 * bool(config.head_dim)}
    common |= {"pool_heads": int(config.pool_heads > 0), "pool_mlp_dim": int(config.pool_mlp_dim > 0)}
    return replace(config, **common)


@cache
def table() -> dict[str, Any]:
    """The content of the asset: timm's version, the distinct preprocessings, and models by architecture name."""
    return json.loads(ASSET.read_text(encoding="utf-8"))


def _transformers() -> dict[str, dict[str, Any]]:
    """The table's models that load."""
    return {name: model for name, model in table()["models"].items() if "refused" not in model}


def _entry(name: str, model: Mapping[str, Any], tag: str) -> Entry[ViTConfig]:
    row = model["tags"][tag]
    config = _config({**model["config"], **row.get("config", {})})
    if row.get("outputs") == "embedding":
        config = replace(config, num_classes=0, embedding=config.num_classes)
    return Entry(
        config,
        _preprocessing(row["preprocessing"]),
        row.get("hub", f"timm/{name}.{tag}"),
        row.get("outputs", "imagenet"),
        "" if tag == UNTRAINED else tag,
        model["parameters"],
    )


def _config(stored: Mapping[str, Any]) -> ViTConfig:
    parts = {"rotary": Rotary.from_fields(stored.get("rotary")), "stem": Stem.from_fields(stored.get("stem"))}
    return ViTConfig(**{**_with_tuples(stored), **parts})


@cache
def _preprocessing(index: int) -> Preprocessing:
    return Preprocessing(**_with_tuples(table()["preprocessing"][index]))


def _with_tuples(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
