"""Probabilities of classes on the host, as numbers and as text."""

from __future__ import annotations

import numpy as np


def with_probability(
    name: str, probability: float | None, digits: str = ".1f", space: str = " ", *, sigmoid: bool = False
) -> str:
    """`tabby (62.3 %)`, or `tabby (62.3 %, sigmoid)`, or the name alone where there is no probability.

    A probability that would be written as 0 without being 0 is `tabby (< 0.1 %)`.
    """
    if probability is None:
        return name
    written, least = f"{100 * probability:{digits}}", 10.0 ** -int(digits[1:-1])
    if probability > 0 and float(written) == 0:
        written = f"<{space}{least:g}"
    return f"{name} ({written}{space}%{', sigmoid' if sigmoid else ''})"


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """As `vitjax.layerwise.probability`, in NumPy: of logits [b, k] in their own dtype."""
    if logits.shape[-1] == 1:
        logits = np.concatenate([logits, np.zeros_like(logits)], axis=-1)
        return probabilities_of(logits)[..., :1]
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)
