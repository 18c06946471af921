"""Options of methods and metrics: refused by type, choice and range before anything is computed or written."""

import numpy as np
import pytest

import vitjax
from tests.cases import tiny_images, tiny_model
from vitjax.data.arrays import Arrays
from vitjax.errors import ConfigError, UnknownNameError
from vitjax.evaluating.job import metric_request
from vitjax.explaining import run
from vitjax.explaining.requests import request
from vitjax.methods import METHODS
from vitjax.methods.options import checked_options
from vitjax.metrics import METRICS

INVALID = [
    ("rollout", {"discard_ratio": "high"}, "discard_ratio='high' is not a finite number"),
    ("rollout", {"discard_ratio": 1.0}, r"discard_ratio=1.0: must be in \[0, 1\)"),
    ("rollout", {"start_layer": 99}, "start_layer=99: the model has blocks 0 to 2"),
    ("rollout", {"head_fusion": "median"}, "head_fusion='median' is not one of 'mean', 'max', 'min'"),
    ("rollout", {"per_head": 1}, "per_head=1 is not true or false"),
    ("raw_attention", {"layer": 1.5}, "layer=1.5 is not a whole number"),
    ("gmar", {"alpha": float("nan")}, "alpha=nan is not a finite number"),
    ("legrad", {"layers": 0}, "layers=0: must be in 1..3"),
    ("tam", {"steps": 0}, "steps=0: must be at least 1"),
    ("integrated_gradients", {"steps": 0}, "steps=0: must be at least 1"),
    ("smooth_grad", {"n": -1}, "n=-1: must be at least 1"),
    ("occlusion", {"stride": 9, "window": 4}, "stride must be in 1..window"),
    ("rise", {"n": 2.5}, "n=2.5 is not a whole number"),
    ("meaningful_perturbation", {"steps": -1}, "steps=-1"),
]


@pytest.fixture
def nothing_computed(monkeypatch):
    def computed(*arguments, **options):
        raise AssertionError("computed something")

    monkeypatch.setattr(run, "compiled", computed)


@pytest.mark.parametrize(("method", "options", "message"), INVALID)
def test_an_invalid_option_of_a_method_is_refused_before_computation(method, options, message, nothing_computed):
    model = tiny_model("plain")
    with pytest.raises(ConfigError, match=message):
        vitjax.explain(model, tiny_images(model, 1), method=method, **options)


@pytest.mark.parametrize(("method", "options", "message"), INVALID[2:12:3])
def test_an_invalid_option_leaves_no_run_directory(method, options, message, tmp_path):
    model = tiny_model("plain")
    data = Arrays(np.zeros((1, *model.config.image_size, 3), np.uint8))
    with pytest.raises(ConfigError, match=message):
        vitjax.evaluate(model, data, ["rollout", {"method": method, **options}], ["complexity"], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_text_with_options_is_a_request_everywhere():
    model = tiny_model("plain")
    images = tiny_images(model, 1)
    texts = vitjax.explain_many(model, images, ["rollout", "gmar:norm=l2", "rollout:head_fusion=max,discard_ratio=0.5"])
    assert list(texts) == ["rollout", "gmar(norm=l2)", "rollout(head_fusion=max, discard_ratio=0.5)"]
    alone = vitjax.explain(model, images, "gmar:norm=l2", alpha=0.5)
    assert alone.label == "gmar(norm=l2, alpha=0.5)" and alone.options["norm"] == "l2"
    assert metric_request("iou:threshold=0.5") == metric_request({"metric": "iou", "threshold": 0.5})
    with pytest.raises(ConfigError, match="needs the key 'method'"):
        request({"norm": "l2"})


def test_words_are_values_where_the_option_takes_no_text():
    for text in ("false", "False", "FALSE"):
        wanted = request({"method": "vtranm", "aggregate": text})
        assert wanted == request({"method": "vtranm", "aggregate": False})
        assert wanted.label == "vtranm(aggregate=False)"
    assert dict(request({"method": "occlusion", "window": "none"}).options)["window"] is None
    hints = {"word": str, "flag": bool, "numbers": tuple[float, ...]}
    defaults = {"word": "", "flag": False, "numbers": ()}
    assert checked_options("x", defaults, hints, {"word": "true"})["word"] == "true"
    assert checked_options("x", defaults, hints, {"numbers": [1, np.float32(2)]})["numbers"] == (1, 2)
    with pytest.raises(ConfigError, match=r"x: numbers=.* is not a list, each a finite number"):
        checked_options("x", defaults, hints, {"numbers": ["one"]})
    with pytest.raises(UnknownNameError, match=r"unknown option of x 'flagg'.*flag"):
        checked_options("x", defaults, hints, {"flagg": True})


def test_every_option_is_annotated_and_its_default_accepted():
    for name, owner in {**METHODS, **METRICS}.items():
        assert owner.check_options(name, owner.options) == owner.options
