"""Bootstrap intervals equal scipy's, use bounded memory and have the stated coverage."""

import tracemalloc

import numpy as np
import pytest
import scipy.stats

from tests.report.synthetic import pooled
from vitjax.errors import ConfigError
from vitjax.metrics.contract import mean
from vitjax.report.statistics import Sample, band, draws, estimate


def exponential(n=80, k=1, seed=0):
    return np.random.default_rng(seed).exponential(2, (k, n))


def median(values):
    return np.median(values, axis=-1)


class TestAgainstScipy:
    """Both are Monte Carlo estimates: with 10,000 resamples, each has an error of about 2 % of the interval's width."""

    def interval(self, sample, data, statistic):
        (ours,) = estimate([sample], resamples=10_000)
        theirs = scipy.stats.bootstrap(
            data,
            statistic,
            paired=len(data) > 1,
            vectorized=True,
            n_resamples=10_000,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        np.testing.assert_allclose([ours.low, ours.high], theirs, atol=0.04 * (theirs.high - theirs.low))
        return ours

    def test_mean(self):
        (values,) = exponential()
        ours = self.interval(Sample(mean, (values,)), (values,), lambda x, axis: x.mean(axis=axis))
        assert ours.value == values.mean() and ours.n == 80

    def test_ratio_of_sums(self):
        hit, union = exponential(k=2)
        union += hit
        self.interval(
            Sample(pooled, (hit, union)), (hit, union), lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis)
        )

    def test_paired_difference(self):
        method, baseline = exponential(k=2)
        method += baseline
        ours = self.interval(
            Sample(mean, (method,), (baseline,)), (method, baseline), lambda a, b, axis: (a - b).mean(axis=axis)
        )
        assert ours.value == pytest.approx((method - baseline).mean())

    def test_paired_difference_of_medians(self):
        method, baseline = exponential(k=2)
        self.interval(
            Sample(median, (method,), (baseline,)),
            (method, baseline),
            lambda a, b, axis: np.median(a, axis=axis) - np.median(b, axis=axis),
        )

    def test_other_ci(self):
        (values,) = exponential()
        (narrow,), (wide,) = (estimate([Sample(mean, (values,))], ci=ci) for ci in (0.5, 0.99))
        assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_means_by_matrix_product_equal_gathered_means():
    (values,) = exponential()
    (result,) = estimate([Sample(mean, (values,))], resamples=500)
    (index,) = draws(80, 500, 0, 500)
    expected = np.quantile(values[index].mean(axis=1), [0.025, 0.975])
    np.testing.assert_allclose([result.low, result.high], expected, rtol=1e-12)


def test_neither_memory_limit_nor_other_samples_change_a_result():
    many = [Sample(mean, (row,)) for row in exponential(k=5)]
    many += [Sample(median, (row,)) for row in exponential(n=33, k=2)]
    together = estimate(many, resamples=300)
    alone = [estimate([sample], resamples=300, memory=1000)[0] for sample in many]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_equal_values_give_exactly_their_mean():
    (result,) = estimate([Sample(mean, (np.full(7, 0.1),))])
    assert result.low == result.high == pytest.approx(0.1, abs=1e-17)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_images_have_no_interval(n):
    (result,) = estimate([Sample(mean, (np.ones(n),))])
    assert np.isnan([result.low, result.high]).all() and result.n == n
    assert result.value == 1 if n else np.isnan(result.value)


def test_undefined_draws_give_no_interval():
    (result,) = estimate([Sample(pooled, (np.zeros(3), np.array([0.0, 0, 1])))])
    assert result.value == 0 and np.isnan(result.low)


@pytest.mark.parametrize("ci", [0, 1, 95])
def test_ci_outside_0_to_1_is_an_error(ci):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        estimate([], ci=ci)


def test_band_is_the_interval_of_each_column():
    values = exponential(k=4).T
    low, high = band(values, resamples=200, memory=8 * 80)
    estimates = estimate([Sample(mean, (column,)) for column in values.T], resamples=200)
    np.testing.assert_allclose(low, [e.low for e in estimates], rtol=1e-12)
    np.testing.assert_allclose(high, [e.high for e in estimates], rtol=1e-12)
    assert np.isnan(band(values[:1])).all()


def coverage(sample_of, truth, trials, n, seed=0):
    """Share of the trials whose interval contains the truth."""
    rng = np.random.default_rng(seed)
    estimates = [estimate([sample_of(rng, n)], resamples=500, seed=trial)[0] for trial in range(trials)]
    return np.mean([e.low <= truth <= e.high for e in estimates])


def test_interval_of_a_mean_covers():
    share = coverage(lambda rng, n: Sample(mean, (rng.beta(2, 5, n),)), 2 / 7, trials=300, n=100)
    assert 0.91 < share < 0.98


def test_interval_of_a_difference_covers():
    def paired(rng, n):
        easy = rng.normal(0, 1, n)  # shared by both methods, so that unpaired intervals would be far too wide
        return Sample(mean, (easy + rng.normal(0.3, 0.1, n),), (easy + rng.normal(0, 0.1, n),))

    assert 0.91 < coverage(paired, 0.3, trials=300, n=100) < 0.98


def test_pairing_narrows_the_interval_of_a_difference():
    rng = np.random.default_rng(0)
    easy = rng.normal(0, 1, 200)
    (result,) = estimate([Sample(mean, (easy + 0.3 + rng.normal(0, 0.1, 200),), (easy,))])
    assert result.high - result.low < 0.05


def test_interval_of_a_ratio_of_sums_covers():
    def sample(rng, n):
        union = rng.uniform(1, 10, n)
        return Sample(pooled, (union * rng.beta(4, 4, n), union))

    assert 0.90 < coverage(sample, 0.5, trials=200, n=80) < 0.99


@pytest.mark.slow
def test_memory_is_bounded_for_the_size_of_imagenet_validation():
    rng = np.random.default_rng(0)
    samples = [Sample(mean, (rng.random(50_000),)) for _ in range(10)]
    samples.append(Sample(pooled, (rng.random(50_000), rng.random(50_000) + 1)))
    tracemalloc.start()
    estimates = estimate(samples)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300 * 2**20
    assert all(0.004 < e.high - e.low < 0.006 for e in estimates[:10])
