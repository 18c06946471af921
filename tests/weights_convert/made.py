"""Tiny models of other libraries with random parameters, and the comparison of what they and vitjax compute."""

from __future__ import annotations

import numpy as np

import vitjax
from tests.timm_peers import torch


def randomised(module, seed: int = 0):
    """The module in eval mode, all parameters drawn at random, so that none has a neutral value."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            scale = 1.0 if parameter.ndim == 1 and name.endswith(("weight", "lambda1", "gamma")) else 0.0
            spread = parameter[0].numel() ** -0.5 if parameter.ndim in (2, 4) and parameter[0].numel() else 0.3
            parameter.copy_(torch.as_tensor(scale + rng.normal(size=tuple(parameter.shape)) * spread))
    return module.eval()


def images(model: vitjax.models.model.Model, count: int = 2) -> np.ndarray:
    """Standard normal noise images of the model's size, [count, H, W, 3]."""
    return np.random.default_rng(7).normal(size=(count, *model.config.image_size, 3)).astype(np.float32)


def as_torch(x: np.ndarray):
    """[b, H, W, 3] -> torch [b, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def difference(model, forward) -> float:
    """Largest difference of the model's outputs from `forward`'s, a function of torch images, relative to these."""
    x = images(model)
    with torch.no_grad():
        theirs = forward(as_torch(x)).double().numpy()
    ours = np.asarray(model.logits(x), np.float64)
    assert ours.shape == theirs.shape and np.abs(theirs).max() > 1e-2
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
