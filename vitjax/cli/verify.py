"""Parity of a named model with PyTorch, as one report."""

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
    """The printed report and whether everything is within tolerance. Needs PyTorch and timm.

    Methods are compared with float64 formulas on PyTorch's gradients, where the source checkout's tests/oracles can
    be imported; ConfigError otherwise.
    """
    from weights_convert import check
    from weights_convert.keys import to_state
    from weights_convert.load import read_state

    if name in CNNS:
        raise ConfigError(f"verify compares transformers block by block; {name!r} is a ResNet")
    if name == BUNDLED:
        raise ConfigError(f"timm has no model {name!r}")
    model = load(name, weights)
    state = read_state(Path(weights)) if weights is not None and Path(weights).is_file() else None
    layers = check.verify(model, name, state, images=images, seed=seed)
    lines, passed = [str(layers)], layers.passed
    if methods:
        module = check.timm_peer(transformer(model.config, "verify", name), to_state({**model.params}), name)
        x = np.random.default_rng(seed).normal(size=(images, *model.config.image_size, 3)).astype(np.float32)
        rows = _oracles().compare_methods(model, module, x, methods)
        lines += ["", f"{'method, against float64':48s} {'max |Δ|':>10} {'relative':>10} {'Spearman':>10}"]
        lines += [str(row) for row in rows]
        unstable = {request(each).label for each in methods if request(each).method.ill_conditioned}
        if unstable:
            lines.append(f"not judged, ill-conditioned in float32: {', '.join(sorted(unstable))}")
        worst = max((row.relative for row in rows if row.label not in unstable), default=0.0)
        methods_pass = worst <= tolerance
        verdict = "passed" if methods_pass else "FAILED"
        lines.append(f"worst relative difference {worst:.2e}, tolerance {tolerance:.0e}: {verdict}")
        passed = passed and methods_pass
    return "\n".join(lines), passed


def _oracles() -> Any:
    try:
        return importlib.import_module("tests.oracles.parity")
    except ImportError as error:
        raise ConfigError(
            f"methods are compared with the oracles of a source checkout: run from its root ({error})"
        ) from error
