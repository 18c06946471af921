"""Output directories: the check that nothing is overwritten, and the description of a result in manifest.json."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from vitjax.errors import OutputError
from vitjax.models.model import Model
from vitjax.output.files import write_text
from vitjax.storage import check_local, temporary_beside

PACKAGES = ("vitjax", "jax", "jaxlib", "flax", "numpy", "pillow", "matplotlib")


def open_directory(path: Path, *, overwrite: bool) -> Path:
    """Create an output directory, or check that an existing one is empty and writable.

    Args:
        path: the directory.
        overwrite: also accept a directory that is not empty.

    Raises:
        OutputError: the path is a file, is not empty, cannot be written, or is the address of an object store.
    """
    check_local(path, "output directory")
    try:
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path}: is a file, not a directory")
        if path.exists() and any(path.iterdir()) and not overwrite:
            raise OutputError(f"{path}: exists and is not empty; pass another -o or --overwrite")
        path.mkdir(parents=True, exist_ok=True)
        probe = temporary_beside(path / "writable")
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


@contextmanager
def output_directory(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """`open_directory`; if the block raises, a directory that was created here and is still empty is removed again."""
    created = not path.exists()
    open_directory(path, overwrite=overwrite)
    try:
        yield path
    except BaseException:
        if created:
            with suppress(OSError):  # it contains files
                path.rmdir()
        raise


def write_manifest(directory: Path, command: str, model: Model, options: dict[str, Any], **more: Any) -> Path:
    """Write manifest.json: command, options, model and weights, device and package versions.

    Args:
        more: further entries.

    Returns:
        The path of the file.

    Raises:
        OutputError: the file cannot be written.
    """
    manifest = {
        "command": command,
        "arguments": sys.argv[1:],
        "options": options,
        "model": model_record(model),
        "device": {
            "platform": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
            "count": jax.device_count(),
        },
        "versions": versions(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **more,
    }
    return write_text(directory / "manifest.json", json.dumps(manifest, indent=1, default=str) + "\n")


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that results depend on; None for a package that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def model_record(model: Model) -> dict[str, Any]:
    """The description of a model in a manifest."""
    return {
        "name": model.name,
        "weights": model.weights,
        "dtype": str(model.dtype),
        "matmul_precision": model.precision,
        "image_size": list(model.config.image_size),
        "preprocessing": asdict(model.preprocessing),
        "probability": model.probability,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
