"""The numbers of one chunk, in arrays, before they become rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vitjax.data.source import Samples


@dataclass(eq=False)
class Results:
    """Numbers of the `n` pictures of a chunk by `m` methods. NaN, -1 and "" where there are none.

    status: of each picture and method [n][m]. columns: [n, m] or [n, m, levels]. maps: raw, by method label, [n, ...].
    """

    status: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    target: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def blank(cls, samples: Samples, methods: int) -> Results:
        status = np.empty((len(samples), methods), object)
        status[:] = np.asarray(samples.status, object)[:, None]
        none = np.full(len(samples), -1, np.int32)
        return cls(status, none.copy(), np.full(len(samples), np.nan, np.float32), none.copy())

    def put(self, name: str, rows: np.ndarray, method: int, values: np.ndarray) -> None:
        """Numbers of one column, [rows] or [rows, levels]."""
        if name not in self.columns:
            self.columns[name] = np.full((*self.status.shape, *values.shape[1:]), np.nan)
        self.columns[name][rows, method] = values
