"""Integrated gradients by captum, where it is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch


def available() -> bool:
    """Whether captum can be imported."""
    return importlib.util.find_spec("captum") is not None


def integrated_gradients(module: Any, pixels: torch.Tensor, steps: int = 50, microbatch_size: int = 8) -> torch.Tensor:
    """Pictures [b, 3, H, W] -> maps [b, H, W] of the predicted classes, `microbatch_size` points of the path in a call.

    Baseline, quadrature and steps are vitjax's defaults.
    """
    from captum.attr import IntegratedGradients

    with torch.no_grad():
        target = module(pixels).argmax(1)
    size = max(microbatch_size, len(pixels))
    found = IntegratedGradients(module).attribute(
        pixels, target=target, n_steps=steps, method="gausslegendre", internal_batch_size=size
    )
    return found.sum(1).detach()
