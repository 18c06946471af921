"""Operations on matrices that several formulas use. Matrices of attention are [query, key]."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def discard(square: np.ndarray, ratio: float, keep_first: bool) -> np.ndarray:
    """Set the smallest entries, a share `ratio` of all, to zero; `keep_first`: never the entry [0, 0]."""
    flat = square.flatten()
    smallest = np.argsort(flat, kind="stable")[: int(flat.size * ratio)]
    if keep_first:
        smallest = smallest[smallest != 0]
    flat[smallest] = 0
    return flat.reshape(square.shape)


def normalise_queries(square: np.ndarray) -> np.ndarray:
    """Divide the entries of each query by their sum, where it is not 0."""
    total = square.sum(-1, keepdims=True)
    return square / np.where(total == 0, 1, total)


def product(matrices: Sequence[np.ndarray], order: str = "last_left") -> np.ndarray:
    """The product of all layers' matrices, with the last layer's on the left ("last_left") or the first layer's."""
    result = np.eye(matrices[0].shape[0])
    for matrix in matrices:
        result = matrix @ result if order == "last_left" else result @ matrix
    return result


def positive(x: np.ndarray) -> np.ndarray:
    """The positive part."""
    return np.maximum(x, 0)


def fuse_heads(attention: np.ndarray, head_fusion: str) -> np.ndarray:
    """[h, ...] -> [...]: the "mean", "max" or "min" over heads."""
    fusions: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "max": np.max, "min": np.min}
    return fusions[head_fusion](attention, axis=0)
