"""Probabilities of classes on the host, as numbers and as text."""

from __future__ import annotations

import numpy as np

from vitjax.output.wording import percent


def with_probability(
    name: str, probability: float | None, decimals: int = 1, space: str = " ", *, sigmoid: bool = False
) -> str:
    """`tabby (62.3 %)`, or `tabby (62.3 %, sigmoid)`, or the name alone where there is no probability.

    `decimals` and `space` as for `percent`.
    """
    if probability is None:
        return name
    return f"{name} ({percent(probability, decimals, space)}{', sigmoid' if sigmoid else ''})"


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """As `vitjax.layerwise.probability`, in NumPy: of logits [b, k] in their own dtype."""
    if logits.shape[-1] == 1:
        logits = np.concatenate([logits, np.zeros_like(logits)], axis=-1)
        return probabilities_of(logits)[..., :1]
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)
