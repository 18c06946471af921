"""A float32 model gives the same maps and figures under JAX_ENABLE_X64, and its constants stay float32."""

import jax
import numpy as np
import pytest

import vitjax
from tests.cases import CASES, tiny_images, tiny_model
from vitjax.data.arrays import Arrays
from vitjax.layerwise.run import backward_fold
from vitjax.metrics import METRICS

pytestmark = pytest.mark.unoptimised
WORST = {"method": "grad_rollout", "variant": "vit_explain"}
"""The carry of its scan mixes the model's dtype with that of constants."""
QUICK_OPTIONS = {"deletion": {"step": 256}, "insertion": {"step": 256}, "sensitivity": {"n": 2}}


def maps_of(cases):
    model = tiny_model("plain")
    return {label: each.maps for label, each in vitjax.explain_many(model, tiny_images(model, 2), cases).items()}


def assert_the_same_maps(cases):
    narrow = maps_of(cases)
    with jax.enable_x64(True):
        wide = maps_of(cases)
    assert wide.keys() == narrow.keys() and len(wide) == len(cases)
    for label, expected in narrow.items():
        assert wide[label].dtype == expected.dtype == np.float32
        np.testing.assert_allclose(wide[label], expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max(), err_msg=label)


def test_maps_are_the_same():
    assert_the_same_maps([WORST, {"method": "rise", "n": 10, "cells": 3}, {"method": "random"}])


@pytest.mark.slow
def test_maps_of_every_method_are_the_same():
    """Methods whose maps come from one pass over the layers are asked for together, as it is one program."""
    assert_the_same_maps(CASES)


def rows_of(tmp_path, metrics):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    data = Arrays(images, masks=np.where(images[..., 0] > 128, 255, 0).astype(np.uint8))
    options = {"profile": False, "batch_size": 2}
    return vitjax.evaluate(tiny_model("plain"), data, ["rollout", "saliency"], metrics, tmp_path, **options).records()


def assert_the_same_records(tmp_path, metrics):
    narrow = rows_of(tmp_path / "narrow", metrics).to_pylist()
    with jax.enable_x64(True):
        wide = rows_of(tmp_path / "wide", metrics).to_pylist()
    assert len(wide) == len(narrow) == 6
    for one, other in zip(wide, narrow, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            if isinstance(value, float | list):
                np.testing.assert_allclose(one[name], value, rtol=1e-6, err_msg=name)
            else:
                assert one[name] == value, name


def test_records_are_the_same(tmp_path):
    assert_the_same_records(tmp_path, ["iou", "deletion:step=256"])


@pytest.mark.slow
def test_records_of_every_metric_are_the_same(tmp_path):
    assert_the_same_records(tmp_path, [{"metric": name, **QUICK_OPTIONS.get(name, {})} for name in METRICS])


@pytest.mark.parametrize("method", ["grad_rollout", "gmar", "rollout"])
def test_folds_that_are_called_directly_give_the_same_maps(method):
    model = tiny_model("plain")
    options = {"variant": "vit_explain"} if method == "grad_rollout" else {}
    fold, image = vitjax.METHODS[method].fold(model.config, **options), tiny_images(model, 1)[0]
    narrow = backward_fold(model.config, model.params, image, 0, [fold]).results[0]
    with jax.enable_x64(True):
        fold = vitjax.METHODS[method].fold(model.config, **options)
        wide = backward_fold(model.config, model.params, image, 0, [fold]).results[0]
    np.testing.assert_allclose(wide, narrow, rtol=1e-5)
