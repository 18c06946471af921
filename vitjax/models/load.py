"""`load` for models by name or from a source, `from_timm` for live timm modules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError, WeightsError
from vitjax.execution.backend import check_backend
from vitjax.images.reading import Preprocessing
from vitjax.models import families
from vitjax.models.class_names import Labels, imagenet_labels
from vitjax.models.families import Entry, find
from vitjax.models.model import Model
from vitjax.models.sources import Options, from_name, from_source
from vitjax.models.text import checked_templates
from vitjax.nn.vit_config import ViTConfig

BUNDLED = "vitjax_scenes"
BUNDLED_FILE = Path(__file__).parents[1] / "assets" / f"{BUNDLED}.safetensors"
DTYPES = ("float32", "bfloat16", "float64")


def names() -> list[str]:
    """All model names that `load` accepts, without tags.

    Example:
        >>> len(vitjax.model_names()) > 250, "vit_base_patch16_dinov3" in vitjax.model_names()
        (True, True)
    """
    return [*families.names(), BUNDLED]


def load(
    source: str | Path,
    weights: str | Path | None = None,
    *,
    arch: str | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    dtype: str = "float32",
    preprocess: Mapping[str, Any] | None = None,
    ema: bool = True,
    templates: Sequence[str] | None = None,
) -> Model:
    """Loads a model by name, or from a file, a folder or a hub id, which say what the model is.

    What was found in a file or folder, and why, is printed to stderr in at most two lines and recorded in
    `model.weights`: "read" and "inferred".

    Args:
        source: one of `names()`, also as NAME.TAG, or "vitjax_scenes", the small model of the package; or a
            .safetensors, .pth, .pt, .bin, .ckpt, .pth.tar or .npz file, with the names of timm, Hugging Face,
            torchvision, OpenCLIP, DINO, MAE, DINOv2, big_vision or vitjax.train; a folder of Hugging Face, timm or
            OpenCLIP with its configuration; a directory written by `weights_convert`; or a hub id.
        weights: of a named model: a source of weights as above; None for the default weights of the name. Where their
            head or position table has another size than the name's, classes and image size follow from them.
        arch: name of the architecture, where the shapes in a file leave a doubt, such as the number of heads.
        num_classes: number of classes of the head in the weights, 0 for no head; None follows the weights.
        class_names: in the order of the logits; None for those that the source states. Those of 1000 classes without
            names are taken to be ImageNet-1k's.
        image_size: (height, width) in pixels, or one number for both; None for the size that the weights were trained
            at. For another size, the position embedding is resampled as in timm, and `model.weights["positions"]`
            records it.
        dtype: dtype of the parameters and the forward pass: "float32", "bfloat16" or "float64" (which needs
            JAX_ENABLE_X64).
        preprocess: entries of `Preprocessing` that replace those of the source: mean, std, crop_pct, crop_mode,
            interpolation, size.
        ema: whether averaged weights are read where a file has raw ones, too, as timm does.
        templates: of a CLIP or SigLIP with both towers, prompts with "{}" in place of a class name or of a text target;
            None takes "a photo of a {}." for class names, and text targets as they stand.

    Returns:
        The model. `model.weights` records source, format and a sha256 that is the same for the same weights.

    Raises:
        UnknownNameError: no model has this name, and no file either; the message lists close matches.
        ConfigError: invalid dtype, image size, preprocessing or number of class names, or JAX cannot use the platform
            that JAX_PLATFORMS names.
        WeightsError: the checkpoint is missing, damaged, unsafe, not finite or of another architecture.

    Cost: reads and hashes the file; no forward.

    Example:
        >>> import vitjax
        >>> model = vitjax.load("vitjax_scenes")  # or "FILE.pth", "FOLDER", ("deit_tiny_patch16_224", "FILE.pth")
        >>> model.config.depth, model.label(0)
        (6, 'striped disc')
    """
    check_backend()
    _check_dtype(dtype)
    prompts = None if templates is None else checked_templates(templates)
    others = {"arch": arch, "num_classes": num_classes, "ema": ema, "dtype": dtype, "templates": prompts}
    options = Options.of(class_names, image_size, preprocess, **others)
    if arch is not None:
        find(arch)
    name = str(source)
    hub_name = name.removeprefix("timm/")
    if name.startswith("timm/") and families.loads(hub_name) and arch is None and weights is None:
        return load_named(hub_name, name, options)
    if name == BUNDLED or families.loads(name):
        return load_named(name, weights, options)
    if weights is not None or not _is_source(name):
        find(name)  # raises an error that says what is unknown
    if _is_bundled(Path(name)):
        return load_named(BUNDLED, name, replace(options, arch=None))
    return from_source(source, options)


def load_named(name: str, weights: str | Path | None, options: Options) -> Model:
    """`load` of a named model."""
    if name == BUNDLED:
        path = Path(weights or BUNDLED_FILE)
        entry, labels = _bundled(path)
        return from_name(name, entry, path, labels, options)
    named = find(name)
    source = weights if weights is not None else named.hub
    if source is None:
        raise WeightsError(f"{name} has no default weights: pass weights=PATH or a hub id")
    return from_name(name, named, source, None, options)


def _is_source(text: str) -> bool:
    """Whether a text that is no model's name can be a file, a folder or a hub id."""
    from weights_convert.hub import is_hub_id
    from weights_convert.load import SUFFIXES

    return Path(text).exists() or text.startswith("~") or "/" in text or text.endswith(SUFFIXES) or is_hub_id(text)


