"""Compares vitjax's maps with the formulas evaluated on PyTorch's arrays, method by method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

import vitjax
from tests.oracles.formulas import FORMULAS
from tests.oracles.torch_run import TorchRun
from vitjax.explaining.requests import request


@dataclass(frozen=True)
class MethodParity:
    """Differences of one method, each the worst over the images."""

    label: str
    absolute: float  # max |vitjax - PyTorch|
    relative: float  # absolute / max |PyTorch|
    spearman: float  # the lowest rank correlation; NaN where a map is constant

    def __str__(self) -> str:
        return f"{self.label:48s} {self.absolute:10.2e} {self.relative:10.2e} {self.spearman:10.6f}"


def compare_methods(model, module, images: np.ndarray, requests: Sequence, target=None) -> list[MethodParity]:
    """Compare methods with their formulas on PyTorch's arrays.

    Args:
        model: the `vitjax.Model`.
        module: the timm module with the model's weights; it is converted to float64.
        images: normalised pixels [b, H, W, 3].
        requests: methods with options. Methods without a formula in tests/oracles are skipped.
        target: class or classes to explain, as for `vitjax.explain_many`.

    Returns:
        One entry per method that has a formula.
    """
    comparable = [item for item in requests if request(item).name in FORMULAS]
    explanations = vitjax.explain_many(model, images, comparable, target)
    targets = next(iter(explanations.values())).target
    runs = [TorchRun(model.config, module, x, int(k)) for x, k in zip(images, targets, strict=True)]
    parities = []
    for item in comparable:
        method = request(item)
        ours = [m.ravel() for m in explanations[method.label].maps]
        theirs = [FORMULAS[method.name](run, **dict(method.options)) for run in runs]
        differences = [np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True)]
        scales = [np.abs(b).max() for b in theirs]
        ranks = [spearmanr(a, b).statistic if np.ptp(b) else np.nan for a, b in zip(ours, theirs, strict=True)]
        relative = [d / s if s else d for d, s in zip(differences, scales, strict=True)]
        parities.append(MethodParity(method.label, max(differences), max(relative), float(np.min(ranks))))
    return parities
