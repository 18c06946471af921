"""Table of named models: timm's names with their architecture, preprocessing and default weights.

A name determines size, patch size and image size (`vit_small_patch16_384`: small, patches of 16 pixels, images of 384
pixels); everything else is common to the family.
"""

from __future__ import annotations

import re
from typing import Any, Generic, NamedTuple, TypeVar

from vitjax.images.geometry import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitjax.nn.network import ModuleConfig
from vitjax.nn.resnet import ResNetConfig
from vitjax.nn.vit_config import ViTConfig

IMAGENET = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}

SIZES: dict[str, tuple[int, int, int]] = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "medium": (512, 12, 8),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
    "giant": (1536, 40, 24),
}
"""(width, depth, heads) by the size in a name; the MLP is four times as wide as a token."""


Architecture = TypeVar("Architecture", bound=ModuleConfig, covariant=True)


class Entry(NamedTuple, Generic[Architecture]):
    """Architecture, preprocessing and default weights of a named model.

    hub: hub id of the default weights; None if the model has none and the user must pass weights.
    """

    config: Architecture
    preprocessing: Preprocessing
    hub: str | None


class Family(NamedTuple):
    """Models that differ in size only.

    architecture: fields of ViTConfig that all models of the family share.
    normalisation: mean and standard deviation of the preprocessing.
    weights: tag of the default weights by model name; None if the model has none.
    """

    architecture: dict[str, Any]
    normalisation: dict[str, Any]
    weights: dict[str, str | None]


NO_PREFIX_POSITION = {"position_on_prefix": False}
GAP = {"class_token": False, "pool": "avg"}
CLIP_TOWER = {"pre_norm": True, "patch_bias": False, "norm_eps": 1e-5}

FAMILIES = (
    Family(  # Dosovitskiy et al. 2021, with the AugReg weights of Steiner et al. 2022
        {},
        HALF,
        {
            "vit_tiny_patch16_224": "augreg_in21k_ft_in1k",
            "vit_tiny_patch16_384": "augreg_in21k_ft_in1k",
            "vit_small_patch32_224": "augreg_in21k_ft_in1k",
            "vit_small_patch32_384": "augreg_in21k_ft_in1k",
            "vit_small_patch16_224": "augreg_in21k_ft_in1k",
            "vit_small_patch16_384": "augreg_in21k_ft_in1k",
            "vit_base_patch32_224": "augreg_in21k_ft_in1k",
            "vit_base_patch32_384": "augreg_in21k_ft_in1k",
            "vit_base_patch16_224": "augreg2_in21k_ft_in1k",
            "vit_base_patch16_384": "augreg_in21k_ft_in1k",
            "vit_base_patch8_224": "augreg2_in21k_ft_in1k",
            "vit_large_patch32_224": "orig_in21k",
            "vit_large_patch32_384": "orig_in21k_ft_in1k",
            "vit_large_patch16_224": "augreg_in21k_ft_in1k",
            "vit_large_patch16_384": "augreg_in21k_ft_in1k",
            "vit_large_patch14_224": None,
            "vit_huge_patch14_224": "orig_in21k",
        },
    ),
    Family({}, IMAGENET, {"vit_small_patch8_224": "dino"}),  # Caron et al. 2021
    Family(  # average pooling, no class token
        {**GAP, "qkv_bias": False, "layer_scale": True},
        HALF,
        {
            "vit_medium_patch16_gap_256": "sw_in12k_ft_in1k",
            "vit_medium_patch16_gap_384": "sw_in12k_ft_in1k",
        },
    ),
    Family({**GAP, "heads": 16}, HALF, {"vit_base_patch16_gap_224": None}),
    Family(
        {**GAP, **NO_PREFIX_POSITION, "registers": 4, "fc_norm": True, "layer_scale": True},
        HALF,
        {"vit_medium_patch16_reg4_gap_256": "sbb_in12k_ft_in1k"},
    ),
    Family(  # image encoders of CLIP, fine-tuned on ImageNet
        CLIP_TOWER,
        CLIP,
        {
            "vit_base_patch32_clip_224": "laion2b_ft_in12k_in1k",
            "vit_base_patch16_clip_224": "laion2b_ft_in12k_in1k",
            "vit_huge_patch14_clip_224": "laion2b_ft_in12k_in1k",
        },
    ),
    Family(CLIP_TOWER, HALF, {"vit_large_patch14_clip_224": "laion2b_ft_in12k_in1k"}),
    Family(  # Touvron et al. 2021
        {},
        IMAGENET,
        {
            "deit_tiny_patch16_224": "fb_in1k",
            "deit_small_patch16_224": "fb_in1k",
            "deit_base_patch16_224": "fb_in1k",
            "deit_base_patch16_384": "fb_in1k",
        },
    ),
    Family(
        {"distilled": True},
        IMAGENET,
        {
            "deit_tiny_distilled_patch16_224": "fb_in1k",
            "deit_small_distilled_patch16_224": "fb_in1k",
            "deit_base_distilled_patch16_224": "fb_in1k",
            "deit_base_distilled_patch16_384": "fb_in1k",
        },
    ),
    Family(  # DeiT-III, Touvron et al. 2022
        {**NO_PREFIX_POSITION, "layer_scale": True},
        IMAGENET,
        {
            "deit3_small_patch16_224": "fb_in1k",
            "deit3_small_patch16_384": "fb_in1k",
            "deit3_medium_patch16_224": "fb_in1k",
            "deit3_base_patch16_224": "fb_in1k",
            "deit3_base_patch16_384": "fb_in1k",
            "deit3_large_patch16_224": "fb_in1k",
            "deit3_large_patch16_384": "fb_in1k",
            "deit3_huge_patch14_224": "fb_in1k",
        },
    ),
    Family(  # DINOv2, Oquab et al. 2023
        {"layer_scale": True},
        IMAGENET,
        {
            "vit_small_patch14_dinov2": "lvd142m",
            "vit_base_patch14_dinov2": "lvd142m",
            "vit_large_patch14_dinov2": "lvd142m",
        },
    ),
    Family(
        {"layer_scale": True, "mlp": "swiglu", "mlp_dim": 4096},
        IMAGENET,
        {"vit_giant_patch14_dinov2": "lvd142m"},
    ),
    Family(  # with registers, Darcet et al. 2024
        {**NO_PREFIX_POSITION, "layer_scale": True, "registers": 4},
        IMAGENET,
        {
            "vit_small_patch14_reg4_dinov2": "lvd142m",
            "vit_base_patch14_reg4_dinov2": "lvd142m",
            "vit_large_patch14_reg4_dinov2": "lvd142m",
        },
    ),
    Family(
        {**NO_PREFIX_POSITION, "layer_scale": True, "registers": 4, "mlp": "swiglu", "mlp_dim": 4096},
        IMAGENET,
        {"vit_giant_patch14_reg4_dinov2": "lvd142m"},
    ),
)
HEADLESS = {"orig_in21k", "dino", "lvd142m"}
"""Tags of weights without a classification head."""

