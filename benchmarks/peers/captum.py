"""Integrated gradients by captum.

Has no command of its own; `python -m benchmarks.speed` times it as "captum" if captum is installed.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch


def available() -> bool:
    """Whether captum can be imported."""
    return importlib.util.find_spec("captum") is not None


def integrated_gradients(module: Any, pixels: torch.Tensor, steps: int = 50, microbatch_size: int = 8) -> torch.Tensor:
    """Maps [b, H, W] of the predicted classes, with vitjax's default baseline and quadrature.

    Args:
        module: the model.
        pixels: [b, 3, H, W].
        steps: points of the path.
        microbatch_size: points that are computed together; at least one per image.
    """
    from captum.attr import IntegratedGradients

    with torch.no_grad():
        target = module(pixels).argmax(1)
    size = max(microbatch_size, len(pixels))
    attribution = IntegratedGradients(module).attribute(
        pixels, target=target, n_steps=steps, method="gausslegendre", internal_batch_size=size
    )
    return attribution.sum(1).detach()
