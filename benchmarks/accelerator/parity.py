"""Whether maps are right on this device: against recorded ones at full precision, and how far less precision is off."""

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
"""dtype and precision, the first the one that must be right."""
IMAGES = 5


class Reference(NamedTuple):
    """A map that is known. method: with its options. maps: [b, values]. tolerance: of the largest value, or None."""

    name: str
    method: dict[str, Any]
    maps: np.ndarray
    tolerance: float | None
    reduce: str | None


def measure(setup: Setup, clock: Clock, peaks: Peaks | None) -> Iterator[dict[str, Any]]:
    """One row for each precision and map: largest error relative to the largest value, and rank correlation."""
    if setup.weights is None or setup.recordings is None:
        images, targets, references = _own_references(setup)
    else:
        images, targets, references = recorded(setup.recordings)
    for number, (dtype, precision) in enumerate(SETTINGS):
        if number and not clock.allows(30):
            yield {"case": f"{dtype}, {precision}", "status": "no time"}
            continue
        model = replace(_model(setup, dtype), precision=precision)
        chosen = references if not number else _one_of_each_method(references)
        found = vitjax.explain_many(model, images, [each.method for each in chosen], targets, batch_size=len(images))
        for each in chosen:
            maps = reduced(found[request(each.method).label].maps, each.reduce).astype(np.float64)
            off, scale = np.abs(maps - each.maps).max(1), np.abs(each.maps).max(1)
            errors = off / np.where(scale, scale, scale.max() or 1)  # a map may be zero everywhere
            row = {
                "case": f"{dtype}, {precision}",
                "map": each.name,
                "method": each.method["method"],
                "largest_error": float(f"{errors.max():.3g}"),
                "spearman": _median([_spearman(a, b) for a, b in zip(maps, each.maps, strict=True)]),
            }
            if not number:
                row |= {
                    "tolerance": each.tolerance,
                    "met": None if each.tolerance is None else bool((off <= each.tolerance * scale).all()),
                }
            yield row


def recorded(folder: Path) -> tuple[np.ndarray, list[int], list[Reference]]:
    """Images, their targets, and every recorded map of a method of the shared pass, for the predicted class."""
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


def _one_of_each_method(references: list[Reference]) -> list[Reference]:
    first: dict[str, Reference] = {}
    for each in references:
        first.setdefault(each.method["method"], each)
    return list(first.values())


def _own_references(setup: Setup) -> tuple[np.ndarray, list[int], list[Reference]]:
    """Without recordings: maps at "highest" of a model with random weights, of methods that are well conditioned."""
    model = _model(setup, "float32")
    images = np.random.default_rng(0).normal(size=(IMAGES, *model.config.image_size, 3)).astype(np.float32)
    names = [{"method": name} for name in fold_methods(model.config)]
    found = vitjax.explain_many(model, images, names, batch_size=IMAGES)
    targets = next(iter(found.values())).target.tolist()
    maps = {name: each.maps.reshape(IMAGES, -1).astype(np.float64) for name, each in found.items()}
    return images, targets, [Reference(name, {"method": name}, each, None, None) for name, each in maps.items()]


def _model(setup: Setup, dtype: str) -> Model:
    name = setup.others[-1]
    if setup.weights is None:
        return random_model(name, dtype=dtype, **setup.changes)
    return vitjax.load(name, weights=setup.weights, dtype=dtype)


def reduced(maps: np.ndarray, how: str | None, patch: int = 16) -> np.ndarray:
    """Maps as the recordings keep them: pixels are added up, or averaged, over each patch. [b, values]"""
    if how is None:
        return maps.reshape(len(maps), -1)
    count, height, width = maps.shape
    cells = maps.reshape(count, height // patch, patch, width // patch, patch)
    return (cells.sum((2, 4)) if how == "patch_sum" else cells.mean((2, 4))).reshape(count, -1)


def _median(correlations: list[float | None]) -> float | None:
    known = [each for each in correlations if each is not None]
    return round(float(np.median(known)), 5) if known else None


def _spearman(one: np.ndarray, other: np.ndarray) -> float | None:
    """None where a map is constant."""
    found = float(scipy.stats.spearmanr(one, other).statistic) if np.ptp(one) and np.ptp(other) else np.nan
    return None if np.isnan(found) else found
