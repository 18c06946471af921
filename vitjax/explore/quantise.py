"""Attention in one or two bytes a weight, with bounds on what a page computes from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

HEAD_CODES, MEAN_CODES = 255, 65535
"""The largest code of a head's attention, and of the mean over heads."""


class Quantised(NamedTuple):
    """Rows of weights as integers, each row in units of its own largest weight.

    codes: uint8 or uint16 [..., n, m]. largest: float32 [..., n], the largest weight of each row.
    """

    codes: np.ndarray
    largest: np.ndarray


def quantise_heads(attention: np.ndarray) -> Quantised:
    """Attention of single heads, for display: one byte a weight, w ≈ largest · (code / 255)².

    Square roots are rounded, because most weights are small. A weight w of a row whose largest weight is m is off by
    at most √(w·m) / 255 + m / 260100, which is less than 0.4 % of m.

    Args:
        attention: [..., n, m], not negative, such as `vitjax.trace(...).attention`.

    Example:
        >>> from vitjax.explore.quantise import dequantise_heads, quantise_heads
        >>> dequantise_heads(quantise_heads(np.array([[0.5, 0.3, 0.2]]))).round(2).tolist()
        [[0.5, 0.3, 0.2]]
    """
    attention = np.asarray(attention)
    largest = attention.max(axis=-1).astype(np.float32)
    share = np.sqrt(np.clip(attention / _divisor(largest), 0, 1))
    return Quantised(np.rint(HEAD_CODES * share).astype(np.uint8), largest)


def dequantise_heads(quantised: Quantised) -> np.ndarray:
    """The weights of `quantise_heads` as the page computes them, float64 [..., n, m]."""
    return quantised.largest[..., None].astype(np.float64) * (quantised.codes / HEAD_CODES) ** 2


def quantise_mean(attention: np.ndarray) -> Quantised:
    """The mean over heads, from which the page computes rollout: two bytes a weight, w ≈ largest · code / 65535.

    Args:
        attention: the mean, [..., n, m], not negative.
    """
    attention = np.asarray(attention)
    largest = attention.max(axis=-1).astype(np.float32)
    share = np.clip(attention / _divisor(largest), 0, 1)
    return Quantised(np.rint(MEAN_CODES * share).astype(np.uint16), largest)


def dequantise_mean(quantised: Quantised) -> np.ndarray:
    """The weights of `quantise_mean` as the page computes them, float64 [..., n, m]."""
    return quantised.largest[..., None].astype(np.float64) * quantised.codes / MEAN_CODES


def transition(square: np.ndarray) -> np.ndarray:
    """rownorm(F + I) of matrices [..., n, n]: a block of the rollout product."""
    with_residual = np.asarray(square, np.float64) + np.eye(square.shape[-1])
    return with_residual / with_residual.sum(axis=-1, keepdims=True)


def rollout_bounds(mean: np.ndarray, quantised: Quantised, heads: int) -> np.ndarray:
    """Bounds on the error of the page's rollout, for every block that the product may start at.

    Rows of both products are distributions over tokens. The rows of the page's rollout from block s on and of vitjax's
    differ by at most b_s = Σ_{l >= s} (max_i Σ_j |P̂_l - P_l|_ij + (n + h + 8) 2⁻²⁴) in the sum over all tokens, where P
    is `transition` and the last term covers the rounding of vitjax's float32 sums.

    Args:
        mean: the mean over heads of all blocks, [l, n, n]. quantised: what `quantise_mean` made of it.
        heads: number of heads, h.

    Returns:
        b [l], decreasing.
    """
    distance = np.abs(transition(dequantise_mean(quantised)) - transition(mean)).sum(axis=-1).max(axis=-1)
    rounding = (mean.shape[-1] + heads + 8) * 2.0**-24
    return np.cumsum((distance + rounding)[::-1])[::-1]


def _divisor(largest: np.ndarray) -> np.ndarray:
    """What rows are divided by: 1 for a row of zeros."""
    return np.where(largest > 0, largest, 1)[..., None]
