"""The results of one chunk as arrays, from which its records are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vitjax.data.source import OK, Samples


@dataclass(eq=False)
class Results:
    """Results of m methods on the n images of a chunk.

    status: [n, m], of each image and method.
    prediction: int32 [n], predicted classes; -1 if not computed.
    confidence: float32 [n], probabilities of the predictions; NaN if not computed.
    target: int32 [n], explained classes; -1 if not computed, -3 if it is a difference of classes.
    columns: metric values by column name, [n, m] or [n, m, levels]; NaN if undefined.
    maps: raw maps by method label, [n, ...]; NaN if not computed. Empty unless maps are saved.
    """

    status: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    target: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def blank(cls, samples: Samples, methods: int) -> Results:
        """Results without values, with the status of the decoded images."""
        status = np.empty((len(samples), methods), object)
        status[:] = np.asarray(samples.status, object)[:, None]
        not_computed = np.full(len(samples), -1, np.int32)
        return cls(status, not_computed.copy(), np.full(len(samples), np.nan, np.float32), not_computed.copy())

    def put(self, name: str, indices: np.ndarray, method: int, values: np.ndarray) -> None:
        """Store the values [b] or [b, levels] of one metric column and method for the images at `indices` [b]."""
        if name not in self.columns:
            self.columns[name] = np.full((*self.status.shape, *values.shape[1:]), np.nan)
        self.columns[name][indices, method] = values

    def put_batch(self, indices: np.ndarray, fetched: dict[str, Any], labels: Sequence[str]) -> None:
        """Set everything that a batch computed.

        Args:
            indices: [count], positions of the images in the chunk; what padding computed is dropped.
            fetched: "prediction" -> (class, probability, target), and the number of each method, as a text ->
                (metric columns, whether maps are degenerate, whether they are finite, raw maps or None).
            labels: of the methods, by number.
        """
        count = len(indices)
        prediction, confidence, target = (values[:count] for values in fetched.pop("prediction"))
        self.prediction[indices], self.confidence[indices], self.target[indices] = prediction, confidence, target
        for number, (columns, degenerate, finite, raw) in fetched.items():
            method = int(number)
            status = np.where(finite[:count], np.where(degenerate[:count], "degenerate", OK), "not_finite")
            self.status[indices, method] = status
            for name, values in columns.items():
                values = np.asarray(values[:count], np.float64).copy()
                values[status != OK] = np.nan
                self.put(name, indices, method, values)
            if raw is not None:
                if labels[method] not in self.maps:
                    self.maps[labels[method]] = np.full((len(self.status), *raw.shape[1:]), np.nan, raw.dtype)
                self.maps[labels[method]][indices] = raw[:count]
