"""The subcommand `models`: what `--model` accepts by name, and what it refuses."""

from __future__ import annotations

from vitjax.errors import ConfigError
from vitjax.images.geometry import IMAGENET_MEAN, IMAGENET_STD
from vitjax.models import families
from vitjax.models.families import Entry, find
from vitjax.models.load import BUNDLED, bundled_entry
from vitjax.nn.network import ModuleConfig, features, parameter_count
from vitjax.nn.vit_config import ViTConfig

NORMALISATIONS = {
    (IMAGENET_MEAN, IMAGENET_STD): "imagenet",
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)): "0.5",
    ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)): "clip",
    ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)): "none",
}
"""(mean, standard deviation) -> what the listing calls it."""
HEAD = ("name", "image", "parameters", "tokens", "normalised", "text")

TEXT_TOWERS = (
    "text: CLIP, SigLIP: the image tower of such a model, trained with texts; the named weights hold no text tower.",
    "For --target text:WORDS give the whole model by folder or hub id, as in --model openai/clip-vit-base-patch16.",
)


def listing(pattern: str = "", refused: bool = False) -> list[str]:
    """Lines about the named models.

    Args:
        pattern: only names, or NAME.TAG, that contain this text. If it is given, each tag has a line.
        refused: list the names that do not load, with the reason, instead of those that do; with a pattern, both are
            listed anyway.

    Raises:
        ConfigError: no name contains the pattern.
    """
    loads = [] if refused and not pattern else [n for n in [*families.names(), BUNDLED] if _matching(n, pattern)]
    reasons = families.refused() if refused or pattern else {}
    reasons = {name: reason for name, reason in reasons.items() if _matching(name, pattern)}
    if not loads and not reasons:
        raise ConfigError(f"no model's name contains {pattern!r}; `vitjax models` lists all names")
    rows = [row for name in loads for row in _rows(name, pattern)]
    lines = _aligned([(*HEAD, "outputs, crop" if pattern else "tags, the default first"), *rows]) if loads else []
    lines += [f"{name}: refused: {reason}" for name, reason in reasons.items()]
    if any(row[HEAD.index("text")] != "-" for row in rows):
        lines += ["", *TEXT_TOWERS]
    if not pattern and not refused:
        count = sum(len(_tags(name)) for name in loads)
        lines += [
            "",
            f"{len(loads)} names, {count} tags. `vitjax models PATTERN` shows each tag's size, outputs and crop.",
        ]
        lines += [f"{len(families.refused())} names of timm do not load: `vitjax models --refused`"]
    return lines


def _tags(name: str) -> list[str]:
    return [] if name == BUNDLED else families.tags(name)


def _matching(name: str, pattern: str) -> bool:
    """Whether a name or one of its names with tags contains the pattern."""
    return pattern in name or any(pattern in f"{name}.{tag}" for tag in _tags(name))


def _rows(name: str, pattern: str) -> list[tuple[str, ...]]:
    """One row for a name, or one for each of its tags if there is a pattern."""
    if name == BUNDLED:
        return [_row(name, bundled_entry(), "")]
    if not pattern:
        return [_row(name, find(name), ", ".join(_tags(name)))]
    chosen = [f"{name}.{tag}" for tag in _tags(name) if pattern in f"{name}.{tag}"] or [name]
    return [_row(name, entry, _outputs(entry)) for name in chosen for entry in [find(name)]]


def _row(name: str, entry: Entry[ModuleConfig], last: str) -> tuple[str, ...]:
    config, preprocessing = entry.config, entry.preprocessing
    count = entry.parameters if entry.parameters is not None else parameter_count(config)
    return (
        name,
        "x".join(map(str, config.image_size)),
        f"{count / 1e6:.2f} M",
        str(config.tokens) if isinstance(config, ViTConfig) else "ResNet",
        NORMALISATIONS.get((preprocessing.mean, preprocessing.std), "own"),
        _trained_with_texts(name, entry),
        last,
    )


def _trained_with_texts(name: str, entry: Entry[ModuleConfig]) -> str:
    """The kind of model with a text tower that a tag is the image tower of; "-" if it is none, or was fine-tuned."""
    if entry.outputs == "embedding":
        return "CLIP"
    return "SigLIP" if "siglip" in name and entry.outputs == "features" else "-"


def _outputs(entry: Entry[ModuleConfig]) -> str:
    """Outputs and crop of a tag, such as "1000 ImageNet classes, crop 0.9 center bicubic"."""
    config, preprocessing = entry.config, entry.preprocessing
    outputs = {
        "imagenet": f"{config.num_classes} ImageNet classes",
        "classes": f"{config.num_classes} classes",
        "embedding": f"embedding of {features(config)}",
        "features": f"{features(config)} features",
    }[entry.outputs]
    return f"{outputs}, crop {preprocessing.crop_pct:g} {preprocessing.crop_mode} {preprocessing.interpolation}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines; columns of numbers are aligned at the right, the last column has no width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    signs = [">" if name in ("image", "parameters", "tokens") else "<" for name in HEAD]
    line = "".join(f"{{:{sign}{width}}}  " for sign, width in zip(signs, widths, strict=True)) + "{}"
    return [line.format(*row).rstrip() for row in rows]
