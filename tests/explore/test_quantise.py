"""Quantised attention stays within the errors that the page states."""

import numpy as np
import pytest

import vitjax
from vitjax.data.scenes import scene
from vitjax.explore.quantise import (
    dequantise_heads,
    dequantise_mean,
    quantise_heads,
    quantise_mean,
    rollout_bounds,
    transition,
)


@pytest.fixture(scope="module")
def attention(explored):
    return np.asarray(vitjax.trace(explored.models[0], scene(3).image, score=None).attention)[0]


def test_weights_of_heads_are_off_by_less_than_their_bound(attention):
    peaked = np.random.default_rng(0).dirichlet(np.full(50, 0.05), size=(2, 3, 50))
    for exact in (attention, peaked):
        quantised = quantise_heads(exact)
        largest = exact.max(axis=-1, keepdims=True)
        bound = np.sqrt(exact * largest) / 255 + largest / 260100
        error = np.abs(dequantise_heads(quantised) - exact)
        assert quantised.codes.dtype == np.uint8 and (error <= bound * (1 + 1e-6)).all()
        assert (error <= 0.004 * largest).all()


def test_a_row_of_zeros_stays_zero():
    for quantise, dequantise in ((quantise_heads, dequantise_heads), (quantise_mean, dequantise_mean)):
        assert not dequantise(quantise(np.zeros((2, 3)))).any()


def test_rollout_from_every_block_is_within_its_bound(attention, explored):
    mean = attention.mean(axis=1, dtype=np.float64)
    quantised = quantise_mean(mean)
    bounds = rollout_bounds(mean, quantised, attention.shape[1])
    decoded = transition(dequantise_mean(quantised))
    assert (np.diff(bounds) < 0).all() and bounds[0] < 0.002  # of a sum of 1
    for start in (0, 2, 5):
        row = np.eye(len(mean[0]))[0]
        for block in range(len(mean) - 1, start - 1, -1):
            row = row @ decoded[block]
        own = vitjax.explain(explored.models[0], scene(3).image, "rollout", start_layer=start).maps[0].ravel()
        assert 0 < np.abs(row[1:] - own).sum() <= bounds[start]
