"""Raw maps on disk: one .npz file per chunk, in float16 or float32."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.errors import RunError
from vitjax.rundir.store import RunStore
from vitjax.storage import writing

MAPS = b"vitjax.maps"
"""Key of a record file's metadata: size and digest of the file of the chunk's maps."""

_RUN = "/run"
"""Name of the array that says whose maps these are; no label begins so."""


def save_maps(store: RunStore, chunk: int, ids: Sequence[str], maps_of: Mapping[str, np.ndarray], dtype: str) -> str:
    """Write maps/chunk-NNNNN.npz with `ids`, `<method label>` [n, h, w] and, for float16, `<method label>/scale` [n].

    A float16 map is divided by its largest absolute value, the scale, because relevance may be below the range of
    float16. The maps of a chunk are written before its records, so that a finished chunk has both.

    Args:
        store: the run.
        chunk: number of the chunk.
        ids: image ids [n].
        maps_of: raw maps [n, h, w] by method label.
        dtype: "float16" or "float32".

    Returns:
        Size and digest of the file, to be recorded under MAPS.

    Raises:
        RunError: the file cannot be written.
    """
    arrays: dict[str, Any] = {"ids": np.asarray(ids), _RUN: np.asarray(store.identity)}
    for label, maps in maps_of.items():
        if dtype == "float16":
            scale = np.abs(maps).max(axis=(1, 2))
            arrays[f"{label}/scale"] = scale.astype(np.float32)
            maps = maps / np.where(scale > 0, scale, 1)[:, None, None]
        arrays[label] = maps.astype(dtype)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    content = buffer.getvalue()
    path = _path(store.directory, chunk)
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    store.publish(chunk, path, lambda stream: stream.write(content))
    return _identity(content)


def chunks_without_maps(store: RunStore) -> set[int]:
    """The finished chunks whose file of maps is missing or has another size than when it was written."""
    lost: set[int] = set()
    if not store.config.get("save_maps"):
        return lost
    for chunk, recorded in _recorded(store).items():
        path = _path(store.directory, chunk)
        if recorded is not None and not (path.is_file() and str(path.stat().st_size) == recorded.partition(" ")[0]):
            lost.add(chunk)
    return lost


def read_maps(directory: Path, label: str) -> dict[str, np.ndarray]:
    """Read the raw maps of one method.

    Args:
        directory: the run directory.
        label: label of the method.

    Returns:
        float32 maps [h, w] by image id; the maps of skipped images are NaN.

    Raises:
        RunError: the run saved no maps (`--save-maps`), or none of this method, or the maps of a finished chunk are
            missing or damaged.
    """
    store = RunStore.open(Path(directory))
    recorded = _recorded(store)
    files = sorted((store.directory / "maps").glob("chunk-*.npz"))
    if not files:
        raise RunError(f"{directory}: contains no saved maps; run with --save-maps float16 or float32")
    # Before the first chunk is finished, its maps can be read, but not compared with a digest.
    paths = {_path(store.directory, chunk): identity for chunk, identity in recorded.items()} or dict.fromkeys(files)
    map_of_id: dict[str, np.ndarray] = {}
    for path, identity in sorted(paths.items()):
        map_of_id.update(_read(path, identity, label, store.identity))
    return map_of_id


def _read(path: Path, identity: str | None, label: str, run: str) -> dict[str, np.ndarray]:
    """The maps of a method in one file, compared with what was recorded when it was written."""
    try:
        content = path.read_bytes()
        if identity not in (None, _identity(content)):
            raise ValueError("it has changed since it was written")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            if _RUN in arrays and str(arrays[_RUN]) != run:
                raise ValueError("it is of another run")
            if label in arrays:
                maps = arrays[label].astype(np.float32)
                if f"{label}/scale" in arrays:
                    maps *= arrays[f"{label}/scale"][:, None, None]
                return dict(zip(arrays["ids"].tolist(), maps, strict=True))
            labels = ", ".join(name for name in arrays if name != "ids" and not name.endswith(("/scale", _RUN)))
    except Exception as error:  # NumPy and zipfile raise exceptions of many types for damaged data
        what = "missing" if isinstance(error, FileNotFoundError) else f"damaged: {' '.join(str(error).split())}"
        raise RunError(
            f"{path}: {what}; remove it and repeat the evaluation, which computes its chunk again"
        ) from error
    raise RunError(f"{path}: contains no maps of {label!r}, only of {labels}")


def _path(directory: Path, chunk: int) -> Path:
    return directory / "maps" / f"chunk-{chunk:05d}.npz"


def _identity(content: bytes) -> str:
    return f"{len(content)} {hashlib.sha256(content).hexdigest()[:16]}"


def _recorded(store: RunStore) -> dict[int, str | None]:
    """What `save_maps` returned, by finished chunk; None for those of an older version and of runs without maps."""
    import pyarrow.parquet as pq

    recorded = {}
    for chunk, path in store.finished().items():
        identity = (pq.read_schema(path).metadata or {}).get(MAPS)
        recorded[chunk] = None if identity is None else identity.decode()
    return recorded
