"""From a configuration, and a name of timm, to a live timm module with given weights: the peer that `check` runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from vitjax.errors import VitjaxError, WeightsError
from vitjax.nn.vit_config import ViTConfig
from weights_convert import huggingface
from weights_convert.canonical import WRAPPER, canonical
from weights_convert.keys import State
from weights_convert.live import config_of, timm_arguments
from weights_convert.stems import with_timm_stem

_schemas: list[Any] = []  # a torch Library removes its operators when it is garbage-collected


def import_timm() -> Any:
    """The timm package.

    If torchvision's compiled operators do not match the installed torch, importing torchvision, and so timm, fails.
    The schemas of these operators are then registered here, which is all that the import needs.

    Raises:
        WeightsError: PyTorch or timm is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise WeightsError("the comparison needs PyTorch and timm: pip install 'vitjax[torch]'") from error
    try:
        import torchvision  # noqa: F401
    except (RuntimeError, OSError):
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _schemas.append(library)
    except ImportError:
        pass  # timm's own ImportError names the missing package
    try:
        import timm
    except ImportError as error:
        raise WeightsError("the comparison needs timm: pip install 'vitjax[torch]'") from error
    return timm


def timm_peer(config: ViTConfig, state: State, arch: str | None = None, like: str | None = None) -> Any:
    """A timm module in eval mode with the given weights.

    Args:
        config: the architecture.
        state: state dict (numpy) with timm's names.
        arch: timm's name of the architecture. Where timm has it, the module is timm's definition of it.
        like: timm's name of an architecture that differs from `config` in sizes only. It is used where `arch` is None
            or unknown to timm; without it, the module is a VisionTransformer.

    Raises:
        WeightsError: PyTorch or timm is not installed, timm has no such module, or timm rejects the state dict.
    """
    timm = import_timm()
    import torch

    if arch is not None and timm.is_model(arch):
        # Built by name and not from `config`, so that a wrong entry in vitjax's list of architectures is detected.
        module = _named(timm, arch, config)
    elif like is not None and timm.is_model(like):
        module = _resized(timm, like, _with_head(config))
    else:
        module = _plain(_with_head(config))
    state = _in_the_names_of(module, state, config)
    try:
        module.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in state.items()})
    except RuntimeError as error:
        raise WeightsError(f"timm rejects the weights: {error}") from error
    return module.eval()


def _with_head(config: ViTConfig) -> ViTConfig:
    """The configuration as `config_of` gives it, where a linear head to an embedding counts as one to classes."""
    return replace(config, num_classes=config.embedding, embedding=0) if not config.num_classes else config


def _in_the_names_of(module: Any, state: State, config: ViTConfig) -> State:
    """A state dict in the names of timm's VisionTransformer -> in those of a module that stores the same otherwise.

    `canonical` renames, joins and repeats tensors. It is inverted here by numbering every element of the module's
    state dict: the numbers that arrive in an element say which elements of the module it comes from.

    Raises:
        WeightsError: an array is computed from others, so that there is no inverse.
    """
    own = {key: value.numpy() for key, value in module.state_dict().items()}
    state = with_timm_stem(state, own)
    wrapped = {WRAPPER + key if WRAPPER + key in own else key: array for key, array in state.items()}
    if own.keys() == wrapped.keys():
        return wrapped
    if not own.keys() - state.keys() or canonical(own, config).keys() != state.keys():
        return state
    ends = np.cumsum([0] + [array.size for array in own.values()]) + 1  # 0 stands for what no element gives
    numbers = {
        key: np.arange(start, start + array.size, dtype=np.float64).reshape(array.shape)
        for (key, array), start in zip(own.items(), ends, strict=False)
    }
    values = np.concatenate([[0.0], *(np.asarray(array, np.float64).ravel() for array in own.values())])
    for key, origin in canonical(numbers, config).items():
        index = origin.astype(np.int64)
        if not np.array_equal(index, origin) or index.min() < 0 or index.max() >= ends[-1]:
            raise WeightsError(f"{key} cannot be converted back to timm's arrays: pass the file that it comes from")
        values[index.ravel()] = np.asarray(state[key], np.float64).ravel()
    return {
        key: values[start : start + array.size].reshape(array.shape).astype(array.dtype)
        for (key, array), start in zip(own.items(), ends, strict=False)
    }


def _named(timm: Any, arch: str, config: ViTConfig) -> Any:
    """timm's module of a name, with the classes and the image size of the configuration."""
    import torch

    sizes = {"num_classes": config.num_classes or config.embedding}
    try:
        module = timm.create_model(arch, pretrained=False, img_size=config.image_size, **sizes)
    except TypeError:  # of an architecture that takes images of any size
        module = timm.create_model(arch, pretrained=False, **sizes)
    for part in module.modules():
        if isinstance(part, torch.nn.LayerNorm) and config.norm_eps == huggingface.NORM_EPS:
            part.eps = config.norm_eps  # the only respect in which Hugging Face computes differently from timm
    return module


def _plain(config: ViTConfig) -> Any:
    """timm's VisionTransformer, or its distilled version, with the options of the configuration."""
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    module_class = VisionTransformerDistilled if config.distilled else VisionTransformer
    return module_class(**timm_arguments(config))


def _resized(timm: Any, like: str, config: ViTConfig) -> Any:
    """timm's module of a name with all sizes of the configuration in place of its own.

    Raises:
        WeightsError: no choice of sizes gives the configuration.
    """
    import torch

    sizes = {
        "img_size": config.image_size,
        "patch_size": config.patch_size // (1 if config.stem is None else config.stem.stride),
        "embed_dim": config.width,
        "depth": config.depth,
        "num_heads": config.heads,
        "num_classes": config.num_classes,
    }
    for gates in (1, 2):  # timm counts the hidden width of some gated MLPs twice
        sizes["mlp_ratio"] = gates * (config.mlp_dim + 0.25) / config.width  # which timm multiplies, and rounds down
        try:
            with torch.device("meta"):
                resized = config_of(timm.create_model(like, pretrained=False, **sizes))
        except (TypeError, ValueError, AssertionError, RuntimeError, VitjaxError):
            continue
        if resized == config:
            return timm.create_model(like, pretrained=False, **sizes)
    raise WeightsError(f"timm cannot give {like} the sizes of this model")
