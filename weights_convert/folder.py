"""A folder of a checkpoint with its configuration: of Hugging Face, timm or OpenCLIP, sharded or whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vitjax.errors import ConfigError, WeightsError
from vitjax.images.geometry import Preprocessing
from weights_convert import huggingface
from weights_convert.keys import State
from weights_convert.load import SUFFIXES, read_tensors
from weights_convert.pickles import Tensors
from weights_convert.preprocessing import of_huggingface, of_open_clip
from weights_convert.tensors import MERGE, MERGE_ADAPTER

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""Files of weights, in order of preference."""
SIDECARS = ("config.json", "preprocessor_config.json", "open_clip_config.json")
ACTIVATIONS = {
    "gelu": "gelu",
    "quick_gelu": "quick_gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
}
"""Hugging Face's hidden_act -> ViTConfig.mlp."""
POOLED_BY_MEAN = ("ijepa",)


@dataclass(frozen=True)
class Beside:
    """What files beside the weights state.

    fields: of ViTConfig. names: class names. arch: timm's name of the architecture. kind: model_type of a config.json.
    processor, open_clip, timm: the parts that state the preprocessing, empty if there are none.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] | None = None
    arch: str | None = None
    kind: str | None = None
    processor: Mapping[str, Any] = field(default_factory=dict)
    open_clip: Mapping[str, Any] = field(default_factory=dict)
    timm: Mapping[str, Any] = field(default_factory=dict)

    def preprocessing(self, image_size: tuple[int, int]) -> tuple[Preprocessing | None, str, list[str]]:
        """The preprocessing, the file that states it, and a sentence for each difference; None if none does.

        Raises:
            WeightsError: a value is invalid.
        """
        if self.processor:
            stated, notes = of_huggingface(self.processor, image_size)
            return stated, "preprocessor_config.json", notes
        if self.open_clip:
            return of_open_clip(self.open_clip, image_size), "open_clip_config.json", []
        if self.timm:
            try:
                return Preprocessing.from_timm({**self.timm, "input_size": (3, *image_size)}), "config.json", []
            except (ConfigError, TypeError, ValueError) as error:
                raise WeightsError(f"config.json: pretrained_cfg: {error}") from error
        return None, "", []


def weights_in(folder: Path) -> Path:
    """The file of weights in a folder.

    Raises:
        WeightsError: the folder contains none, several, or only an adapter.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    if (folder / "adapter_config.json").is_file():
        raise WeightsError(f"{folder}: a peft (LoRA) adapter, not a whole model; {MERGE_ADAPTER}")
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in SUFFIXES)
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(path.name for path in files[:5])
        raise WeightsError(f"{folder}: contains {len(files)} checkpoint files ({names}); name one of them")
    raise WeightsError(f"{folder}: contains no checkpoint file ({', '.join(WEIGHTS[:3])}, ...)")


def read_weights(path: Path, *, ema: bool = True) -> Tensors:
    """A file of weights, or all shards that an index file lists; otherwise as `read_tensors`.

    Raises:
        WeightsError: as `read_tensors`; the index is damaged, names files elsewhere, or tensors that no shard has.
    """
    if not path.name.endswith(".index.json"):
        return read_tensors(path, ema=ema)
    table = read_json(path).get("weight_map")
    if not isinstance(table, dict) or not table or not all(isinstance(name, str) for name in table.values()):
        raise WeightsError(f"{path}: not an index of shards: it has no weight_map")
    shards = list(dict.fromkeys(table.values()))
    if any(Path(name).name != name for name in shards):
        raise WeightsError(f"{path}: names shards outside of its folder")
    state: State = {}
    for name in shards:
        state |= read_tensors(path.parent / name, ema=ema).state
    missing = [key for key in table if key not in state]
    if missing:
        raise WeightsError(f"{path}: {len(missing)} tensors of the index are in no shard, such as {missing[0]!r}")
    return Tensors(state, [])


