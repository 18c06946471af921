"""What `load` does with a name or a source: architecture, preprocessing and class names, and who states each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from vitjax.errors import ConfigError, WeightsError
from vitjax.images.geometry import Preprocessing
from vitjax.models.class_names import Labels, imagenet_labels
from vitjax.models.families import Entry, find, known_configs
from vitjax.models.model import Model
from vitjax.models.text import TEMPLATES, TextTower, text_tower, with_text, zero_shot
from vitjax.nn.network import ModuleConfig
from vitjax.output.terminal import say


@dataclass(frozen=True)
class Options:
    """Arguments of `load` beside the model's name or source and its weights; see there."""

    arch: str | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] | None = None
    image_size: tuple[int, int] | None = None
    preprocess: Mapping[str, Any] | None = None
    ema: bool = True
    dtype: str = "float32"
    templates: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls,
        class_names: Sequence[str] | None,
        image_size: int | Sequence[int] | None,
        preprocess: Mapping[str, Any] | None,
        **others: Any,
    ) -> Options:
        """The options with sizes as pairs; checks what can be checked without the weights.

        Raises:
            ConfigError: class names are one text, or `preprocess` has an unknown entry or another image size.
        """
        if isinstance(class_names, str):
            raise ConfigError("class_names must be a list of names, not one text (--class-names takes a file)")
        size = _pair(image_size)
        if preprocess is not None:
            known = [field.name for field in fields(Preprocessing)]
            unknown = [key for key in preprocess if key not in known]
            if unknown:
                raise ConfigError(f"preprocess has no {unknown[0]!r}; known: {', '.join(known)}")
            stated = _pair(preprocess.get("size"))
            if stated is not None and size is not None and stated != size:
                raise ConfigError(f"image_size {size} and the size of preprocess {stated} differ")
            size = size or stated
        names = tuple(class_names) if class_names is not None else None
        return cls(class_names=names, image_size=size, preprocess=preprocess, **others)

    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults, as `load` takes them and JSON stores them."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value != getattr(Options(), name)}


def from_name(
    name: str, entry: Entry[ModuleConfig], weights: str | Path, labels: Labels | None, options: Options
) -> Model:
    """The named model with these weights, whose head and position table may have other sizes than the name's.

    Args:
        name, entry: the model's name and what it stands for.
        weights: as `load`.
        labels: class names that go with the entry; None if those of ImageNet-1k are meant, or none are known.
        options: as `load`.

    Raises:
        WeightsError, ConfigError: as `load`.
    """
    from weights_convert.source import Wanted, read_source

    if options.arch is not None:
        raise ConfigError(f"arch={options.arch!r}: {name!r} names an architecture already")
    arch = name.partition(".")[0]
    wanted = Wanted(entry.config, arch, known_configs(), options.num_classes, None, options.ema, options.dtype)
    loaded = read_source(weights, wanted)
    notes = list(loaded.notes)
    if loaded.class_names is not None:
        labels = Labels(loaded.class_names)
    elif labels is not None and len(labels) != loaded.config.num_classes:
        labels = None
    if labels is None and loaded.config.num_classes == 1000 and options.class_names is None:
        labels = imagenet_labels()
        if entry.outputs != "imagenet":
            notes.append("the names of the 1000 classes are assumed to be ImageNet-1k's")
    if notes:
        say(f"{weights}: {'; '.join(notes)}", error=True)
    preprocessing = loaded.preprocessing or entry.preprocessing
    model = _assembled(loaded.config, loaded.params, preprocessing, labels, name, loaded.record, options, loaded.text)
    flexible = arch.startswith("naflexvit") and loaded.config.image_size == entry.config.image_size
    if options.image_size is None and flexible:
        return model.at_size(entry.preprocessing.size)  # timm evaluates NaFlex at another size than that of its table
    return model


