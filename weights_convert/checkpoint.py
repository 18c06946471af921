"""vitjax's checkpoint format: a directory with orbax arrays and a manifest that describes them.

    DIR/arrays/         the parameters, an orbax PyTree
    DIR/manifest.json   arch, config, class names, preprocessing, source and its digest, sha256 of each array and file,
                        versions; directories of earlier versions lack class names and preprocessing
    DIR/text/           the text tower and its tokenizer, of a model with two towers; described in the manifest

Orbax restores altered bytes without an error. Reading therefore checks every file and array against the manifest, and
the manifest against its own sha256 ("seal"). The manifest is written last: a directory without one comes from an
interrupted conversion.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vitjax.errors import ConfigError, WeightsError
from vitjax.images.geometry import Preprocessing
from vitjax.nn.rotary import Rotary
from vitjax.nn.stem_config import Stem
from vitjax.nn.vit_config import ViTConfig, check_fields
from vitjax.output.files import write_text
from weights_convert.keys import differences, parameter_shapes, shortened
from weights_convert.load import digests
from weights_convert.stored import file_digests, load_arrays, save_arrays
from weights_convert.text import TextWeights
from weights_convert.text_checkpoint import read_tower, write_tower

MANIFEST, ARRAYS, TEXT = "manifest.json", "arrays", "text"
FORMAT = 1
_FIELDS = {"arch": str, "config": dict, "source": dict, "sha256": dict, "files": dict, "versions": dict}
_PACKAGES = ("vitjax", "jax", "flax", "numpy", "orbax-checkpoint")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified.

    params: nested numpy arrays. class_names, preprocessing, text: None if the manifest has none.
    """

    arch: str
    config: ViTConfig
    params: dict[str, Any]
    manifest: dict[str, Any]
    class_names: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    text: TextWeights | None = None


def prepare_directory(out: str | Path) -> Path:
    """Create the output directory and return its absolute path.

    Raises:
        ConfigError: the directory is not empty, or cannot be created or written to.
    """
    out = Path(out).absolute()
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ConfigError(f"{out}: output directory is not empty; choose another")
        probe = out / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"{out}: cannot be used as the output directory: {error.strerror}") from error
    return out


def write_checkpoint(
    out: str | Path,
    params: Any,
    config: ViTConfig,
    arch: str,
    source: Mapping[str, str],
    *,
    class_names: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    text: TextWeights | None = None,
) -> Path:
    """Write a checkpoint directory and return its path.

    Args:
        out: output directory; must be empty or absent.
        params: nested parameters of the model.
        config: architecture of the model.
        arch: name of the architecture.
        source: origin of the parameters, {"path", "sha256"}.
        class_names: in the order of the logits; None if unknown.
        preprocessing: of the model; None if unknown.
        text: the text tower of a model with two towers.

    Raises:
        ConfigError: as `prepare_directory`.
    """
    out = prepare_directory(out)
    save_arrays(out / ARRAYS, params)
    described = None if text is None else write_tower(out / TEXT, text)
    manifest = {
        "format": FORMAT,
        "arch": arch,
        "config": asdict(config),
        "source": dict(source),
        "sha256": digests(params),
        "files": file_digests(out / ARRAYS),
        "versions": _versions(),
        **({"class_names": list(class_names)} if class_names is not None else {}),
        **({"preprocessing": asdict(preprocessing)} if preprocessing is not None else {}),
        **({"text": described} if described is not None else {}),
    }
    manifest["seal"] = _seal(manifest)
    write_text(out / MANIFEST, json.dumps(manifest, indent=1))
    return out


def read_manifest(directory: str | Path) -> dict[str, Any]:
    """The manifest of a checkpoint directory, checked against its own seal.

    Raises:
        WeightsError: the directory has no manifest, or the manifest is damaged or of another format version.
    """
    file = Path(directory) / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            f"{directory}: contains no {MANIFEST}: weights_convert did not write this directory, or was interrupted"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{file}: damaged manifest: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("seal") != _seal(manifest):
        raise WeightsError(f"{file}: damaged manifest: its sha256 seal does not match its content")
    if manifest.get("format") != FORMAT:
        raise WeightsError(f"{file}: has format {manifest.get('format')}; this version of vitjax reads format {FORMAT}")
    lacking = [name for name, kind in _FIELDS.items() if not isinstance(manifest.get(name), kind)]
    if lacking:
        raise WeightsError(f"{file}: damaged manifest: {', '.join(lacking)} is missing or of another type")
    return manifest


def read_checkpoint(directory: str | Path) -> Checkpoint:
    """Read and verify a checkpoint directory.

    Raises:
        WeightsError: the directory is incomplete, the sha256 of a file or array differs from the manifest, or the
            arrays do not have the shapes of the manifest's config. Shapes are compared before an array is read.
    """
    directory = Path(directory).absolute()
    manifest = read_manifest(directory)
    config = config_from(manifest["config"], str(directory / MANIFEST))
    params = load_arrays(directory / ARRAYS, manifest, lambda stored: _check_shapes(stored, config, directory))
    text = read_tower(directory / TEXT, manifest["text"], manifest["versions"]) if "text" in manifest else None
    described = _described(manifest, config, directory / MANIFEST)
    return Checkpoint(manifest["arch"], config, params, manifest, *described, text)


def config_from(fields: Mapping[str, Any], source: str) -> ViTConfig:
    """The ViTConfig whose `dataclasses.asdict` was stored as JSON.

    Args:
        fields: the decoded JSON object.
        source: name of the file, for error messages.

    Raises:
        WeightsError: the fields are not those of a ViTConfig.
    """
    try:
        parts = {"rotary": Rotary.from_fields(fields.get("rotary")), "stem": Stem.from_fields(fields.get("stem"))}
        fields = {**fields, **parts}
        check_fields(fields)
        return ViTConfig(**{**fields, "image_size": tuple(fields["image_size"])})
    except (TypeError, ValueError, KeyError, ConfigError) as error:
        raise WeightsError(f"{source}: not a ViT configuration: {error}") from error


def _described(
    manifest: Mapping[str, Any], config: ViTConfig, file: Path
) -> tuple[tuple[str, ...] | None, Preprocessing | None]:
    """Class names and preprocessing of a manifest; None for what it does not state."""
    names, stated = manifest.get("class_names"), manifest.get("preprocessing")
    if names is not None and (not isinstance(names, list) or len(names) != config.num_classes):
        raise WeightsError(f"{file}: class_names is no list of {config.num_classes} names")
    try:
        pairs: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in (stated or {}).items()
        }
        preprocessing = Preprocessing(**pairs) if stated is not None else None
    except (TypeError, AttributeError, ConfigError) as error:
        raise WeightsError(f"{file}: not a preprocessing: {error}") from error
    return (tuple(map(str, names)) if names is not None else None), preprocessing


def _check_shapes(arrays: Mapping[str, Any], config: ViTConfig, directory: Path) -> None:
    shapes = {path: tuple(array.shape) for path, array in arrays.items()}
    if problems := differences(shapes, parameter_shapes(config)):
        headline = f"{directory}: {len(problems)} arrays do not fit the manifest's config:"
        raise WeightsError("\n  ".join([headline, *shortened(problems)]))


def _seal(manifest: Mapping[str, Any]) -> str:
    """sha256 of a manifest without its "seal" entry."""
    content = {key: value for key, value in manifest.items() if key != "seal"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # vitjax runs from a source tree that was not installed
            versions[package] = "source"
    return versions