def beside(path: Path) -> Beside:
    """What the configuration files in the folder of a weights file state; nothing if there are none.

    Raises:
        WeightsError: such a file is damaged, or says that the weights are quantised.
    """
    folder = path.parent
    config = _optional(folder / "config.json")
    of_clip = _optional(folder / "open_clip_config.json")
    if "quantization_config" in config:
        raise WeightsError(f"{folder}: a quantised model (config.json has a quantization_config); {MERGE}")
    if isinstance(of_clip.get("model_cfg"), dict):
        return Beside(_fields_of_open_clip(of_clip["model_cfg"]), open_clip=_object(of_clip.get("preprocess_cfg")))
    if isinstance(config.get("architecture"), str):  # timm's
        return _of_timm(config)
    processor = _optional(folder / "preprocessor_config.json")
    tower = config.get("vision_config")
    kind = config.get("model_type") if isinstance(config.get("model_type"), str) else None
    stated = _fields_of_huggingface({**config, **(tower if isinstance(tower, dict) else {})}, kind)
    return Beside(stated, huggingface.class_names(config), kind=kind, processor=processor)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that contains an object.

    Raises:
        WeightsError: it cannot be read, or contains something else.
    """
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: damaged: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(loaded, dict):
        raise WeightsError(f"{path}: not a JSON object")
    return loaded


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _object(value: Any) -> dict[str, Any]:
    """A JSON object, or an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def _of_timm(config: Mapping[str, Any]) -> Beside:
    pretrained, arguments = _object(config.get("pretrained_cfg")), _object(config.get("model_args"))
    names = config.get("label_names") or pretrained.get("label_names")
    stated = {"pool": config.get("global_pool") if config.get("global_pool") in ("token", "avg") else None}
    if isinstance(arguments.get("num_heads"), int):
        stated["heads"] = arguments["num_heads"]
    described = config.get("label_descriptions") or pretrained.get("label_descriptions") or {}
    if isinstance(names, list) and isinstance(described, dict):
        names = tuple(str(described.get(name, name)) for name in names)
    return Beside(
        stated,
        names if isinstance(names, tuple) else None,
        arch=config["architecture"],
        timm=pretrained,
    )


def _fields_of_huggingface(tower: Mapping[str, Any], kind: str | None) -> dict[str, Any]:
    """Fields of ViTConfig that a config.json states; None for those that it does not.

    Raises:
        WeightsError: the activation is none that ViTConfig has.
    """
    act = tower.get("hidden_act")
    if tower.get("use_gated_mlp"):  # DINOv3's; shapes show the gate
        if act not in (None, "silu"):
            raise WeightsError(
                f"config.json: a gated MLP with the activation {act!r} is not supported, only with 'silu'"
            )
        act = None
    if act is not None and (not isinstance(act, str) or act not in ACTIVATIONS):
        raise WeightsError(f"config.json: the activation {act!r} is not supported; known: {', '.join(ACTIVATIONS)}")
    heads, epsilon = tower.get("num_attention_heads"), tower.get("layer_norm_eps")
    if heads is not None and (not isinstance(heads, int) or isinstance(heads, bool) or heads < 1):
        raise WeightsError(f"config.json: num_attention_heads must be an integer of at least 1, not {heads!r}")
    stated: dict[str, Any] = {
        "heads": heads,
        "norm_eps": float(epsilon) if isinstance(epsilon, int | float) else None,
        "mlp": ACTIVATIONS[act] if act is not None else None,
        "pool": "avg" if kind in POOLED_BY_MEAN else None,
    }
    if isinstance(tower.get("rope_theta"), int | float):
        stated["rotary"] = replace(huggingface.DINOV3, temperature=float(tower["rope_theta"]))
    size = tower.get("image_size")
    if kind == "dinov3_vit" and isinstance(size, int):
        stated["image_size"] = (size, size)
    if isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size):
        stated["image_size"] = tuple(size)
    return {name: value for name, value in stated.items() if value is not None}


def _fields_of_open_clip(config: Mapping[str, Any]) -> dict[str, Any]:
    tower = config.get("vision_cfg")
    tower = _object(tower)
    stated: dict[str, Any] = {"mlp": "quick_gelu" if config.get("quick_gelu") else "gelu"}
    width, head_width = tower.get("width", 768), tower.get("head_width", 64)
    if isinstance(width, int) and isinstance(head_width, int) and head_width > 0:
        stated["heads"] = width // head_width
    return stated


def is_sidecar(name: str) -> bool:
    """Whether a weights file of this name belongs to the configuration files in its folder."""
    return name in WEIGHTS or bool(re.fullmatch(r"model-\d{5}-of-\d{5}\.safetensors", name))
