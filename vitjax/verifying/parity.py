"""Compares vitjax's maps with the formulas evaluated on PyTorch's arrays, method by method. Needs PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from vitjax.errors import ConfigError
from vitjax.execution.progress import Progress, Silent
from vitjax.explaining.requests import Request, request
from vitjax.explaining.run import explain_many
from vitjax.models.model import Model
from vitjax.nn.network import transformer
from vitjax.nn.vit_config import ViTConfig
from vitjax.verifying.formulas import FORMULAS
from vitjax.verifying.torch_run import TorchRun

KNOWN = (
    *("width", "depth", "heads", "mlp_dim", "patch_size", "image_size", "num_classes", "class_token", "distilled"),
    *("registers", "pool", "fc_norm", "pre_norm", "qkv_bias", "patch_bias", "position_on_prefix", "layer_scale"),
    *("mlp", "norm_eps"),
)
"""Fields of ViTConfig that the second implementation reads. `pool` and `mlp` have kinds that it lacks."""


@dataclass(frozen=True)
class MethodParity:
    """Differences of one method, each the worst over the images. A difference is NaN if a map has a NaN."""

    label: str
    absolute: float  # max |vitjax - PyTorch|
    relative: float  # absolute / max |PyTorch|
    spearman: float  # the lowest rank correlation; NaN where a map is constant

    def __str__(self) -> str:
        return f"{self.label:48s} {self.absolute:10.2e} {self.relative:10.2e} {self.spearman:10.6f}"


def has_formula(wanted: Request) -> bool:
    """Whether a request can be compared.

    Methods that sample or optimise, methods that users registered, and the adaptive quadrature have no formula.
    """
    return wanted.name in FORMULAS and dict(wanted.options).get("quadrature") != "adaptive"


def check_formulas_know(config: ViTConfig, name: str) -> None:
    """Check that the formulas' own ViT has all features of a model.

    Args:
        config: architecture of the model.
        name: name of the model, for the error message.

    Raises:
        ConfigError: the model has a feature that only vitjax's ViT has; the message names its fields.
    """
    default = {field.name: field.default for field in fields(ViTConfig)}
    beyond = [field for field in default if field not in KNOWN and getattr(config, field) != default[field]]
    if config.pool not in ("token", "avg") or config.mlp in ("gelu_tanh", "geglu_tanh"):
        beyond.append(f"pool={config.pool}" if config.pool not in ("token", "avg") else "mlp=gelu_tanh")
    if beyond:
        raise ConfigError(
            f"verify compares methods on plain ViTs only, and {name!r} has {', '.join(beyond)}; without --methods, its "
            "blocks and logits are compared"
        )


def compare_methods(
    model: Model,
    module: Any,
    images: np.ndarray,
    methods: Sequence[str | dict[str, Any]],
    target: Any = None,
    *,
    progress: Progress = Silent,
) -> list[MethodParity]:
    """Compare methods with their formulas on PyTorch's arrays.

    Args:
        model: a `vitjax.Model`; a ViT.
        module: the timm module with the model's weights; it is converted to float64.
        images: normalised pixels [b, H, W, 3].
        methods: names or requests, as for `vitjax.explain_many`. Those without a formula are skipped.
        target: class or classes to explain, as for `vitjax.explain_many`.
        progress: shows steps: the maps and PyTorch's gradients of each image, then the formula of each method.

    Returns:
        One entry per request that has a formula.

    Raises:
        ConfigError: the model is not a transformer, a method does not apply to it, or networkx, which the formula of
            `attention_flow` needs, is not installed.

    Cost: for each image, two forwards and backwards of the module in float64, and what the formulas add.
    """
    config = transformer(model.config, "the comparison", model.name)
    comparable = [item for item in methods if has_formula(request(item))]
    if not comparable:
        return []
    parities = []
    with progress(2 * len(images) + len(comparable), "steps") as on_progress:
        explanations = explain_many(model, images, comparable, target)
        on_progress(len(images))
        targets = next(iter(explanations.values())).target
        runs = []
        for x, k in zip(images, targets, strict=True):
            runs.append(TorchRun(config, module, x, int(k)))
            on_progress(1)
        for wanted in map(request, comparable):
            theirs = [FORMULAS[wanted.name](run, **dict(wanted.options)) for run in runs]
            parities.append(_parity(wanted.label, explanations[wanted.label].maps, theirs))
            on_progress(1)
    return parities


def _parity(label: str, maps: np.ndarray, theirs: Sequence[np.ndarray]) -> MethodParity:
    """The differences between the maps of the images and the vectors that the formula gives."""
    pairs = list(zip([m.ravel() for m in maps], theirs, strict=True))
    differences = np.array([np.abs(a - b).max() for a, b in pairs])
    scales = np.array([np.abs(b).max() or 1.0 for _, b in pairs])
    ranks = [spearmanr(a, b).statistic if np.ptp(b) else np.nan for a, b in pairs]
    absolute, relative = float(differences.max()), float((differences / scales).max())
    return MethodParity(label, absolute, relative, float(np.min(ranks)))
