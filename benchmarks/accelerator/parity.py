"""The section "parity": whether maps are correct on this device, and how much lower precision changes them.

Run with: python -m benchmarks.accelerator --sections parity --weights FILE --recordings DIR
Results:  for each precision and map: largest error relative to the largest value and Spearman's rank correlation; at
          full precision also the recorded tolerance and whether it is met

References are the recorded maps; without --weights and --recordings, maps of random weights at full precision on this
device.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

import vitjax
from benchmarks.accelerator.setup import Clock, Peaks, Setup
from benchmarks.harness import fold_methods, random_model
from vitjax.explaining.requests import request
from vitjax.methods import METHODS
from vitjax.models.model import Model

SETTINGS = (("float32", "highest"), ("float32", "default"), ("bfloat16", "default"))
"""(dtype, matmul precision). Maps of the first one must be within the recorded tolerances."""
IMAGES = 5
TOGETHER = 20
"""Maps of one program. The rows of a program arrive together, and a deadline costs only the programs that follow."""


class Reference(NamedTuple):
    """Reference maps of one method.

    name: of the recording.
    method: request of the method with its options.
    maps: [b, values].
    tolerance: largest error that is allowed, relative to the largest value of a map; None if there is none.
    reduce: how the recording reduced pixels to patches, see `reduced`.
    """

    name: str
    method: dict[str, Any]
    maps: np.ndarray
    tolerance: float | None
    reduce: str | None


def measure(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """Yield one row for each precision and map: largest error relative to the largest value, and rank correlation."""
    if setup.weights is None or setup.recordings is None:
        images, targets, references = _own_references(setup)
    else:
        images, targets, references = recorded(setup.recordings)
    for number, (dtype, precision) in enumerate(SETTINGS):
        if number and not clock.allows(30):
            yield {"case": f"{dtype}, {precision}", "status": "no time"}
            continue
        model = replace(_model(setup, dtype), precision=precision)
        chosen = references if not number else _first_of_each_method(references)
        for group in (chosen[first : first + TOGETHER] for first in range(0, len(chosen), TOGETHER)):
            yield from _rows(model, images, targets, group, exact=not number)


def _rows(
    model: Model, images: np.ndarray, targets: list[int], references: list[Reference], *, exact: bool
) -> Iterator[dict[str, Any]]:
    """Compute the maps of these references in one program and yield a row for each.

    Args:
        model: whose dtype and precision name the case.
        images, targets, references: as `recorded` returns them.
        exact: whether the recorded tolerances apply.
    """
    methods = [reference.method for reference in references]
    explanations = vitjax.explain_many(model, images, methods, targets, batch_size=len(images))
    for reference in references:
        maps = reduced(explanations[request(reference.method).label].maps, reference.reduce).astype(np.float64)
        error, scale = np.abs(maps - reference.maps).max(1), np.abs(reference.maps).max(1)
        relative = error / np.where(scale, scale, scale.max() or 1)  # a map may be zero everywhere
        row = {
            "case": f"{np.dtype(model.dtype).name}, {model.precision}",
            "map": reference.name,
            "method": reference.method["method"],
            "largest_error": float(f"{relative.max():.3g}"),
            "spearman": _median([_spearman(a, b) for a, b in zip(maps, reference.maps, strict=True)]),
        }
        if exact:
            tolerance = reference.tolerance
            met = None if tolerance is None else bool((error <= tolerance * scale).all())
            row |= {"tolerance": tolerance, "met": met}
        yield row


def recorded(folder: Path) -> tuple[np.ndarray, list[int], list[Reference]]:
    """Read the recordings.

    Args:
        folder: contains MANIFEST.json, inputs.npz and one NAME.npz per recording.

    Returns:
        Images [b, H, W, 3], their predicted classes, and the recorded maps of these classes for all methods of the
        shared pass.
    """
    inputs = np.load(folder / "inputs.npz")
    references = []
    for name, entry in json.loads((folder / "MANIFEST.json").read_text())["files"].items():
        arrays = np.load(folder / f"{name}.npz")
        for variant, call in entry["calls"].items():
            key = "maps_pred" + ("" if variant == "main" else f"__{variant}")
            exact = f"{key}_f64" if f"{key}_f64" in arrays.files else key
            if call["method"] in METHODS and METHODS[call["method"]].fold is not None:
                method = {"method": call["method"], **call["options"]}
                label = name if variant == "main" else f"{name} {variant}"
                maps = arrays[exact].reshape(len(arrays[exact]), -1)
                references.append(Reference(label, method, maps, call["tol32"], call.get("reduce")))
    return inputs["images"].astype(np.float32), inputs["pred"].tolist(), references


def _first_of_each_method(references: list[Reference]) -> list[Reference]:
    first: dict[str, Reference] = {}
    for reference in references:
        first.setdefault(reference.method["method"], reference)
    return list(first.values())


def _own_references(setup: Setup) -> tuple[np.ndarray, list[int], list[Reference]]:
    """References without recordings: maps of a model with random weights at precision "highest", for the methods that
    are well conditioned. Returns what `recorded` returns."""
    model = _model(setup, "float32")
    images = np.random.default_rng(0).normal(size=(IMAGES, *model.config.image_size, 3)).astype(np.float32)
    methods = [{"method": name} for name in fold_methods(model.config)]
    explanations = vitjax.explain_many(model, images, methods, batch_size=IMAGES)
    targets = next(iter(explanations.values())).target.tolist()
    maps = {name: item.maps.reshape(IMAGES, -1).astype(np.float64) for name, item in explanations.items()}
    return images, targets, [Reference(name, {"method": name}, values, None, None) for name, values in maps.items()]


def _model(setup: Setup, dtype: str) -> Model:
    """The last of the setup's other models, DeiT-Tiny, with the given weights or random ones."""
    name = setup.others[-1]
    if setup.weights is None:
        return random_model(name, dtype=dtype, **setup.changes)
    return vitjax.load(name, weights=setup.weights, dtype=dtype)


def reduced(maps: np.ndarray, how: str | None, patch: int = 16) -> np.ndarray:
    """Maps in the form of the recordings, [b, values].

    Args:
        maps: [b, down, across], or [b, H, W] if they are reduced.
        how: "patch_sum" sums the pixels of each patch, another name averages them; None does not reduce.
        patch: side of a patch in pixels.
    """
    if how is None:
        return maps.reshape(len(maps), -1)
    count, height, width = maps.shape
    cells = maps.reshape(count, height // patch, patch, width // patch, patch)
    return (cells.sum((2, 4)) if how == "patch_sum" else cells.mean((2, 4))).reshape(count, -1)


def _median(correlations: list[float | None]) -> float | None:
    defined = [correlation for correlation in correlations if correlation is not None]
    return round(float(np.median(defined)), 5) if defined else None


def _spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's rank correlation of two maps; None if one of them is constant."""
    correlation = float(scipy.stats.spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else np.nan
    return None if np.isnan(correlation) else correlation