CROPS: dict[str, tuple[float, str]] = {
    "vit_medium_patch16_gap_256": (0.95, "center"),
    "vit_medium_patch16_gap_384": (0.95, "squash"),
    "vit_medium_patch16_reg4_gap_256": (0.95, "center"),
    "vit_base_patch16_clip_224": (0.95, "center"),
    "vit_large_patch14_clip_224": (1.0, "center"),
    "vit_huge_patch14_clip_224": (1.0, "center"),
}
"""(crop_pct, crop_mode) of models that differ from the default: a centre crop of 0.9 at 224 pixels, else of 1.0."""


def _entry(name: str, family: Family) -> Entry[ViTConfig]:
    """Table entry of one model of a family."""
    tag = family.weights[name]
    size_and_patch = re.match(r"[a-z0-9]+_([a-z]+)_.*?patch(\d+)", name)
    assert size_and_patch is not None, name
    width, depth, heads = SIZES[size_and_patch[1]]
    pixels = re.search(r"_(\d{3})$", name)
    side = int(pixels[1]) if pixels else 518  # DINOv2's names do not contain the image size
    default: dict[str, Any] = {
        "width": width,
        "depth": depth,
        "heads": heads,
        "mlp_dim": 4 * width,
        "patch_size": int(size_and_patch[2]),
        "image_size": (side, side),
        "num_classes": 0 if tag in HEADLESS else 1000,
    }
    crop_pct, crop_mode = CROPS.get(name, (0.9 if side == 224 else 1.0, "center"))
    preprocessing = Preprocessing(
        size=(side, side),
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        interpolation="bicubic",
        **family.normalisation,
    )
    return Entry(ViTConfig(**{**default, **family.architecture}), preprocessing, tag and f"timm/{name}.{tag}")


ZOO: dict[str, Entry[ViTConfig]] = {name: _entry(name, family) for family in FAMILIES for name in family.weights}
"""All named transformers except the bundled model, whose configuration is stored in its own file."""

CNNS: dict[str, Entry[ResNetConfig]] = {
    "resnet50": Entry(  # He et al. 2016, with torchvision's first weights
        ResNetConfig(),
        Preprocessing(size=(224, 224), crop_pct=0.875, crop_mode="center", interpolation="bilinear", **IMAGENET),
        "timm/resnet50.tv_in1k",
    ),
}
"""Named CNNs, to compare transformers with."""


def known_configs() -> dict[str, ViTConfig]:
    """Configurations of all named ViTs, so that error messages can say which of them a checkpoint resembles."""
    return {name: entry.config for name, entry in ZOO.items()}
