"""Convolutional stems of timm's HybridEmbed: their tensors under vitjax's names, and the `Stem` that shapes show.

What is constant in eval mode is computed here once: standardised weights of ResNetV2's convolutions, and BatchNorm,
which becomes part of the convolution before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from vitjax.errors import ConfigError, WeightsError
from vitjax.nn.stem_config import Stem
from weights_convert.keys import State
from weights_convert.tensors import FLOATS

BACKBONE, STEM = "patch_embed.backbone.", "patch_embed.stem."
STANDARDISATION_EPS = 1e-8
"""Epsilon of the variance that weights are standardised by."""
BATCH_NORM_EPS = 1e-5
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
"""Tensors of a BatchNorm."""
GROUPS = 32
"""Usual number of groups of GroupNorms, which shapes do not show."""

_BLOCK = r"(?:stages\.(\d+)\.blocks|layer([1-9]))\.(\d+)\."
_LAYERS = (  # timm's names of a convolution and of the norm after it, and vitjax's name of the pair
    *((rf"{_BLOCK}conv{n}", rf"{_BLOCK}(?:norm|bn){n}", str(n)) for n in (1, 2, 3)),
    (rf"{_BLOCK}downsample\.(?:conv|1)", rf"{_BLOCK}downsample\.(?:norm|2)", "_skip"),
    (r"(?:stem\.)?conv", r"(?:stem\.)?norm", "0"),
    *((rf"conv1\.{3 * n}", "bn1" if n == 2 else rf"conv1\.{3 * n + 1}", str(n)) for n in range(3)),
    *((rf"{n}\.conv", rf"{n}\.bn", str(n)) for n in range(10)),
)
_PARTS = {
    "bit": {
        *("ResNetV2", "ResNetStage", "Bottleneck", "DownsampleConv", "StdConv2dSame", "GroupNormAct", "ReLU"),
        *("MaxPool2dSame", "Sequential", "Identity", "Dropout", "ClassifierHead", "SelectAdaptivePool2d"),
    },
    "resnetd": {
        *("FeatureListNet", "Bottleneck", "Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "AvgPool2d"),
        *("Sequential", "Identity"),
    },
    "convs": {"ConvStem", "ConvNormAct", "Conv2d", "BatchNormAct2d", "GELU", "Sequential", "Identity"},
}
"""Classes of timm's modules that a stem of each kind consists of."""


def with_folded_stem(state: State) -> State:
    """The state dict with the stem of a HybridEmbed under vitjax's names; returned as it is if it has none."""
    if not any(key.startswith(BACKBONE) for key in state):
        return state
    state = in_our_names(state)
    norms = [key.removesuffix(".weight") for key in state if re.search(rf"^{STEM}.*norm\w+\.weight$", key)]
    for norm in norms:
        conv = "conv".join(norm.rsplit("norm", 1))
        weight = state.get(f"{conv}.weight")
        statistics = [state[key] for kind in BATCH_NORM if (key := f"{norm}.{kind}") in state]
        if weight is None or weight.ndim != 4 or weight.dtype.name not in FLOATS:
            continue  # which the comparison of keys, shapes and kinds refuses
        if f"{norm}.running_var" not in state:
            state[f"{conv}.weight"] = _standardised(weight)
        elif [array.shape for array in statistics] == [weight.shape[:1]] * len(BATCH_NORM):
            bias = state.get(f"{conv}.bias", np.zeros(()))
            state |= {f"{conv}.{kind}": array for kind, array in _with_batch_norm(weight, bias, *statistics).items()}
            state = {key: array for key, array in state.items() if not key.startswith(f"{norm}.")}
    return state


