"""A data set's figures with percentile-bootstrap intervals, many at a time, on the host in float64.

One set of draws serves every figure over the same number of images: at 50,000 images and 2,000 resamples the draws cost
more than the means of a hundred columns.
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
"""Bytes that one step of a bootstrap may hold beside the records."""
FEW = 4
"""Below so many columns gathering each is faster than counting first and multiplying then."""
CACHED = 4 * 2**20


class Sample(NamedTuple):
    """What one number is made of: the images that count, and no others.

    columns: each [n], finite. aggregate: columns, each [..., n] -> [...].
    baseline: another method's columns of the same images; the number is then aggregate(columns) minus
        aggregate(baseline), and a draw of images is the same for both: paired.
    """

    aggregate: Callable[..., np.ndarray]
    columns: tuple[np.ndarray, ...]
    baseline: tuple[np.ndarray, ...] = ()

    @property
    def n(self) -> int:
        return len(self.columns[0])

    def per_image(self) -> np.ndarray:
        """[n], whose mean is the number where the aggregate is the mean."""
        return self.columns[0] - self.baseline[0] if self.baseline else self.columns[0]

    def of(self, *index: np.ndarray) -> np.ndarray:
        """The number of all images, or [c] numbers of the draws [c, n]."""
        own = self.aggregate(*(column[index or ...] for column in self.columns))
        if not self.baseline:
            return np.asarray(own)
        return np.asarray(own - self.aggregate(*(column[index or ...] for column in self.baseline)))


class Estimate(NamedTuple):
    """A number with its interval; NaN where there is none: no images, or for the interval fewer than two."""

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
    """Every sample's number with its percentile-bootstrap interval over images.

    Args:
        samples: in any order; those with equally many images share their draws.
        ci: share of the resampled numbers that lies in the interval, in (0, 1).
        resamples: draws of n images out of n, with replacement.
        seed: equal seeds give equal intervals, whatever else is in `samples` (but for rounding).
        memory: bytes that a step may hold; it changes the time and not the result (but for rounding).

    Returns:
        One estimate for each sample, in their order. An interval is NaN where one of the draws has no number, as when
        it misses every image of a class.

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
    """Interval of the mean of each column of [n, k]: low [k] and high [k]; NaN for fewer than two images."""
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
    """Image indices [c <= rows, n] until all resamples are drawn; the stream does not depend on `rows`."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, rows):
        yield generator.integers(n, size=(min(rows, resamples - start), n))


def _resampled_means(values: np.ndarray, resamples: int, seed: int, memory: int) -> np.ndarray:
    """[n, k] -> [resamples, k]: how often each image was drawn, times the values, is one matrix product."""
    n, k = values.shape
    centre = values.mean(axis=0)
    values = values - centre  # so that equal values give exactly their mean, and not nearly
    if k < FEW:
        columns = np.ascontiguousarray(values.T)
        rows = max(1, min(memory, CACHED) // (8 * n))
        sums = [[c[drawn].sum() for c in columns] for index in draws(n, resamples, seed, rows) for drawn in index]
        return centre + np.array(sums) / n
    found = []
    for index in draws(n, resamples, seed, max(1, memory // (16 * n))):
        times = np.empty(index.shape, np.float64)
        for row, drawn in enumerate(index):
            times[row] = np.bincount(drawn, minlength=n)
        found.append(times @ values)
    return centre + np.concatenate(found) / n


def _resampled(samples: list[Sample], n: int, resamples: int, seed: int, memory: int) -> np.ndarray:
    """[resamples, samples] for aggregates of any kind: each draw's values are gathered."""
    columns = max(len(s.columns) for s in samples)
    rows = max(1, memory // (8 * n * (columns + 2)))
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw without a number is NaN, and so is the interval
        return np.concatenate(
            [np.stack([s.of(index) for s in samples], axis=1) for index in draws(n, resamples, seed, rows)]
        )


def _floats(columns: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(column, np.float64) for column in columns)