def from_source(source: str | Path, options: Options) -> Model:
    """The model of a file, folder, directory of weights_convert or hub id. Prints what was found, in two lines.

    Raises:
        WeightsError, ConfigError: as `load`.
    """
    from weights_convert.source import Wanted, read_source

    entry = None if options.arch is None else find(options.arch)
    config = entry.config if entry is not None else None
    arch = None if options.arch is None else options.arch.partition(".")[0]
    size, known = options.image_size, known_configs()
    wanted = Wanted(config, arch, known, options.num_classes, size, options.ema, options.dtype)
    loaded = read_source(source, wanted)
    if entry is None and loaded.arch is not None:
        entry = find(loaded.arch)
    preprocessing, origin = loaded.preprocessing, loaded.origin
    if preprocessing is None:
        preprocessing, origin = _preprocessing(loaded, entry)
    labels, names_from = None, ""
    if loaded.class_names is not None:
        labels, names_from = Labels(loaded.class_names), "class names: the source's"
    elif loaded.config.num_classes == 1000 and options.class_names is None:
        labels, names_from = imagenet_labels(), "class names: assumed to be ImageNet-1k's 1000"
    remarks = [f"preprocessing: {origin}" if options.preprocess is None else "", names_from]
    lines = ["; ".join(loaded.notes), "; ".join(remark for remark in remarks if remark)]
    say("\n".join(f"{source}: {line}" for line in lines if line), error=True)
    inferred = "; ".join(line for line in lines if line)
    record = {**loaded.record, "inferred": inferred, "arguments": {"source": str(source)}}
    name = loaded.arch or _name_of(source)
    return _assembled(loaded.config, loaded.params, preprocessing, labels, name, record, options, loaded.text)


def _preprocessing(loaded: Any, entry: Entry[ModuleConfig] | None) -> tuple[Preprocessing, str]:
    """The preprocessing of weights that do not state it, and where it comes from."""
    size = loaded.config.image_size
    if entry is not None:
        return replace(entry.preprocessing, size=size), f"that of {loaded.arch}"
    usual, origin = loaded.usual or (Preprocessing(size), "assumed")
    if not origin.startswith("assumed"):
        return usual, origin
    stated = {name: replace(find(name).preprocessing, size=size) for name in loaded.names}
    if (
        len({(preprocessing.mean, preprocessing.std, preprocessing.interpolation) for preprocessing in stated.values()})
        == 1
    ):
        name, preprocessing = next(iter(stated.items()))
        return preprocessing, f"that of {name}, which has these shapes"
    return usual, origin


def _assembled(
    config: ModuleConfig,
    params: Any,
    preprocessing: Preprocessing,
    labels: Labels | None,
    name: str,
    record: dict[str, Any],
    options: Options,
    text: Any = None,
) -> Model:
    """The model, with the overrides that the caller asks for; with a text tower, class names make a zero-shot model."""
    if options.class_names is not None and text is None:
        if len(options.class_names) != config.num_classes:
            raise ConfigError(f"{len(options.class_names)} class names for a model with {config.num_classes} classes")
        labels = Labels(options.class_names)
    overrides: dict[str, Any] = {**(options.preprocess or {}), "size": config.image_size}
    overrides |= {key: _three(overrides[key], key) for key in ("mean", "std") if key in overrides}
    try:
        preprocessing = replace(preprocessing, **overrides)
    except TypeError as error:
        raise ConfigError(f"preprocess: {error}") from error
    given = options.given()
    if given.keys() - {"dtype"} or "arguments" in record:
        record["arguments"] = {**record.get("arguments", {}), **given}
    params = jax.tree.map(lambda array: jnp.asarray(array, options.dtype), params)
    model = Model(config, params, preprocessing, labels, name, record)
    if text is not None:
        dtype = "float64" if options.dtype == "float64" else "float32"
        own = jax.tree.map(lambda array: jnp.asarray(array, dtype), text.params)
        tower = TextTower(**{**text._asdict(), "params": own})
        templates = options.templates
        model = with_text(model, tower if templates is None else replace(tower, templates=templates))
        if options.class_names is not None:
            model = zero_shot(model, options.class_names, TEMPLATES if templates is None else templates)
    elif options.templates is not None:
        text_tower(model, "templates")
    return model if options.image_size is None else model.at_size(options.image_size)


def _three(values: Any, name: str) -> tuple[float, float, float]:
    try:
        red, green, blue = (float(value) for value in ([values] * 3 if isinstance(values, int | float) else values))
    except (TypeError, ValueError):
        raise ConfigError(f"preprocess: {name} must be one number or three, not {values!r}") from None
    if not all(map(math.isfinite, (red, green, blue))):
        raise ConfigError(f"preprocess: {name} must be finite, not {values!r}")
    return red, green, blue


def _pair(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2:
        raise ConfigError(f"image_size must be (height, width) or one number, not {size!r}")
    return pair[0], pair[1]


_GENERIC = ("model", "pytorch_model", "checkpoint", "best", "last", "model_best", "weights", "open_clip_model")


def _name_of(source: str | Path) -> str:
    """A name for the model of a source: that of the file, or of its folder where the file's says nothing."""
    path = Path(str(source))
    stem = path.name.removesuffix(".tar")
    stem = stem.rpartition(".")[0] if "." in stem and not path.is_dir() else stem
    name = path.absolute().parent.name if stem in _GENERIC else stem
    if not name:
        raise WeightsError(f"{source}: is no file of weights")
    return name
