"""`vitjax.explain`, `explain_many` and `trace` in use, on the bundled scenes and on arrays."""

import numpy as np
import pytest

import vitjax
from tests.cases import tiny_images, tiny_model
from vitjax.data.scenes import scene

pytestmark = pytest.mark.unoptimised


def test_methods_explain_an_image_and_their_maps_are_laid_over_it():
    model, one = vitjax.load("vitjax_scenes"), scene(3)
    explanations = vitjax.explain_many(model, one.image, ["transformer_mm", "rollout:head_fusion=max", "centre"])
    assert list(explanations) == ["transformer_mm", "rollout(head_fusion=max)", "centre"]
    explanation = explanations["transformer_mm"]
    assert explanation.caption(0)["predicted"] == explanation.caption(0)["target"] == "striped star"
    assert [each.maps.shape for each in explanations.values()] == [(1, 8, 8)] * 3
    pixels = explanation.pixels()[0]
    assert (pixels.min(), pixels.max()) == (0, 1)
    assert one.masks[0][np.unravel_index(pixels.argmax(), pixels.shape)]  # its peak lies on the largest object
    overlay = np.asarray(explanation.overlay(0), int)
    difference = np.abs(overlay - one.image).sum(-1)
    assert difference[pixels > 0.9].mean() > difference[pixels < 0.1].mean()


def test_the_target_is_an_index_a_name_a_rank_or_one_of_these_for_each_image():
    model = vitjax.load("vitjax_scenes")
    images = [scene(3).image] * 4
    explanation = vitjax.explain(model, images, "transformer_mm", target=[0, "striped star", "top2", None])
    ranked = explanation.logits[0].argsort()[::-1]
    assert explanation.target.tolist() == [0, model.labels.index("striped star"), ranked[1], ranked[0]]
    np.testing.assert_allclose(explanation.maps[1], explanation.maps[3], rtol=1e-5)
    assert np.abs(explanation.maps[2] - explanation.maps[3]).max() > 0.1 * explanation.maps[3].max()


def test_a_trace_without_a_score_holds_the_same_and_no_gradients():
    model = tiny_model("plain")
    images = tiny_images(model, 1)
    full, bare = vitjax.trace(model, images), vitjax.trace(model, images, score=None)
    assert bare.attention_grad is None and bare.tokens_grad is None
    np.testing.assert_allclose(bare.attention, full.attention, atol=1e-6)
    np.testing.assert_allclose(bare.output, full.output, atol=1e-5)
