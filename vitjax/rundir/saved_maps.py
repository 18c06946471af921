"""Raw maps on disk: one .npz for each chunk, of half or single precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.errors import RunError
from vitjax.rundir.store import RunStore


def save_maps(store: RunStore, chunk: int, ids: Sequence[str], maps_of: Mapping[str, np.ndarray], dtype: str) -> None:
    """maps/chunk-NNNNN.npz: `ids`, `<method label>` [n, h, w] and, in float16, `<method label>/scale` [n].

    A float16 map is stored divided by its largest magnitude, the scale: relevance may lie below what float16 holds.
    A chunk's maps are written before its records, so that a finished chunk has both.
    """
    arrays: dict[str, Any] = {"ids": np.asarray(ids)}
    for label, maps in maps_of.items():
        if dtype == "float16":
            scale = np.abs(maps).max(axis=(1, 2))
            arrays[f"{label}/scale"] = scale.astype(np.float32)
            maps = maps / np.where(scale > 0, scale, 1)[:, None, None]
        arrays[label] = maps.astype(dtype)
    directory = store.directory / "maps"
    directory.mkdir(exist_ok=True)
    store.publish(chunk, directory / f"chunk-{chunk:05d}.npz", lambda stream: np.savez_compressed(stream, **arrays))


def read_maps(directory: Path, label: str) -> dict[str, np.ndarray]:
    """Raw maps of one method by image id, float32; NaN maps of images that were skipped.

    Raises RunError where the run has none (`--save-maps`), or not of this method.
    """
    found: dict[str, np.ndarray] = {}
    for path in sorted((Path(directory) / "maps").glob("chunk-*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            if label not in arrays:
                known = ", ".join(name for name in arrays if name != "ids" and not name.endswith("/scale"))
                raise RunError(f"{path}: no maps of {label!r}; there are {known}")
            maps = arrays[label].astype(np.float32)
            if f"{label}/scale" in arrays:
                maps *= arrays[f"{label}/scale"][:, None, None]
            found.update(zip(arrays["ids"].tolist(), maps, strict=True))
    if not found:
        raise RunError(f"{directory}: no maps were saved; run it with --save-maps float16 or float32")
    return found