def _is_bundled(path: Path) -> bool:
    """Whether a file was written by `vitjax.train`: its header describes the model."""
    from weights_convert.load import read_header

    return path.suffix == ".safetensors" and path.is_file() and {"config", "classes"} <= read_header(path)[0].keys()


def from_timm(module: Any, *, dtype: str | None = None) -> Model:
    """Converts a live timm ViT, or classifier around a vision encoder, to a `Model` with the same outputs.

    Configuration and preprocessing are read from the module's attributes and its `pretrained_cfg`, not from its name.

    Args:
        module: the PyTorch module, also inside of `torch.compile` or `DataParallel`.
        dtype: as in `load`; None keeps that of the module, except that float16 becomes float32.

    Raises:
        WeightsError: the module has a part that vitjax does not support, which the message names (windows, gated
            attention, merged patches ...).
        ConfigError: invalid dtype, or float64 without JAX_ENABLE_X64.

    Example:
        >>> import timm
        >>> module = timm.create_model("deit_tiny_patch16_224", depth=1)  # random weights
        >>> model = vitjax.from_timm(module)
        >>> model.config.depth, model.config.num_classes
        (1, 1000)
    """
    from weights_convert.fitting import params_of
    from weights_convert.live import config_of, unwrapped
    from weights_convert.load import digest, digests
    from weights_convert.tensors import state_of_torch

    module = unwrapped(module)
    check_backend()
    config = config_of(module)
    module_dtype = str(next(module.parameters()).dtype).removeprefix("torch.")
    dtype = dtype or (module_dtype if module_dtype in DTYPES else "float32")
    _check_dtype(dtype)
    pretrained = getattr(module, "pretrained_cfg", None) or {}
    name = pretrained.get("architecture") or "custom"
    source = f"timm module {name}"
    params = params_of(state_of_torch(module.state_dict(), source), config, source, dtype=dtype)
    record = {"source": source, "format": "live", "sha256": digest(digests(params))}
    params = jax.tree.map(lambda array: jnp.asarray(array, dtype), params)
    labels = imagenet_labels() if config.num_classes == 1000 else None
    preprocessing = Preprocessing.from_timm({**pretrained, "input_size": (3, *config.image_size)})
    return Model(config, params, preprocessing, labels, name, record)


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r}: must be one of {', '.join(DTYPES)}")
    if dtype == "float64" and jax.dtypes.canonicalize_dtype("float64") != jnp.float64:
        raise ConfigError("dtype float64 needs JAX_ENABLE_X64=1 in the environment (or jax.enable_x64)")


def bundled_entry() -> Entry[ViTConfig]:
    """The entry of the model that comes with the package; its file's header states it."""
    return _bundled(BUNDLED_FILE)[0]


def _bundled(path: Path) -> tuple[Entry[ViTConfig], Labels]:
    """Configuration, preprocessing and class names from the header of a file that `vitjax.train` wrote.

    Raises:
        WeightsError: the header is not that of such a file.
    """
    from weights_convert.arch import check_header
    from weights_convert.checkpoint import config_from
    from weights_convert.load import read_header

    metadata, shapes = read_header(path)
    try:
        header = {key: json.loads(metadata[key]) for key in ("config", "classes", "mean", "std")}
        config = config_from(header["config"], str(path))
        colours = np.asarray([header["mean"], header["std"]], np.float64)
        if not isinstance(header["classes"], list) or colours.shape != (2, 3) or not np.isfinite(colours).all():
            raise TypeError("classes must be a list, mean and std three finite numbers each")
        mean, std = colours.tolist()
        labels = Labels(tuple(header["classes"]))
        preprocessing = Preprocessing(config.image_size, 1.0, "center", "bicubic", tuple(mean), tuple(std))
    except (KeyError, TypeError, ValueError, RecursionError, ConfigError) as error:
        cause = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{path}: header is not that of a {BUNDLED} file: {cause}; weights of another architecture need its name, "
            f"--model NAME on the command line"
        ) from error
    check_header(config, shapes, path)
    if not all(isinstance(name, str) for name in labels.names) or len(labels.names) != config.num_classes:
        raise WeightsError(
            f"{path}: the header's classes are not {config.num_classes} names, one for each output of the model"
        )
    return Entry(config, preprocessing, None), labels
