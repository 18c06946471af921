"""The subcommand `verify`: compares a model and its methods with PyTorch."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.errors import ConfigError
from vitjax.explaining.requests import request
from vitjax.models.families import CNNS
from vitjax.models.load import BUNDLED, load
from vitjax.nn.network import transformer


def verify_against_timm(
    name: str,
    weights: str | None,
    methods: Sequence[dict[str, Any]],
    images: int,
    seed: int,
    tolerance: float,
) -> tuple[str, bool]:
    """Compare a model with timm's on random images. Needs PyTorch and timm.

    Args:
        name: a timm name of a ViT.
        weights: checkpoint; the model's default weights if None.
        methods: requests. Their maps are compared with the same formulas on PyTorch's gradients in float64.
        images: number of random images.
        seed: seed of the images.
        tolerance: largest max |difference| / max |reference| of a method's map that passes. Methods that are
            ill-conditioned in float32 are reported but not judged.

    Returns:
        The report as text, and whether the model (to the tolerance of `weights_convert.check`) and all methods pass.

    Raises:
        ConfigError: the model is a ResNet or the bundled model, or methods are given and tests/oracles of the source
            checkout cannot be imported.
        WeightsError: PyTorch or timm is not installed, or the weights are unusable.
    """
    from weights_convert import check
    from weights_convert.keys import to_state
    from weights_convert.load import read_state

    if name in CNNS:
        raise ConfigError(f"verify needs a transformer, whose blocks it compares; {name!r} is a ResNet")
    if name == BUNDLED:
        raise ConfigError(f"timm has no model {name!r}")
    model = load(name, weights)
    state = read_state(Path(weights)) if weights is not None and Path(weights).is_file() else None
    block_parity = check.verify(model, name, state, images=images, seed=seed)
    lines, passed = [str(block_parity)], block_parity.passed
    if methods:
        module = check.timm_peer(transformer(model.config, "verify", name), to_state({**model.params}), name)
        x = np.random.default_rng(seed).normal(size=(images, *model.config.image_size, 3)).astype(np.float32)
        method_parity = _import_oracles().compare_methods(model, module, x, methods)
        lines += ["", f"{'method, against float64':48s} {'max |Δ|':>10} {'relative':>10} {'Spearman':>10}"]
        lines += [str(parity) for parity in method_parity]
        ill_conditioned = {wanted.label for wanted in map(request, methods) if wanted.method.ill_conditioned}
        if ill_conditioned:
            lines.append(f"not judged, ill-conditioned in float32: {', '.join(sorted(ill_conditioned))}")
        worst = max((parity.relative for parity in method_parity if parity.label not in ill_conditioned), default=0.0)
        methods_pass = worst <= tolerance
        verdict = "passed" if methods_pass else "FAILED"
        lines.append(f"worst relative difference {worst:.2e}, tolerance {tolerance:.0e}: {verdict}")
        passed = passed and methods_pass
    return "\n".join(lines), passed


def _import_oracles() -> Any:
    try:
        return importlib.import_module("tests.oracles.parity")
    except ImportError as error:
        raise ConfigError(
            f"--methods needs tests/oracles of a source checkout; run the command from its root ({error})"
        ) from error
