"""The preprocessing that a checkpoint states (preprocessor_config.json, open_clip_config.json), or that is usual."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vitjax.errors import ConfigError, WeightsError
from vitjax.images.geometry import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vitjax.nn.vit_config import ViTConfig

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
_PILLOW = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's resampling filters by their number, which Hugging Face stores."""
_BY_SHORTEST_EDGE = ("CLIP", "Bit")
"""Processors that take one number as the length of the shorter side; the others, as both sides."""
_CROP_MODES = {"shortest": "center", "longest": "border", "squash": "squash"}
"""OpenCLIP's resize_mode -> timm's crop_mode."""

USUAL: dict[str, dict[str, Any]] = {
    "OpenAI CLIP": {"mean": CLIP_MEAN, "std": CLIP_STD},
    "OpenCLIP": {"mean": CLIP_MEAN, "std": CLIP_STD},
    "Hugging Face CLIP": {"mean": CLIP_MEAN, "std": CLIP_STD},
    "Hugging Face SigLIP": {"mean": HALF, "std": HALF, "crop_mode": "squash"},
    "big_vision": {"mean": HALF, "std": HALF, "crop_mode": "squash", "interpolation": "bilinear"},
    "torchvision": {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "crop_pct": 0.875, "interpolation": "bilinear"},
    "torchvision ViT-L": {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "crop_pct": 0.9255, "interpolation": "bilinear"},
    "torchvision SWAG": {"mean": IMAGENET_MEAN, "std": IMAGENET_STD},
    "DINOv2": {"mean": IMAGENET_MEAN, "std": IMAGENET_STD},
    "vit": {"mean": HALF, "std": HALF, "crop_mode": "squash", "interpolation": "bilinear"},
    "deit": {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "crop_pct": 0.875},
}
"""Preprocessing by naming, or by model_type of a config.json, where the checkpoint does not state it."""


def usual_kind(naming: str, config: ViTConfig) -> str:
    """The naming of weights; of torchvision's, which of its models has them, as far as shapes show it.

    ViT-B and ViT-L of SWAG with a linear head, at 224 pixels, have the shapes of those that were trained on ImageNet,
    and count as these.
    """
    if naming != "torchvision":
        return naming
    if config.image_size > (224, 224) or config.width == 1280:
        return "torchvision SWAG"
    return "torchvision ViT-L" if (config.width, config.patch_size) == (1024, 16) else naming


def usual(kinds: tuple[str | None, ...], image_size: tuple[int, int]) -> tuple[Preprocessing, str]:
    """The usual preprocessing of the first kind that has one, else ImageNet's colours, and a sentence on its origin."""
    for kind in kinds:
        if kind in USUAL:
            return Preprocessing(image_size, **{"crop_pct": 1.0, **USUAL[kind]}), f"the usual one of {kind}"
    return Preprocessing(image_size), "assumed: mean and std of ImageNet, --preprocess states others"


def of_huggingface(config: Mapping[str, Any], image_size: tuple[int, int]) -> tuple[Preprocessing, list[str]]:
    """The preprocessing of a preprocessor_config.json, for a model of this image size, and a sentence if it differs.

    A resize to a square without a crop becomes crop_mode "squash"; a factor other than 1/255 is put into mean and std.

    Raises:
        WeightsError: a value is invalid.
    """
    try:
        crops = bool(config.get("do_center_crop")) and "crop_size" in config
        resize, crop_mode = _resize(config)
        crop = _pair(config["crop_size"]) if crops else (resize or image_size)
        if crop_mode == "center" and not crops:
            raise WeightsError("preprocessor_config.json: resizing the shorter side without a crop has no fixed size")
        factor = 255 * config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 255.0
        normalises = config.get("do_normalize", True)
        mean = _three(config["image_mean"]) if normalises else (0.0, 0.0, 0.0)
        std = _three(config["image_std"]) if normalises else (1.0, 1.0, 1.0)
        preprocessing = Preprocessing(
            size=image_size,
            crop_pct=_crop_pct(crop[0], resize[0] if resize else crop[0]),
            crop_mode=crop_mode,
            interpolation=_PILLOW[config.get("resample", 2)],
            mean=_three([value / factor for value in mean]),
            std=_three([value / factor for value in std]),
        )
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError, ConfigError) as error:
        raise WeightsError(f"preprocessor_config.json: {type(error).__name__}: {error}") from error
    if tuple(crop) == tuple(image_size):
        return preprocessing, []
    sizes = "{} x {}".format(*crop), "{} x {}".format(*image_size)
    return preprocessing, [f"preprocessor_config.json crops to {sizes[0]}, the positions are for {sizes[1]}"]


def of_open_clip(config: Mapping[str, Any], image_size: tuple[int, int]) -> Preprocessing:
    """The preprocessing of `preprocess_cfg` in an open_clip_config.json.

    Raises:
        WeightsError: a value is invalid.
    """
    try:
        mode = _CROP_MODES[config.get("resize_mode", "shortest")]
        mean, std = config.get("mean", CLIP_MEAN), config.get("std", CLIP_STD)
        return Preprocessing(image_size, 1.0, mode, config.get("interpolation", "bicubic"), _three(mean), _three(std))
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise WeightsError(f"open_clip_config.json: {error}") from error


def _resize(config: Mapping[str, Any]) -> tuple[tuple[int, int] | None, str]:
    """(height, width) that an image is resized to, None if it is not, and timm's crop mode."""
    if not config.get("do_resize", True):
        return None, "squash"
    size = config["size"]
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    if isinstance(size, Mapping):
        if "shortest_edge" in size:
            return _pair(size["shortest_edge"]), "center"
        return (int(size["height"]), int(size["width"])), "squash"
    return _pair(size), "center" if kind.startswith(_BY_SHORTEST_EDGE) else "squash"


def _pair(size: Any) -> tuple[int, int]:
    """(height, width) of a number or of {"height", "width"}."""
    if isinstance(size, Mapping):
        return int(size["height"]), int(size["width"])
    return int(size), int(size)


def _crop_pct(crop: int, resize: int) -> float:
    """The crop_pct with which timm's floor(crop / crop_pct) is `resize`."""
    pct = crop / resize
    return pct if math.floor(crop / pct) == resize else math.nextafter(pct, 0)


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in ([values] * 3 if isinstance(values, int | float) else values))
    if not all(map(math.isfinite, (red, green, blue))):
        raise ValueError(f"{values} are not three finite numbers")
    return red, green, blue
