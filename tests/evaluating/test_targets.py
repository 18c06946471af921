"""Evaluations that explain the difference of two classes: what is defined is recorded, the rest is refused."""

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.cases import tiny_model
from tests.evaluating.world import Pictures, run
from vitjax.errors import ConfigError, LabelError
from vitjax.explaining.run import explain
from vitjax.images.reading import normalise
from vitjax.layerwise.target import NOT_A_CLASS
from vitjax.models.class_names import Labels
from vitjax.rundir.saved_maps import read_maps

MODEL = replace(tiny_model("plain"), labels=Labels(("ant", "bee", "cat", "dog", "elk", "fox", "gnu")))
METRICS = ["energy_pointing_game", {"metric": "perturbation_auc", "levels": (0, 50, 100)}, "randomization"]


def _without_address(value):
    """A parameter as text; that of a function would differ between the processes of pytest-xdist."""
    return re.sub(r" at 0x\w+", "", str(value))


def test_a_difference_of_classes_is_evaluated_by_the_metrics_that_have_a_meaning(tmp_path):
    source = Pictures(3)
    done = run(
        tmp_path / "run",
        source,
        model=MODEL,
        methods=["gradient_x_input"],
        metrics=METRICS,
        target="bee - fox",
        save_maps="float32",
    )
    records = done.records()
    assert records["status"].to_pylist() == ["ok"] * 3
    assert records["target"].to_pylist() == [NOT_A_CLASS] * 3
    assert records["target_kind"].to_pylist() == ["difference"] * 3 and done.config["target"] == "bee - fox"
    assert np.isnan(records["randomization.random_target"].to_numpy()).all()
    defined = [name for name in records.column_names if name.endswith((".value", ".positive", ".positive_label"))]
    assert len(defined) == 4
    for name in defined:
        assert np.isfinite(records[name].to_numpy()).all(), name
    x = normalise(np.stack([source.read(index).image for index in range(3)]), MODEL.preprocessing)
    expected = explain(MODEL, x, "gradient_x_input", "bee - fox").maps
    saved = read_maps(tmp_path / "run", "gradient_x_input")
    for index, name in enumerate(source.ids):
        np.testing.assert_allclose(saved[name], expected[index], atol=1e-5 * np.abs(expected[index]).max())
    overlays = done._overlays()
    assert set(overlays(list(source.ids), "gradient_x_input")) == set(source.ids)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"metrics": ["aopc"]}, ConfigError, "metric 'aopc' explains a probability"),
        ({"metrics": ["log_odds"]}, ConfigError, "metric 'log_odds' explains a probability"),
        ({"metrics": ["insertion"]}, ConfigError, "metric 'insertion' explains a probability"),
        ({"metrics": ["deletion"]}, ConfigError, "metric 'deletion' explains a probability"),
        ({"methods": ["vtranm"]}, ConfigError, "method 'vtranm' explains a probability"),
        ({"target": "top3"}, ConfigError, "has several maps for an image"),
        ({"target": "bee - owl"}, LabelError, "neither a class nor the difference"),
        ({"target": np.ones(7)}, ConfigError, "one target for all images"),
        ({"target": np.argmax}, ConfigError, "one target for all images"),
    ],
    ids=_without_address,
)
def test_what_a_difference_does_not_have_is_refused_before_anything_is_written(tmp_path, options, error, message):
    arguments = {"methods": ["rollout"], "metrics": ["energy_pointing_game"], "target": "bee - fox", **options}
    with pytest.raises(error, match=message):
        run(tmp_path / "run", Pictures(2), model=MODEL, **arguments)
    assert not (tmp_path / "run").exists()