def in_our_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a state dict, with those of a stem under vitjax's names.

    A stem whose last convolution makes the tokens (ConvStem) has that as `patch_embed.proj`.
    """
    renamed: dict[str, Any] = {}
    for key, value in state.items():
        module, _, kind = key.removeprefix(BACKBONE).rpartition(".")
        if not key.startswith(BACKBONE):
            renamed[key] = value
        elif kind != "num_batches_tracked":
            name = _our_name(module)
            renamed[f"{STEM}{name}.{kind}" if name else key] = value
    if "patch_embed.proj.weight" not in renamed:
        last = max((key for key in renamed if re.fullmatch(rf"{STEM}conv\d\.weight", key)), default="")
        for kind in ("weight", "bias"):
            key = f"{last.removesuffix('.weight')}.{kind}"
            if key in renamed:
                renamed[f"patch_embed.proj.{kind}"] = renamed.pop(key)
    return renamed


def with_timm_stem(state: State, own: State) -> State:
    """The inverse of `with_folded_stem`: each BatchNorm adds the bias of the convolution before it, and scales by 1.

    Args:
        state: state dict in vitjax's names.
        own: state dict of the timm module that gets the weights.
    """
    theirs = in_our_names({key: key for key in own})
    if not any(key.startswith(STEM) for key in state) or not any(key.startswith(BACKBONE) for key in own):
        return state
    inverse = {key: array for key, array in own.items() if key.endswith("num_batches_tracked")}
    for key, their_key in theirs.items():
        name, _, kind = key.rpartition(".")
        if key in state:
            inverse[their_key] = state[key]
        elif kind in BATCH_NORM and name.startswith(STEM):
            constant = {"weight": (1 + BATCH_NORM_EPS) ** 0.5, "running_var": 1.0}.get(kind, 0.0)
            bias = state.get(f"{'conv'.join(name.rsplit('norm', 1))}.bias")
            inverse[their_key] = bias if kind == "bias" and bias is not None else np.full_like(own[their_key], constant)
    return inverse | {key: array for key, array in state.items() if not key.startswith(STEM) and key not in theirs}


def stem_in(shapes: Mapping[str, tuple[int, ...]], groups: int = GROUPS) -> Stem | None:
    """The stem of a state dict in vitjax's names; None if it has none.

    Args:
        shapes: key -> shape.
        groups: number of groups of the GroupNorms.

    Raises:
        WeightsError: the convolutions are those of no stem that vitjax has.
    """
    own = {key.removeprefix(STEM): shape for key, shape in shapes.items() if key.startswith((STEM, BACKBONE))}
    if not own:
        return None
    unknown = [key for key in own if key.startswith(BACKBONE)]
    entry = [own[key] for key in sorted(own) if re.fullmatch(r"conv\d\.weight", key)]
    blocks = {(int(m[1]), int(m[2])) for key in own if (m := re.match(r"stage(\d+)\.block(\d+)\.", key))}
    depths = [sum(stage == number for stage, _ in blocks) for number in range(len({stage for stage, _ in blocks}))]
    if unknown or not entry:
        example = f" (key {unknown[0]!r})" if unknown else ""
        raise WeightsError(f"this convolutional stem is not supported{example}")
    channels = tuple(shape[0] for shape in entry)
    try:
        if "norm0.weight" in own and "norm0.running_var" not in own:
            return Stem("bit", channels, tuple(depths), groups=groups)
        if depths:
            return Stem("resnetd", channels, tuple(depths))
        return Stem("convs", channels, sides=tuple(shape[-1] for shape in entry))
    except ConfigError as error:
        raise WeightsError(f"this convolutional stem is not supported: {error}") from error


def stem_of(embedding: Any) -> Stem:
    """The stem of a HybridEmbed of timm.

    Raises:
        WeightsError: vitjax has no such stem; the message names what it lacks.
    """
    backbone = embedding.backbone
    kind = _kind_of(backbone)
    parts = list(backbone.modules())
    classes = {type(part).__name__ for part in parts}
    others = sorted(classes - _PARTS[kind]) if kind else [type(backbone).__name__]
    groups = {part.num_groups for part in parts if hasattr(part, "num_groups")}
    reasons = {
        ", ".join(others): bool(others),
        "padding of the image's remainder": embedding.dynamic_img_pad,
        "grouped or dilated convolutions": any(
            conv.groups != 1 or conv.dilation not in (1, (1, 1)) for conv in parts if hasattr(conv, "groups")
        ),
        "another padding": any(conv.padding != _padding(conv, kind) for conv in parts if _is_plain(conv)),
        "overlapping convolutions": kind == "convs"
        and any(conv.stride != conv.kernel_size for conv in parts if _is_plain(conv)),
        "another epsilon": any(part.eps != _epsilon(part) for part in parts if hasattr(part, "eps")),
        "another activation": any(getattr(part, "approximate", "none") != "none" for part in parts),
        "norms without scale and bias": any(part.weight is None for part in parts if hasattr(part, "affine")),
        "norms of different groups": len(groups) > 1,
    }
    for reason, present in reasons.items():
        if present:
            raise WeightsError(f"timm's HybridEmbed is not supported with {reason} in its convolutional stem")
    shapes = {f"patch_embed.{key}": tuple(value.shape) for key, value in embedding.state_dict().items()}
    stem = stem_in(in_our_names(shapes), next(iter(groups), GROUPS))
    sides = [ratio * side for ratio, side in zip(embedding.feature_ratio, embedding.patch_size, strict=True)]
    projection = shapes.get("patch_embed.proj.weight", (0, 0, sides[0] // (stem.stride if stem else 1), 0))
    if stem is None or set(sides) != {stem.stride * projection[2]}:
        size = "{} x {}".format(*embedding.img_size)
        raise WeightsError(
            f"timm's HybridEmbed is not supported with a stem of stride {embedding.feature_ratio} for {size} pixels"
        )
    return stem


def patches_of(embedding: Any) -> tuple[int, bool]:
    """Side in pixels of the patches of a HybridEmbed, and whether its projection has a bias."""
    last = list(embedding.backbone.children())[-1].conv if _makes_tokens(embedding) else embedding.proj
    return embedding.feature_ratio[0] * embedding.patch_size[0], last.bias is not None


def _makes_tokens(embedding: Any) -> bool:
    """Whether the last convolution of the stem is the projection to tokens."""
    return type(embedding.proj).__name__ == "Identity"


def _our_name(module: str) -> str | None:
    """vitjax's name of a convolution or norm of a backbone; None if it has none."""
    for conv, norm, name in _LAYERS:
        for pattern, kind in ((conv, "conv"), (norm, "norm")):
            if match := re.fullmatch(pattern, module):
                stage, layer, block = match.groups() if match.groups() else (None, None, None)
                number = stage if stage is not None else layer and int(layer) - 1
                return f"{kind}{name}" if block is None else f"stage{number}.block{block}.{kind}{name}"
    return None


