"""Evaluation of models without a head, and with one output: nothing is counted as a prediction that is none."""

import numpy as np
import pytest

from tests.evaluating.world import Pictures, run
from tests.explaining.test_outputs import with_classes
from vitjax.errors import ConfigError


def test_records_of_features_have_no_prediction(tmp_path):
    done = run(tmp_path / "run", Pictures(2), model=with_classes(0), methods=["rollout"], metrics=["iou"])
    records = done.records()
    assert records["status"].to_pylist() == ["ok", "ok"] and records["prediction"].to_pylist() == [-1, -1]
    assert np.isnan(records["confidence"].to_numpy()).all()


def test_confidence_of_one_output_is_a_sigmoid(tmp_path):
    done = run(tmp_path / "run", Pictures(2), model=with_classes(1), methods=["rollout"], metrics=["deletion"])
    records = done.records()
    confidence = records["confidence"].to_numpy()
    assert records["prediction"].to_pylist() == [0, 0] and ((confidence > 0) & (confidence < 1)).all()
    assert done.config["model"]["probability"] == "sigmoid"  # reports show it among the facts of the run
    page = next(path for path in done.report(with_pictures=False) if path.name == "report.html")
    assert "<dt>model.probability</dt><dd>sigmoid</dd>" in page.read_text(encoding="utf-8")
    assert (records["deletion.value"].to_numpy() < 1).all()  # the area under a softmax of one logit would be 1


@pytest.mark.parametrize(
    ("classes", "options", "what"),
    [
        (0, {"metrics": ["deletion"]}, "metric 'deletion'"),
        (0, {"min_confidence": 0.5}, "min_confidence"),
        (0, {"only_correct": True}, "only_correct"),
        (0, {"target": "label"}, "target 'label'"),
        (1, {"only_correct": True}, "only_correct"),
        (1, {"target": "top2"}, "target 'top2'"),
        (1, {"metrics": ["perturbation_auc"]}, "metric 'perturbation_auc' with measure='accuracy'"),
    ],
)
def test_what_needs_classes_is_refused_before_anything_is_written(tmp_path, classes, options, what):
    arguments = {"methods": ["rollout"], "metrics": ["iou"], **options}
    with pytest.raises(ConfigError, match=rf"{what} cannot be used with model 'plain', which has (one|no head)"):
        run(tmp_path / "run", Pictures(2), model=with_classes(classes), **arguments)
    assert not (tmp_path / "run").exists()
