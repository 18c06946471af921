"""Writes the table of named models from the installed timm: `python -m vitjax.models.timm_table` (two minutes).

The table, `vitjax/assets/timm_models.json`, has one line for each architecture name of timm's modules MODULES. What
`weights_convert.live.config_of` can express is stored as fields of `ViTConfig`, without those that have their default;
what it refuses is stored with its reason. Preprocessing, class count and image size are those of each pretrained tag.
"""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, asdict, fields
from typing import Any

from vitjax.errors import VitjaxError
from vitjax.images.geometry import Preprocessing
from vitjax.models.families import ASSET, UNTRAINED
from vitjax.nn.vit_config import ViTConfig
from vitjax.output.files import write_text
from vitjax.output.terminal import say

MODULES = (
    *("vision_transformer", "deit", "eva", "beit", "naflexvit"),
    *("vision_transformer_hybrid", "vision_transformer_relpos"),
    *("deepseek_vit", "qwen3_vit", "gemma4_vit"),
)
"""timm's modules whose models are plain Vision Transformers, close to them or classifiers around one."""
CLASS_COUNTS = {1000, 11221, 11821, 21841, 21843, 115217}
"""Sizes of heads that are classes: of ImageNet-1k, -12k, -21k, -22k and Bamboo. Other heads project to embeddings."""
DEFAULTS = {field.name: field.default for field in fields(ViTConfig) if field.default is not MISSING}


def timm_names() -> list[str]:
    """All architecture names of timm's modules MODULES, without those that timm calls deprecated."""
    from weights_convert.check import import_timm

    timm = import_timm()
    return [name for module in MODULES for name in timm.list_models(module=module)]


def table(names: list[str] | None = None) -> dict[str, Any]:
    """The table's content as the installed timm gives it.

    Args:
        names: names of timm; None for all of MODULES.

    Cost: builds each architecture without memory for its parameters, 0.2 s for each of its image sizes and class
        counts.
    """
    from weights_convert.check import import_timm

    timm = import_timm()
    preprocessings: list[dict[str, Any]] = []
    models = {name: _model(timm, name, preprocessings) for name in (timm_names() if names is None else names)}
    return {"timm": timm.__version__, "preprocessing": preprocessings, "models": models}


def pretrained_cfgs(timm: Any, name: str) -> dict[str, dict[str, Any]]:
    """timm's `pretrained_cfg` by tag, for tags with weights, the default first. UNTRAINED alone if there are none."""
    default = timm.models.get_pretrained_cfg(name)
    cfgs = {cfg.tag: cfg for cfg in (default, *timm.models.get_arch_pretrained_cfgs(name).values())}
    trained = {tag: cfg.to_dict() for tag, cfg in cfgs.items() if cfg.has_weights}
    return trained or {UNTRAINED: default.to_dict()}


def _model(timm: Any, name: str, preprocessings: list[dict[str, Any]]) -> dict[str, Any]:
    """One entry of the table; adds the preprocessing of its tags to `preprocessings`."""
    cfgs = pretrained_cfgs(timm, name)
    configs: dict[Any, tuple[dict[str, Any], int]] = {}
    tags: dict[str, dict[str, Any]] = {}
    default = next(iter(cfgs))
    try:
        for tag, cfg in cfgs.items():
            sizes = cfg["num_classes"], tuple(cfg["input_size"])
            if sizes not in configs:
                configs[sizes] = _built(timm, name if tag == default else f"{name}.{tag}", sizes[1])
            config, parameters = configs[sizes]
            if tag == default:
                of_default, parameters_of_default = config, parameters
            differing = {field: value for field, value in config.items() if of_default[field] != value}
            tags[tag] = {
                **_interned(Preprocessing.from_timm(cfg), preprocessings),
                **({"config": differing} if differing else {}),
                **_weights(name, tag, cfg),
            }
    except VitjaxError as error:
        reason = re.sub(r"^this \w+ is not supported: ", "", " ".join(str(error).split()))
        return {"refused": reason, "tags": [tag for tag in cfgs if tag != UNTRAINED]}
    config = {name: value for name, value in of_default.items() if name not in DEFAULTS or DEFAULTS[name] != value}
    return {"config": config, "parameters": parameters_of_default, "tags": tags}


def _built(timm: Any, name: str, input_size: tuple[int, int, int]) -> tuple[dict[str, Any], int]:
    """Fields of the configuration of `NAME.TAG`, and its number of parameters.

    Args:
        input_size: of the tag, to which timm does not build models that take images of any size. NaFlex alone is
            stored at the size of its position table, since it resamples that of any other.

    Raises:
        VitjaxError: the configuration cannot express the architecture.
    """
    import torch

    from weights_convert.live import config_of

    with torch.device("meta"):
        module = timm.create_model(name, pretrained=False)
    config = config_of(module)
    config = config if name.startswith("naflexvit") else config.at_size(input_size[1:])
    return asdict(config), sum(parameter.numel() for parameter in module.parameters())


def _interned(preprocessing: Preprocessing, preprocessings: list[dict[str, Any]]) -> dict[str, int]:
    entry = asdict(preprocessing)
    if entry not in preprocessings:
        preprocessings.append(entry)
    return {"preprocessing": preprocessings.index(entry)}


def _weights(name: str, tag: str, cfg: dict[str, Any]) -> dict[str, Any]:
    """Where the weights of a tag are, if not at the hub id timm/NAME.TAG, and what their outputs are."""
    hub, expected = cfg.get("hf_hub_id") or None, f"timm/{name}.{tag}"
    entry: dict[str, Any] = {} if hub == expected else {"hub": hub}
    outputs = "features"
    if cfg["num_classes"]:
        imagenet = cfg["num_classes"] == 1000 and "in1k" in tag
        outputs = "imagenet" if imagenet else "classes" if cfg["num_classes"] in CLASS_COUNTS else "embedding"
    return entry if outputs == "imagenet" else {**entry, "outputs": outputs}


def formatted(content: dict[str, Any]) -> str:
    """The table as JSON with one line for each preprocessing and each model."""

    def line(value: Any) -> str:
        return json.dumps(value, separators=(",", ":"))

    preprocessings = ",\n".join(map(line, content["preprocessing"]))
    models = ",\n".join(f"{line(name)}:{line(entry)}" for name, entry in content["models"].items())
    return f'{{"timm":{line(content["timm"])},\n"preprocessing":[\n{preprocessings}\n],\n"models":{{\n{models}\n}}}}\n'


def main() -> None:
    """Write the table and print how many names and tags load."""
    content = table()
    write_text(ASSET, formatted(content))
    models = content["models"].values()
    loads = [entry for entry in models if "refused" not in entry]
    tags = [sum(len(set(entry["tags"]) - {UNTRAINED}) for entry in chosen) for chosen in (loads, models)]
    say(f"{ASSET}: {len(loads)} of {len(models)} names load, {tags[0]} of {tags[1]} tags (timm {content['timm']})")


if __name__ == "__main__":
    main()
