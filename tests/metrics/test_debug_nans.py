"""NaN that states an undefined figure is no error where the user has switched on jax_debug_nans or jax_debug_infs."""

import jax
import numpy as np
import pytest

import vitjax
from tests.cases import tiny_images, tiny_model
from tests.metrics.helpers import SIZE, Classifier, mask_of, random_image, tie_free
from vitjax import metrics
from vitjax.data.arrays import Arrays

pytestmark = pytest.mark.unoptimised
FLAT = np.zeros(SIZE, np.float32)
MASKED = ("counts", "pixel_accuracy", "iou", "mean_iou", "average_precision", "f1", "jaccard", "pointing_game")
MASKED += ("energy_pointing_game", "energy_scores", "focus")


@pytest.fixture(autouse=True)
def debugging():
    with jax.debug_nans(True), jax.debug_infs(True):
        yield


@pytest.mark.parametrize("name", MASKED)
def test_undefined_localisation_is_nan(name):
    function = getattr(metrics, name)
    assert np.isnan(np.asarray(function(FLAT, mask_of()))).all()
    assert np.isnan(np.asarray(function(tie_free(), np.ones(SIZE, bool)))).all()


@pytest.mark.parametrize("name", ["deletion", "insertion", "aopc", "log_odds"])
def test_undefined_faithfulness_is_nan(name):
    assert np.isnan(getattr(metrics, name)(FLAT, random_image(), Classifier(), 2))


def test_other_undefined_figures_are_nan():
    assert np.isnan(metrics.perturbation_auc(FLAT, random_image(), Classifier(), levels=(0, 50))).all()
    assert np.isnan(metrics.complexity(FLAT)).all()
    assert np.isnan(metrics.spearman(FLAT, tie_free()))
    key = jax.random.key(0)
    assert np.isnan(metrics.random_target(lambda target: FLAT, FLAT, 0, 1, key=key))
    assert np.isnan(metrics.sensitivity(lambda image: FLAT, random_image(), FLAT, n=1, key=key))


def test_explanations_and_evaluations_report_maps_that_are_not_finite(monkeypatch, tmp_path, four_threads):
    def broken(config, params, image, target, *, key):
        return image[..., 0] * jax.numpy.nan

    monkeypatch.setitem(vitjax.METHODS, "broken", vitjax.METHODS["random"]._replace(explain=broken, level="pixel"))
    model = tiny_model("plain")
    explanation = vitjax.explain(model, tiny_images(model, 1), "broken")
    assert explanation.degenerate.all() and np.isnan(explanation.pixels()).all()
    assert explanation.overlay(0).size == (32, 32)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    data = Arrays(images, masks=np.where(images[..., 0] > 128, 255, 0).astype(np.uint8))
    run = vitjax.evaluate(
        model, data, ["broken", "centre"], ["iou", "perturbation_auc"], tmp_path / "run", profile=False
    )
    statuses = {(row["method"], row["status"]) for row in run.records().to_pylist()}
    assert statuses == {("broken", "not_finite"), ("centre", "ok")}
