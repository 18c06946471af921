"""The subcommand `verify`: compares a model and its methods with PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.cli.model_arguments import ModelArguments
from vitjax.errors import ConfigError
from vitjax.execution.arguments import check_seed, check_whole_number
from vitjax.execution.progress import Progress, Silent
from vitjax.explaining.requests import expanded, request
from vitjax.models.families import CNNS, of_the_same_kind
from vitjax.models.load import BUNDLED
from vitjax.models.model import Model
from vitjax.nn.network import transformer


def verify_against_timm(
    model: ModelArguments,
    methods: Sequence[str | dict[str, Any]],
    images: int,
    seed: int,
    tolerance: float,
    progress: Progress = Silent,
) -> tuple[str, bool]:
    """Compare a model with PyTorch's on random images. Needs PyTorch, and the library that has the model.

    A folder of transformers is compared with transformers' class, weights of OpenCLIP's own image tower with
    open_clip's, and all others with timm's. The methods need timm's module, whose attention they differentiate.

    Args:
        model: names the model.
        methods: requests. Their maps are compared with the same formulas on PyTorch's gradients in float64.
        images: number of random images.
        seed: seed of the images.
        tolerance: largest max |difference| / max |reference| of a method's map that passes. Methods that are
            ill-conditioned in float32 are reported but not judged.
        progress: shows how far the comparison of methods is, which takes minutes.

    Returns:
        The report as text, and whether the model (to the tolerance of `weights_convert.check`) and all methods pass.

    Raises:
        ConfigError: the model is a ResNet, methods are to be compared on an architecture that the second
            implementation lacks, a method does not apply to the model, or networkx is
            not installed, which the formula of `attention_flow` needs.
        WeightsError: PyTorch or the library is not installed, or the weights are unusable.
    """
    from weights_convert import check
    from weights_convert.peers import own_library

    check_whole_number("images", images, 1)
    check_seed(seed)
    if (model.model or "").partition(".")[0] in CNNS:
        raise ConfigError(f"verify needs a transformer, whose blocks it compares; {model.model!r} is a ResNet")
    loaded = model.load()
    config = transformer(loaded.config, "verify", loaded.name)
    if methods:
        from vitjax.verifying.parity import check_formulas_know

        check_formulas_know(config, loaded.name)
    path = _own_path(model)
    peer = None if path is None else own_library(path, config, ema=model.ema)
    module = None if peer is not None and not methods else _timm_module(loaded, path, model.ema)
    block_parity = check.compare_on_noise(loaded, peer or module, images, seed)
    if not methods:
        return str(block_parity), block_parity.passed
    x = np.random.default_rng(seed).normal(size=(images, *config.image_size, 3)).astype(np.float32)
    lines, methods_pass = _verify_methods(loaded, module, expanded(loaded, methods), x, tolerance, progress)
    return "\n".join([str(block_parity), "", *lines]), block_parity.passed and methods_pass


def _own_path(model: ModelArguments) -> Path | None:
    """The file or folder of another library that a command names; None for other sources."""
    from weights_convert.source import locate

    named = model.weights or model.model or BUNDLED
    if not Path(named).exists() or locate(named)[1] == "orbax":
        return None
    return Path(named)


def _timm_module(loaded: Model, path: Path | None, ema: bool) -> Any:
    """timm's module with the weights of a file, if there is one, else with the model's own."""
    from weights_convert import check
    from weights_convert.source import state_of

    state = None if path is None else state_of(path, ema=ema).state
    return check.peer_of(
        loaded, loaded.name, state, of_the_same_kind(transformer(loaded.config, "verify", loaded.name))
    )


def _verify_methods(
    model: Model,
    module: Any,
    methods: Sequence[str | dict[str, Any]],
    x: np.ndarray,
    tolerance: float,
    progress: Progress,
) -> tuple[list[str], bool]:
    """The part of the report on methods, and whether all pass. A NaN does not pass."""
    from vitjax.verifying.parity import compare_methods, has_formula

    method_parity = compare_methods(model, module, x, methods, progress=progress)
    lines = [f"{'method, against float64':48s} {'max |Δ|':>10} {'relative':>10} {'Spearman':>10}"]
    lines += [str(parity) for parity in method_parity]
    requests = [request(method) for method in methods]
    ill_conditioned = {wanted.label for wanted in requests if wanted.method.ill_conditioned and has_formula(wanted)}
    without_formula = {wanted.label for wanted in requests if not has_formula(wanted)}
    if ill_conditioned:
        lines.append(f"not judged, ill-conditioned in float32: {', '.join(sorted(ill_conditioned))}")
    if without_formula:
        lines.append(f"not compared, without a formula: {', '.join(sorted(without_formula))}")
    judged = [parity.relative for parity in method_parity if parity.label not in ill_conditioned]
    if not judged:
        return lines, True
    worst = float(np.max(judged))
    passed = worst <= tolerance
    verdict = "passed" if passed else "FAILED"
    lines.append(f"worst relative difference {worst:.2e}, tolerance {tolerance:.0e}: {verdict}")
    return lines, passed
