"""Formulas of the methods that read gradients by the input or evaluate changed images, and of the baseline `centre`."""

from __future__ import annotations

import numpy as np
from scipy.special import roots_legendre

from vitjax.verifying.model_run import ModelRun


def full_grad(run: ModelRun, score: str) -> np.ndarray:
    """|input x gradient| plus |bias x gradient| of every linear layer and of the position embedding."""
    full = run.full_gradient(score)
    (down, across), p = run.config.grid, run.config.patch_size
    total = np.abs(run.image * full.image_grad).reshape(down, p, across, p, 3).sum((1, 3, 4)).ravel()
    total = total + np.abs(full.positions * full.positions_grad).sum(1)[-down * across :]
    for bias, gradient in full.biases:  # gradients at the patches only, or at all tokens
        total = total + np.abs(bias * gradient[-down * across :]).sum(1)
    return total


def gradient_x_input(run: ModelRun, at: str, score: str) -> np.ndarray:
    """Input times gradient, at pixels or at tokens."""
    if at == "pixels":
        return (run.image * run.image_gradient(run.image, score)).sum(-1).ravel()
    return run.patches((run.traces[score].tokens[0] * run.traces[score].tokens_grad[0]).sum(-1))


def saliency(run: ModelRun, score: str) -> np.ndarray:
    """The largest |gradient| over colours."""
    return np.abs(run.image_gradient(run.image, score)).max(-1).ravel()


def integrated_gradients(run: ModelRun, steps: int, quadrature: str, score: str) -> np.ndarray:
    """Input times the mean gradient along the path from 0."""
    if quadrature == "gausslegendre":
        nodes, weights = roots_legendre(steps)
        nodes, weights = (nodes + 1) / 2, weights / 2
    elif quadrature == "riemann_middle":
        nodes, weights = np.linspace(1 / (2 * steps), 1 - 1 / (2 * steps), steps), np.full(steps, 1 / steps)
    else:
        nodes, weights = np.linspace(0, 1, steps), np.array([0.5, *[1] * (steps - 2), 0.5]) / steps
    pairs = zip(nodes, weights, strict=True)
    mean = np.sum([weight * run.image_gradient(node * run.image, score) for node, weight in pairs], axis=0)
    return (run.image * mean).sum(-1).ravel()


def occlusion(run: ModelRun, window: int | None, stride: int | None, score: str) -> np.ndarray:
    """The mean drop of the score over the windows that cover a pixel."""
    window = window or run.config.patch_size
    stride = stride or window
    height, width, _ = run.image.shape
    total, count = np.zeros((2, height, width))
    for top in range(0, height - window + stride, stride):
        for left in range(0, width - window + stride, stride):
            covered = np.s_[top : top + window, left : left + window]
            occluded = run.image.copy()
            occluded[covered] = 0
            total[covered] += run.score(run.image, score) - run.score(occluded, score)
            count[covered] += 1
    return (total / count).ravel()


def centre(run: ModelRun) -> np.ndarray:
    """1 minus the distance to the centre."""
    y, x = ((np.arange(cells) - (cells - 1) / 2) / cells for cells in run.config.grid)
    distance = np.sqrt(y[:, None] ** 2 + x**2)
    return (1 - distance / distance.max()).ravel()
