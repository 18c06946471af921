"""Statistics of a data set with percentile-bootstrap intervals, computed in batches with numpy in float64.

All statistics over the same number of images share one set of draws: at 50,000 images and 2,000 resamples, the draws
cost more than the means of a hundred columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from vitjax.errors import ConfigError
from vitjax.metrics.contract import mean

RESAMPLES = 2000
SEED = 0
MEMORY = 64 * 2**20
"""Bytes that one step of a bootstrap may use in addition to the records."""
FEW_COLUMNS = 4
"""With fewer columns, gathering each draw is faster than counting draws and multiplying by the counts."""
CACHE_BYTES = 4 * 2**20
"""Bytes of draws per step that stay in a CPU cache while few columns are gathered."""


class Sample(NamedTuple):
    """The data of one statistic, restricted to the images that it uses.

    Attributes:
        aggregate: maps columns, each [..., n], to [...].
        columns: each [n], finite.
        baseline: columns of another method for the same images. If given, the statistic is aggregate(columns) -
            aggregate(baseline), and each bootstrap draw takes the same images for both (paired).
    """

    aggregate: Callable[..., np.ndarray]
    columns: tuple[np.ndarray, ...]
    baseline: tuple[np.ndarray, ...] = ()

    @property
    def n(self) -> int:
        return len(self.columns[0])

    def per_image(self) -> np.ndarray:
        """[n]; its mean is the statistic if the aggregate is the mean."""
        return self.columns[0] - self.baseline[0] if self.baseline else self.columns[0]

    def of(self, *index: np.ndarray) -> np.ndarray:
        """The statistic over all images (a scalar), or over each draw of `index` [c, n] (an array [c])."""
        own = self.aggregate(*(column[index or ...] for column in self.columns))
        if not self.baseline:
            return np.asarray(own)
        return np.asarray(own - self.aggregate(*(column[index or ...] for column in self.baseline)))


class Estimate(NamedTuple):
    """A statistic with its interval over n images. The value is NaN for n = 0, the interval is NaN for n < 2."""

    value: float
    low: float
    high: float
    n: int


def estimate(
    samples: Sequence[Sample],
    *,
    ci: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    memory: int = MEMORY,
) -> list[Estimate]:
    """The statistic of each sample with its percentile-bootstrap interval over images.

    Args:
        samples: in any order; samples with equal numbers of images share their draws.
        ci: confidence level, the share of the resampled statistics that lies in the interval, in (0, 1).
        resamples: number of draws; each draws n of the n images with replacement.
        seed: equal seeds give equal intervals up to rounding, whatever other samples are estimated with them.
        memory: bytes that one step may use; up to rounding, it changes only the duration.

    Returns:
        One estimate for each sample, in the given order. An interval is NaN if the statistic of one of the draws is
        undefined, for example because the draw contains no image of a class.

    Raises:
        ConfigError: ci is not between 0 and 1.
    """
    if not 0 < ci < 1:
        raise ConfigError(f"ci must lie between 0 and 1, got {ci}")
    samples = [Sample(s.aggregate, _floats(s.columns), _floats(s.baseline)) for s in samples]
    intervals = np.full((len(samples), 2), np.nan)
    quantiles = [(1 - ci) / 2, (1 + ci) / 2]
    for n in sorted({s.n for s in samples if s.n > 1}):
        linear = [i for i, s in enumerate(samples) if s.n == n and s.aggregate is mean]
        general = [i for i, s in enumerate(samples) if s.n == n and s.aggregate is not mean]
        width = max(1, memory // (8 * n))
        for chunk in (linear[i : i + width] for i in range(0, len(linear), width)):
            drawn = _resampled_means(np.stack([samples[i].per_image() for i in chunk], axis=1), resamples, seed, memory)
            intervals[chunk] = np.quantile(drawn, quantiles, axis=0).T
        if general:
            drawn = _resampled([samples[i] for i in general], n, resamples, seed, memory)
            intervals[general] = np.quantile(drawn, quantiles, axis=0).T
    values = [float(s.of()) if s.n else np.nan for s in samples]
    return [
        Estimate(value, float(low), float(high), s.n)
        for value, (low, high), s in zip(values, intervals, samples, strict=True)
    ]


def band(
    values: np.ndarray,
    *,
    ci: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    memory: int = MEMORY,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile-bootstrap interval of the mean of each column.

    Args:
        values: [n images, k columns].
        ci, resamples, seed, memory: as for `estimate`.

    Returns:
        (low, high), each [k]; NaN for fewer than two images.
    """
    n, k = values.shape
    if n < 2:
        return np.full(k, np.nan), np.full(k, np.nan)
    width, limits = max(1, memory // (8 * n)), []
    for start in range(0, k, width):
        drawn = _resampled_means(values[:, start : start + width], resamples, seed, memory)
        limits.append(np.quantile(drawn, [(1 - ci) / 2, (1 + ci) / 2], axis=0))
    low, high = np.concatenate(limits, axis=1)
    return low, high


def draws(n: int, resamples: int, seed: int, rows: int) -> Iterator[np.ndarray]:
    """Bootstrap draws in batches.

    Args:
        rows: draws per batch. The sequence of all draws does not depend on it.

    Yields:
        Image indices [c, n] with c <= rows; all batches together have `resamples` rows.
    """
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, rows):
        yield generator.integers(n, size=(min(rows, resamples - start), n))


def _resampled_means(values: np.ndarray, resamples: int, seed: int, memory: int) -> np.ndarray:
    """Means of each draw, [n, k] -> [resamples, k], as a matrix product of draw counts [resamples, n] and values."""
    n, k = values.shape
    centre = values.mean(axis=0)
    values = values - centre  # then the means of equal values are exact
    if k < FEW_COLUMNS:
        columns = np.ascontiguousarray(values.T)
        rows = max(1, min(memory, CACHE_BYTES) // (8 * n))
        sums = [[c[drawn].sum() for c in columns] for index in draws(n, resamples, seed, rows) for drawn in index]
        return centre + np.array(sums) / n
    sums_of_draws = []
    for index in draws(n, resamples, seed, max(1, memory // (16 * n))):
        draw_counts = np.empty(index.shape, np.float64)
        for row, drawn in enumerate(index):
            draw_counts[row] = np.bincount(drawn, minlength=n)
        sums_of_draws.append(draw_counts @ values)
    return centre + np.concatenate(sums_of_draws) / n


def _resampled(samples: list[Sample], n: int, resamples: int, seed: int, memory: int) -> np.ndarray:
    """Statistics of each draw, [resamples, samples], for arbitrary aggregates: the values of each draw are gathered."""
    columns = max(len(s.columns) for s in samples)
    rows = max(1, memory // (8 * n * (columns + 2)))
    with np.errstate(divide="ignore", invalid="ignore"):  # an undefined draw is NaN and makes the interval NaN
        return np.concatenate(
            [np.stack([s.of(index) for s in samples], axis=1) for index in draws(n, resamples, seed, rows)]
        )


def _floats(columns: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(column, np.float64) for column in columns)
