"""Reads what a user names as a model's weights: a file, a folder, a directory of weights_convert, or a hub id."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from vitjax.errors import WeightsError
from vitjax.images.geometry import Preprocessing
from vitjax.nn.network import ModuleConfig, features
from vitjax.nn.resnet import ResNetConfig
from vitjax.nn.vit_config import ViTConfig
from weights_convert import torchvision_resnet
from weights_convert.arch import summary
from weights_convert.big_vision import big_vision, is_big_vision
from weights_convert.canonical import canonical
from weights_convert.checkpoint import MANIFEST, read_checkpoint
from weights_convert.fitting import params_of, refuse_foreign
from weights_convert.folder import Beside, beside, is_sidecar, read_weights, weights_in
from weights_convert.hub import fetch, is_hub_id
from weights_convert.infer import UNSEEN, infer, probe, resized
from weights_convert.keys import flatten, state_shapes
from weights_convert.load import SUFFIXES, digest, digests, read_file, tidied
from weights_convert.naming import in_timm_names
from weights_convert.pickles import Tensors
from weights_convert.preprocessing import usual, usual_kind
from weights_convert.renaming import Renamed
from weights_convert.tensors import check_finite, check_kinds, check_unmerged
from weights_convert.text import TextWeights, text_tower_of


class Wanted(NamedTuple):
    """What is known of a model before its weights are read.

    config: its architecture; None is found from the weights. arch: the name of that. known: architectures by name.
    num_classes, image_size: those of the weights, where the caller states them. ema: whether averaged weights are
    preferred. dtype: that of the model, whose range the values must not exceed.
    """

    config: ModuleConfig | None = None
    arch: str | None = None
    known: Mapping[str, ViTConfig] = {}
    num_classes: int | None = None
    image_size: tuple[int, int] | None = None
    ema: bool = True
    dtype: str = "float32"


@dataclass(frozen=True)
class Loaded:
    """A model as its source describes it.

    config, params: architecture, and nested numpy parameters.
    record: {"source", "format", "sha256"}, and "read" with all choices that reading made.
    arch: name of the architecture, None if the source has none.
    names: known architectures of the same shapes, which the weights may come from.
    class_names, preprocessing: those that the source states; None if it does not. origin: who states preprocessing.
    text: the text tower of a source with two towers.
    usual: preprocessing that is usual for such a source, and why. notes: the choices, a sentence each.
    """

    config: ModuleConfig
    params: dict[str, Any]
    record: dict[str, Any]
    arch: str | None = None
    names: tuple[str, ...] = ()
    class_names: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    origin: str = ""
    usual: tuple[Preprocessing, str] | None = None
    text: TextWeights | None = None
    notes: list[str] = field(default_factory=list)


def locate(source: str | Path) -> tuple[Path, str]:
    """Find a checkpoint; a hub id is downloaded if it is not in the cache.

    Returns:
        The file or directory, and its format: the suffix of a file without the dot, "folder", "orbax" or "hub".

    Raises:
        WeightsError: the source is no existing file or directory and no hub id, or cannot be downloaded.
    """
    path = _expanded(source)
    if path.is_dir():
        ours = (path / MANIFEST).exists() or (path / "arrays").is_dir()
        return path, "orbax" if ours else "folder"
    if path.is_file():
        return path, path.suffix.removeprefix(".")
    if isinstance(source, str) and is_hub_id(source):
        return fetch(source), "hub"
    siblings = [p.name for p in path.parent.iterdir() if p.suffix in SUFFIXES] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise WeightsError(f"{source}: no such file, directory or hub id (owner/name){hint}")


def read_source(source: str | Path, wanted: Wanted) -> Loaded:
    """Read a model from a file, a folder, a directory or the hub.

    Args:
        source: a file, a folder with a file of weights and its configuration, a directory that weights_convert wrote,
            or a hub id.
        wanted: what is known of the model. Of a named architecture, classes and image size follow from the weights.

    Raises:
        WeightsError: the source does not exist, cannot be read, does not contain this architecture or none that vitjax
            has, or leaves a doubt that `arch` or `image_size` ends.
    """
    path, kind = locate(source)
    if isinstance(wanted.config, ResNetConfig):
        loaded = _resnet(path, kind, source, wanted.config, wanted)
    elif kind == "orbax":
        loaded = _checkpoint(path, str(source), wanted)
    else:
        loaded = _vit(path, kind, source, wanted)
    loaded.record.update({"source": str(source), "format": kind})
    if loaded.notes:
        loaded.record["read"] = "; ".join(loaded.notes)
    return loaded


def file_digest(path: Path) -> str:
    """sha256 of the file of weights of a source that `locate` found."""
    with (weights_in(path) if path.is_dir() else path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_of(path: Path, *, ema: bool = True) -> Renamed:
    """The state dict of a ViT in timm's names, from a file or folder that `locate` found.

    Raises:
        WeightsError: it cannot be read, or is of an unsupported architecture.
    """
    file = weights_in(path) if path.is_dir() else path
    return _in_timm_names(tidied(read_weights(file, ema=ema), file), str(path))


def _in_timm_names(tensors: Tensors, source: str) -> Renamed:
    check_unmerged(tensors.state, source)
    try:
        renamed = big_vision(tensors.state) if is_big_vision(tensors.state) else in_timm_names(tensors.state)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from None
    except (IndexError, KeyError, TypeError, ValueError) as error:  # of NumPy, for arrays of other shapes
        cause = " ".join(str(error).split())[:200]
        raise WeightsError(f"{source}: the tensors do not have the shapes that their names promise: {cause}") from error
    refuse_foreign(renamed.state, source)
    return renamed


def _vit(path: Path, kind: str, source: str | Path, wanted: Wanted) -> Loaded:
    file = weights_in(path) if kind == "folder" else path
    whole = read_weights(file, ema=wanted.ema)
    tensors = tidied(whole, file)
    stated = beside(file) if kind in ("folder", "hub") or is_sidecar(file.name) else Beside()
    arch = next((name for name in (wanted.arch, stated.arch, tensors.arch) if name in wanted.known), None)
    config = wanted.config if isinstance(wanted.config, ViTConfig) else None
    renamed = _in_timm_names(tensors, str(source))
    if config is None and arch is not None:
        config, renamed = _as_stated(wanted.known[arch], renamed)
    own = renamed.state
    renamed = renamed._replace(state=canonical(own, config or probe(own)))
    variant = renamed.naming in ("timm", "unknown") and renamed.state.keys() != own.keys()
    config, names, notes = _architecture(config, renamed, stated, wanted, str(source), variant)
    if wanted.num_classes is not None:
        config = replace(config, num_classes=wanted.num_classes, embedding=0)
    params = params_of(own, config, str(source), wanted.known, wanted.dtype)
    preprocessing, origin, remarks = stated.preprocessing(config.image_size)
    sidecars = file.parent if kind in ("folder", "hub") or is_sidecar(file.name) else None
    text = text_tower_of(whole.state, config, sidecars) if config.embedding or not config.num_classes else None
    if text is not None and text.config.embedding != features(config):
        remarks.append(
            f"left the text tower aside: its embedding has width {text.config.embedding}, not {features(config)}"
        )
        text = None
    class_names = stated.names or tensors.class_names
    if class_names is not None and len(class_names) != config.num_classes:
        remarks.append(f"the source names {len(class_names)} classes, which are not the model's {config.num_classes}")
        class_names = None
    return Loaded(
        config,
        params,
        {"sha256": digest(digests(params))},
        arch,
        names,
        class_names,
        preprocessing,
        origin,
        usual((stated.kind, usual_kind(renamed.naming, config)), config.image_size),
        text,
        [*tensors.notes, *renamed.notes, *notes, *remarks],
    )


def _as_stated(config: ViTConfig, renamed: Renamed) -> tuple[ViTConfig | None, Renamed]:
    """The architecture that a source names, if its weights have it; else what of it shapes do not show."""
    shapes = {key: array.shape for key, array in canonical(renamed.state, config).items()}
    if state_shapes(resized(config, shapes)[0]).keys() == shapes.keys():
        return config, renamed
    unseen = {field: getattr(config, field) for field in UNSEEN}
    return None, renamed._replace(fields={**unseen, **renamed.fields})


def _architecture(
    config: ViTConfig | None, renamed: Renamed, stated: Beside, wanted: Wanted, source: str, variant: bool
) -> tuple[ViTConfig, tuple[str, ...], list[str]]:
    """The architecture of a state dict, names of known ones with its shapes, and a sentence for each choice."""
    shapes = {key: array.shape for key, array in renamed.state.items()}
    fields = {**renamed.fields, **stated.fields}
    embedding = fields.pop("embedding", 0)
    size = wanted.image_size or fields.pop("image_size", None)
    if config is not None:
        own: dict[str, Any] = {**stated.fields, "norm_eps": fields.get("norm_eps", config.norm_eps)}
        own.pop("image_size", None)
        config = replace(config, **{name: value for name, value in own.items() if value is not None})
        if wanted.num_classes is not None:
            config = replace(config, num_classes=wanted.num_classes)
            return config, (), []
        config, notes = resized(config, shapes)
        return (replace(config, num_classes=0, embedding=embedding) if embedding else config), (), notes
    try:
        inferred = infer(shapes, fields, wanted.known, size, variant)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from None
    config = replace(inferred.config, num_classes=0, embedding=embedding) if embedding else inferred.config
    heads = next((note for note in inferred.notes if note.startswith("heads")), f"heads {config.heads}")
    return config, inferred.names, [f"{renamed.naming} keys: {summary(config)}, {heads}"]


def _resnet(path: Path, kind: str, source: str | Path, config: ResNetConfig, wanted: Wanted) -> Loaded:
    if kind == "orbax":
        raise WeightsError(f"{path}: is a directory; weights of {wanted.arch} must be a checkpoint file or a hub id")
    file = weights_in(path) if kind == "folder" else path
    tensors = read_file(file, ema=wanted.ema)
    notes = list(tensors.notes)
    head = tensors.state.get("fc.weight")
    if wanted.num_classes is not None:
        config = replace(config, num_classes=wanted.num_classes)
    elif head is not None and head.ndim == 2 and head.shape[0] != config.num_classes:
        notes.append(f"the weights have {head.shape[0]} classes, the name has {config.num_classes}")
        config = replace(config, num_classes=head.shape[0])
    params = torchvision_resnet.params_of(tensors.state, config, str(source), wanted.dtype)
    return Loaded(config, params, {"sha256": digest(digests(params))}, wanted.arch, notes=notes)


def _checkpoint(path: Path, source: str, wanted: Wanted) -> Loaded:
    """A directory that weights_convert wrote, checked against the architecture that the caller names, if any."""
    checkpoint = read_checkpoint(path)
    config, notes = checkpoint.config, []
    if wanted.arch is not None and checkpoint.arch != wanted.arch:
        raise WeightsError(f"{path}: contains {checkpoint.arch or 'an architecture without a name'}, not {wanted.arch}")
    if isinstance(wanted.config, ViTConfig):
        # The epsilon depends on where the weights were trained (Hugging Face or timm), classes and size on the task.
        classes = config.num_classes if wanted.num_classes is None else wanted.num_classes
        free: dict[str, Any] = {
            "norm_eps": config.norm_eps,
            "image_size": config.image_size,
            "embedding": config.embedding,
        }
        named = replace(wanted.config, num_classes=classes, **free)
        if named != config:
            requested = summary(replace(wanted.config, num_classes=classes))
            raise WeightsError(f"{path}: contains {wanted.arch} with {summary(config)}; requested: {requested}")
        if config.num_classes != wanted.config.num_classes and wanted.num_classes is None:
            notes.append(f"the weights have {config.num_classes} classes, the name has {wanted.config.num_classes}")
    elif wanted.num_classes not in (None, config.num_classes):
        raise WeightsError(f"{path}: contains {summary(config)}; requested: {wanted.num_classes} classes")
    check_kinds(flatten(checkpoint.params), source)
    check_finite(flatten(checkpoint.params), source, wanted.dtype)
    return Loaded(
        config,
        checkpoint.params,
        {"sha256": digest(checkpoint.manifest["sha256"])},
        checkpoint.arch or None,
        class_names=checkpoint.class_names,
        preprocessing=checkpoint.preprocessing,
        origin=MANIFEST,
        usual=usual((), config.image_size),
        text=checkpoint.text,
        notes=notes,
    )


def _expanded(source: str | Path) -> Path:
    path = Path(source)
    try:
        return path.expanduser()
    except RuntimeError:
        raise WeightsError(f"{source}: this user has no home directory that ~ could stand for") from None
