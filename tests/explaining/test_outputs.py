"""Models whose outputs are no distribution over classes: features of a model without a head, and a single logit."""

import csv
import dataclasses

import jax
import numpy as np
import pytest

import vitjax
from tests.cases import tiny_images, tiny_model
from vitjax import plots
from vitjax.cli.explain import _write_predictions
from vitjax.errors import ConfigError, LabelError
from vitjax.layerwise.probability import log_probabilities, probabilities
from vitjax.layerwise.target import score_gradient
from vitjax.report.compare_page import write_page
from vitjax.rundir.manifest import model_record


def with_classes(count):
    """The tiny model with the first `count` outputs of its head, or without a head."""
    model = tiny_model("plain")
    head = {"kernel": model.params["head"]["kernel"][:, :count], "bias": model.params["head"]["bias"][:count]}
    config = dataclasses.replace(model.config, num_classes=count)
    params = {**model.params, "head": head} if count else {k: v for k, v in model.params.items() if k != "head"}
    return dataclasses.replace(model, config=config, params=params)


@pytest.fixture(scope="module")
def features():
    model = with_classes(0)
    return vitjax.explain(model, tiny_images(model, 2), "rollout", target=3)


@pytest.fixture(scope="module")
def single():
    model = with_classes(1)
    return vitjax.explain(model, tiny_images(model, 2), "rollout")


def test_features_have_no_probabilities(features):
    assert features.verdict(0) == "no classes; explained: feature 3" and features.best(0) == []
    caption = features.caption(1)
    assert caption["predicted_probability"] is caption["target_probability"] is None
    assert caption["target"] == "feature 3"
    with pytest.raises(ConfigError, match="has no head: its outputs are features without probabilities"):
        _ = features.probabilities
    with pytest.raises(ConfigError, match="'probability': model 'plain' has no head"):
        vitjax.trace(features.model, features.images, score="probability")


def test_pictures_and_tables_of_features_show_no_class(features, tmp_path):
    assert len(features.save(tmp_path)) == 3
    _write_predictions(tmp_path / "predictions.csv", features)
    with (tmp_path / "predictions.csv").open() as stream:
        row = next(csv.DictReader(stream))
    assert row["target_name"] == "feature 3" and row["target"] == "3"
    assert not any(row[column] for column in row if column.startswith(("predicted", "top5", "target_prob")))
    shown = {"rollout": features, "saliency": vitjax.explain(features.model, features.images, "saliency", target=3)}
    page = write_page(tmp_path / "page.html", "features", shown).read_text(encoding="utf-8")
    assert "explained: feature 3" in page and "predicted:" not in page
    assert vitjax.figure({"rollout": features}).axes


def test_without_a_target_features_are_neither_predicted_nor_explained(tmp_path):
    model = with_classes(0)
    e = vitjax.explain(model, tiny_images(model, 2), "rollout")
    assert e.target.tolist() == e.predicted.tolist() == [-1, -1] and e.verdict(0) == "no classes"
    assert e.caption(0)["predicted"] == e.caption(0)["target"] == ""
    (row, _) = _write_predictions(tmp_path / "predictions.csv", e)
    assert row.pop("image") == "image0" and set(row.values()) == {None, ""}
    page = write_page(tmp_path / "page.html", "features", {"rollout": e}).read_text()
    assert "explained:" not in page and "predicted:" not in page
    assert len(e.save(tmp_path)) == 3 and vitjax.figure({"rollout": e}).axes


def texts_of(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_where_the_probability_of_one_output_is_shown_it_says_sigmoid(single, tmp_path):
    figure = plots.strip(single.images.pixels[0], single.maps[0], single._cell(0), **single.caption(0))
    assert texts_of(figure).count("class 0 (sigmoid)") == 2
    shown = {"rollout": single, "saliency": vitjax.explain(single.model, single.images, "saliency")}
    page = write_page(tmp_path / "page.html", "one output", shown).read_text(encoding="utf-8").replace("\xa0", " ")
    percent = f"{100 * single.probabilities[0, 0]:.1f}"
    assert f"explained: class 0 ({percent} %, sigmoid)" in page and f"predicted: class 0 ({percent} %, sigmoid)" in page
    assert any("sigmoid" in text for text in texts_of(vitjax.figure(shown["saliency"])))
    assert model_record(single.model)["probability"] == "sigmoid"
    assert model_record(tiny_model("plain"))["probability"] == "softmax"
    assert model_record(with_classes(0))["probability"] is None
    two = vitjax.explain(with_classes(2), single.images, "rollout")
    assert "sigmoid" not in two.verdict(0) and two.predicted.min() >= 0


def test_probability_of_one_output_is_a_sigmoid(single):
    expected = 1 / (1 + np.exp(-single.logits.astype(np.float64)))
    np.testing.assert_allclose(single.probabilities, expected, rtol=1e-5)
    assert single.probabilities.max() < 1 and single.verdict(0) == f"class 0 ({100 * expected[0, 0]:.1f} %, sigmoid)"
    with pytest.raises(LabelError, match="one class, so that there is no second one"):
        vitjax.explain(single.model, single.images, "rollout", target="top2")


@pytest.mark.parametrize("count", [1, 3])
def test_score_gradient_is_the_derivative_of_the_probability(count):
    logits = np.linspace(-2, 1, count, dtype=np.float32)
    expected = jax.grad(lambda logits: probabilities(logits)[0])(logits)
    np.testing.assert_allclose(score_gradient(logits, 0, "probability"), expected, rtol=1e-5)
    assert np.abs(expected).max() > 0.01  # the softmax of one logit would have none
    np.testing.assert_allclose(np.exp(log_probabilities(logits)), probabilities(logits), rtol=1e-5)


def test_map_of_the_probability_of_one_output_is_not_zero(single):
    maps = vitjax.explain(single.model, single.images, {"method": "saliency", "score": "probability"}).maps
    logit = vitjax.explain(single.model, single.images, "saliency").maps
    p = single.probabilities[:, :, None]
    np.testing.assert_allclose(maps, p * (1 - p) * logit, rtol=1e-4)
