"""Curves and order of the removed pixels are those of vitjax.metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from vitjax.evaluating.programs import METRIC_STREAM
from vitjax.explaining.programs import image_key
from vitjax.explore.removal import thresholds
from vitjax.metrics.perturbation import LEVELS, trapezoid


@pytest.mark.parametrize(
    "label, number, measure", [("transformer_mm", 0, "probability"), ("gradient_x_input", 3, "accuracy")]
)
def test_curves_and_areas_are_those_of_perturbation_auc(explored, label, number, measure):
    part = explored.parts[0]
    e, removal = part.explanations[label][number], part.removals[label, number]
    key = jax.random.fold_in(image_key(jnp.uint32(0), e.images.seeds()[0]), METRIC_STREAM)
    own = vitjax.metrics.perturbation_auc(
        jnp.asarray(e.pixels()[0]), jnp.asarray(e.images.x[0]), e.model.logits, measure=measure, key=key
    )
    curve = {"probability": "predicted", "accuracy": "correct"}[measure]
    for order in ("positive", "negative"):
        assert removal.areas[measure][order] == pytest.approx(float(getattr(own, order)), abs=1e-4)
        integral = float(trapezoid(jnp.asarray(removal.curves[order][curve]), LEVELS))
        assert integral == pytest.approx(removal.areas[measure][order], abs=1e-4)


@pytest.mark.parametrize("order", ["positive", "negative"])
def test_pixels_of_each_level_give_the_probability_of_the_curve(explored, order):
    part = explored.parts[0]
    e, removal = part.explanations["transformer_mm"][0], part.removals["transformer_mm", 0]
    pixels, limits = removal.order.size, [0, *thresholds(removal.order.size)]
    codes, images = removal.order, []
    for level in LEVELS:
        count = int(pixels * level / 100)
        if order == "positive":
            gone = codes < limits.index(count) if count < pixels else np.ones_like(codes, bool)
        else:
            gone = codes >= limits.index(pixels - count) if count else np.zeros_like(codes, bool)
        assert gone.sum() == count
        images.append(np.where(gone[..., None], 0, e.images.x[0]))
    logits = np.asarray(e.model.logits(np.stack(images)))
    probabilities = np.asarray(jax.nn.softmax(logits))
    np.testing.assert_allclose(
        removal.curves[order]["predicted"], 100 * probabilities[:, e.predicted[0]], rtol=1e-4, atol=1e-4
    )
    if order == "positive":
        expected = 100 * probabilities[:, e.target[0]]
        np.testing.assert_allclose(removal.curves[order]["target"], expected, rtol=1e-4, atol=1e-4)


def test_one_map_stands_for_all_classes_where_the_method_knows_none(explored):
    part = explored.parts[0]
    assert part.class_agnostic == {"rollout"}
    assert sorted(number for label, number in part.removals if label == "rollout") == [0, 2]
    assert sorted(number for label, number in part.removals if label == "transformer_mm") == [0, 1, 2, 3]
