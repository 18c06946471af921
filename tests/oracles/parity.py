"""Our maps against the formulas on PyTorch's arrays, method by method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

import vitjax
from tests.oracles.formulas import FORMULAS
from tests.oracles.torch_world import TorchWorld
from vitjax.explaining.requests import request


@dataclass(frozen=True)
class MethodParity:
    """The worst over the images."""

    label: str
    absolute: float  # max |ours - theirs|
    relative: float  # the same over max |theirs|
    spearman: float  # the lowest rank correlation; NaN where a map is constant

    def __str__(self) -> str:
        return f"{self.label:48s} {self.absolute:10.2e} {self.relative:10.2e} {self.spearman:10.6f}"


def compare_methods(model, module, images: np.ndarray, requests: Sequence, target=None) -> list[MethodParity]:
    """One row per request. `module` is the timm module with the model's weights (it becomes float64).

    images: normalised [b, H, W, 3]. Methods without a formula in tests/oracles are left out.
    """
    known = [each for each in requests if request(each).name in FORMULAS]
    found = vitjax.explain_many(model, images, known, target)
    targets = next(iter(found.values())).target
    worlds = [TorchWorld(model.config, module, x, int(k)) for x, k in zip(images, targets, strict=True)]
    rows = []
    for each in known:
        wanted = request(each)
        ours = [m.ravel() for m in found[wanted.label].maps]
        theirs = [FORMULAS[wanted.name](world, **dict(wanted.options)) for world in worlds]
        differences = [np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True)]
        scales = [np.abs(b).max() for b in theirs]
        ranks = [spearmanr(a, b).statistic if np.ptp(b) else np.nan for a, b in zip(ours, theirs, strict=True)]
        relative = [d / s if s else d for d, s in zip(differences, scales, strict=True)]
        rows.append(MethodParity(wanted.label, max(differences), max(relative), float(np.min(ranks))))
    return rows
