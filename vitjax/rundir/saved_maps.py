"""Raw maps on disk: one .npz file per chunk, in float16 or float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.errors import RunError
from vitjax.rundir.store import RunStore
from vitjax.storage import writing


def save_maps(store: RunStore, chunk: int, ids: Sequence[str], maps_of: Mapping[str, np.ndarray], dtype: str) -> None:
    """Write maps/chunk-NNNNN.npz with `ids`, `<method label>` [n, h, w] and, for float16, `<method label>/scale` [n].

    A float16 map is divided by its largest absolute value, the scale, because relevance may be below the range of
    float16. The maps of a chunk are written before its records, so that a finished chunk has both.

    Args:
        store: the run.
        chunk: number of the chunk.
        ids: image ids [n].
        maps_of: raw maps [n, h, w] by method label.
        dtype: "float16" or "float32".

    Raises:
        RunError: the file cannot be written.
    """
    arrays: dict[str, Any] = {"ids": np.asarray(ids)}
    for label, maps in maps_of.items():
        if dtype == "float16":
            scale = np.abs(maps).max(axis=(1, 2))
            arrays[f"{label}/scale"] = scale.astype(np.float32)
            maps = maps / np.where(scale > 0, scale, 1)[:, None, None]
        arrays[label] = maps.astype(dtype)
    directory = store.directory / "maps"
    path = directory / f"chunk-{chunk:05d}.npz"
    with writing(path):
        directory.mkdir(exist_ok=True)
    store.publish(chunk, path, lambda stream: np.savez_compressed(stream, **arrays))


def read_maps(directory: Path, label: str) -> dict[str, np.ndarray]:
    """Read the raw maps of one method.

    Args:
        directory: the run directory.
        label: label of the method.

    Returns:
        float32 maps [h, w] by image id; the maps of skipped images are NaN.

    Raises:
        RunError: the run saved no maps (`--save-maps`), or none of this method.
    """
    map_of_id: dict[str, np.ndarray] = {}
    for path in sorted((Path(directory) / "maps").glob("chunk-*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            if label not in arrays:
                labels = ", ".join(name for name in arrays if name != "ids" and not name.endswith("/scale"))
                raise RunError(f"{path}: contains no maps of {label!r}, only of {labels}")
            maps = arrays[label].astype(np.float32)
            if f"{label}/scale" in arrays:
                maps *= arrays[f"{label}/scale"][:, None, None]
            map_of_id.update(zip(arrays["ids"].tolist(), maps, strict=True))
    if not map_of_id:
        raise RunError(f"{directory}: contains no saved maps; run with --save-maps float16 or float32")
    return map_of_id
