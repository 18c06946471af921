"""Arrays on disk in orbax's format, which are read only if the digests of all files and arrays are right."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.errors import WeightsError
from weights_convert.keys import flatten, unflatten
from weights_convert.load import digests


def save_arrays(directory: Path, params: Any) -> None:
    """Write a nested dict of arrays."""
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(directory, _as_numpy(params))


def load_arrays(
    directory: Path, recorded: Mapping[str, Any], check_shapes: Callable[[Mapping[str, Any]], None]
) -> dict[str, Any]:
    """Read and verify the arrays that `save_arrays` wrote.

    Args:
        recorded: "files" and "sha256", the digests of files and arrays, and "versions" of the packages that wrote them.
        check_shapes: raises if arrays, by path, have other shapes than they should; called before any is read.

    Raises:
        WeightsError: a digest differs, or this version of orbax cannot read another version's format.
    """
    import orbax.checkpoint as ocp

    check_same(directory, recorded["files"], file_digests(directory))
    as_numpy = {path: ocp.RestoreArgs(restore_type=np.ndarray) for path in recorded["sha256"]}
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            check_shapes(flatten(checkpointer.metadata(directory).item_metadata.tree))
            params = checkpointer.restore(directory, restore_args=unflatten(as_numpy))
    except WeightsError:
        raise
    except Exception as error:  # the files are intact, so this version of orbax cannot read another version's format
        cause = " ".join(str(error).split())[:300]
        raise WeightsError(f"{directory}: cannot be read (written by {recorded['versions']}): {cause}") from error
    check_same(directory.parent, recorded["sha256"], digests(params))
    return params


def file_digests(directory: Path) -> dict[str, str]:
    """Path relative to the directory -> sha256, of every file."""
    shas = {}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            shas[path.relative_to(directory).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return shas


def check_same(where: Path, expected: Mapping[str, str], actual: Mapping[str, str]) -> None:
    """Compare digests by name. Raises WeightsError, which names those that differ or lack a counterpart."""
    altered = sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
    if altered:
        raise WeightsError(f"{where}: damaged: sha256 differs from the manifest for {', '.join(altered)}")


def _as_numpy(params: Any) -> Any:
    return {k: _as_numpy(v) for k, v in params.items()} if isinstance(params, Mapping) else np.asarray(params)