def _standardised(weight: np.ndarray) -> np.ndarray:
    """A kernel [o, i, side, side] with mean 0 and variance 1 of each output channel."""
    wide = weight.astype(np.float64)
    centred = wide - wide.mean((1, 2, 3), keepdims=True)
    variance = np.square(centred).mean((1, 2, 3), keepdims=True)
    return (centred / np.sqrt(variance + STANDARDISATION_EPS)).astype(np.promote_types(weight.dtype, np.float32))


def _with_batch_norm(weight: np.ndarray, bias: np.ndarray, *norm: np.ndarray) -> State:
    """Weight and bias of a convolution followed by a BatchNorm of these scale, shift, mean and variance."""
    scale, shift, mean, variance = (array.astype(np.float64) for array in norm)
    dtype = np.promote_types(weight.dtype, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # values that are not finite are refused by name later
        factor = scale / np.sqrt(variance + BATCH_NORM_EPS)
        folded = {"weight": weight * factor[:, None, None, None], "bias": shift + (bias - mean) * factor}
        return {kind: array.astype(dtype) for kind, array in folded.items()}


def _kind_of(backbone: Any) -> Literal["bit", "resnetd", "convs"] | None:
    """The kind of stem that a backbone can be, by its class."""
    name = type(backbone).__name__
    if name == "ResNetV2" or (name == "Sequential" and hasattr(backbone, "conv")):
        return "bit"
    return "resnetd" if name == "FeatureListNet" else "convs" if name == "ConvStem" else None


def _is_plain(part: Any) -> bool:
    return type(part).__name__ in ("Conv2d", "MaxPool2d")


def _padding(part: Any, kind: str | None) -> Any:
    """The padding that a convolution or pooling has in vitjax; PyTorch has a pair or a number."""
    side = part.kernel_size if isinstance(part.kernel_size, int) else part.kernel_size[0]
    padding = 0 if kind == "convs" else side // 2
    return padding if isinstance(part.padding, int) else (padding, padding)


def _epsilon(part: Any) -> float:
    return STANDARDISATION_EPS if type(part).__name__ == "StdConv2dSame" else BATCH_NORM_EPS
