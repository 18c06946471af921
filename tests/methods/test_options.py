"""Options of methods and metrics: refused by type, choice and range before anything is computed or written."""

import numpy as np
import pytest

import vitjax
from tests.cases import tiny_images, tiny_model
from vitjax.data.arrays import Arrays
from vitjax.errors import ConfigError, UnknownNameError
from vitjax.evaluating.job import metric_request
from vitjax.explaining import batch_runner
from vitjax.explaining.requests import request
from vitjax.methods import METHODS
from vitjax.methods.options import checked_options
from vitjax.metrics import METRICS

INVALID = [
    ("rollout", {"discard_ratio": "high"}, "discard_ratio='high' is not a finite number"),
    ("rollout", {"discard_ratio": 1.0}, r"discard_ratio=1.0: must be in \[0, 1\)"),
    ("rollout", {"alpha": 0}, r"alpha=0: must be in \(0, 1\]"),
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
    ("meaningful_perturbation", {"blur": 10**9}, "blur=1000000000.0: must not exceed the image"),
    ("meaningful_perturbation", {"learning_rate": 0}, "learning_rate=0: must be above 0"),
    ("rise", {"n": 10**9}, "n=1000000000: must be at least 1, and at most 1000000"),
    ("rise", {"cells": 10**9}, "cells=1000000000: must be at least 1, and at most"),
    ("rise", {"cells": 100}, "cells=100: must not exceed the image"),
    ("rise", {"keep": [0.5]}, r"keep=\[0.5\] is not a finite number"),
    ("vit_cx", {"noise": -0.1}, "noise=-0.1: must be at least 0"),
    ("vit_cx", {"distance": 0}, "distance=0: must be above 0"),
    ("gmar", {"alpha": 10**400}, r"alpha=1000.*: must be in \["),
    ("gmar", {"alpha": {"a": 1}}, "alpha={'a': 1} is not a finite number"),
    ("rollout", {"start_layer": True}, "start_layer=True is not a whole number"),
    ("tam", {"start_layer": 2}, "start_layer=2: the chain begins at block 1 or below"),
    ("legrad", {"layers": 10**9}, r"layers=1000000000: must be in 1\.\.3"),
    ("rollout:discard_ratio=0.5", {"discard_ratio": 0.9}, "discard_ratio is given twice"),
    ("rollout:head_fusion=max,head_fusion=min", {}, "head_fusion is given twice"),
]


@pytest.fixture
def nothing_computed(monkeypatch):
    def computed(*arguments, **options):
        raise AssertionError("computed something")

    monkeypatch.setattr(batch_runner, "compiled", computed)


@pytest.mark.parametrize(("method", "options", "message"), INVALID)
def test_an_invalid_option_of_a_method_is_refused_before_computation(method, options, message, nothing_computed):
    model = tiny_model("plain")
    with pytest.raises(ConfigError, match=message):
        vitjax.explain(model, tiny_images(model, 1), method=method, **options)


@pytest.mark.parametrize(("method", "options", "message"), [*INVALID[2:12:3], INVALID[20]])
def test_an_invalid_option_leaves_no_run_directory(method, options, message, tmp_path):
    model = tiny_model("plain")
    data = Arrays(np.zeros((1, *model.config.image_size, 3), np.uint8))
    with pytest.raises(ConfigError, match=message):
        vitjax.evaluate(model, data, ["rollout", {"method": method, **options}], ["complexity"], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ({"metric": "randomization", "cuts": (99,)}, "cuts=.*: must be numbers of randomised blocks, 0 to 3"),
        ({"metric": "aopc", "levels": (50, 10)}, "levels=.*: must be at least two increasing percentages"),
        ({"metric": "aopc", "levels": (0, 500)}, r"levels=.*: must be in \[0, 100\]"),
        ({"metric": "deletion", "chunk": 0}, "chunk=0: must be at least 1"),
        ({"metric": "deletion", "steps": 10**10}, "steps=10000000000: must be at least 1, and at most"),
        ({"metric": "complexity", "resolution": ["grid"]}, "resolution=.* is not one of 'pixels', 'grid'"),
        ({"metric": "sensitivity", "radius": -1}, "radius=-1: must be above 0"),
    ],
)
def test_an_invalid_option_of_a_metric_leaves_no_run_directory(metric, message, tmp_path):
    model = tiny_model("plain")
    data = Arrays(np.zeros((1, *model.config.image_size, 3), np.uint8))
    with pytest.raises(ConfigError, match=message):
        vitjax.evaluate(model, data, ["rollout"], [metric], tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", [{"batch_size": 0}, {"batch_size": 2.0}, {"seed": -1}, {"seed": 2**40}])
def test_batch_size_and_seed_are_checked_before_computation(given, nothing_computed):
    model = tiny_model("plain")
    with pytest.raises(ConfigError, match=f"^{next(iter(given))}=.*must be a whole number"):
        vitjax.explain(model, tiny_images(model, 1), method="random", **given)


def test_numbers_of_numpy_and_whole_numbers_are_the_values_that_they_stand_for():
    wanted = request("gmar", alpha=2.0, start_layer=1, normalize=True)
    for alpha, layer, normalize in ((2, np.int64(1), np.bool_(True)), (np.float32(2), np.asarray(1), "True")):
        given = request("gmar", alpha=alpha, start_layer=layer, normalize=normalize)
        assert given == wanted and given.label == "gmar(alpha=2.0, start_layer=1, normalize=True)"
        assert {type(value) for _, value in given.options} == {float, int, bool, str}
    levels = METRICS["aopc"].check_options("aopc", {"levels": np.asarray([0, 50])})["levels"]
    assert levels == (0, 50) and {type(level) for level in levels} == {float}


def test_a_text_that_python_cannot_read_is_an_error_of_one_line():
    for text in ("((" * 5000, "{[]:1}", "-" * 20000 + "1", "9" * 5000):
        with pytest.raises(ConfigError, match=r"discard_ratio=.* is not a finite number"):
            request(f"rollout:discard_ratio={text}")


@pytest.mark.slow
def test_tam_starts_at_block_4_or_below():
    model = tiny_model("plain")
    images = tiny_images(model, 1)
    default, explicit = (vitjax.explain(model, images, "tam", steps=2, **each) for each in ({}, {"start_layer": 1}))
    np.testing.assert_array_equal(default.maps, explicit.maps)


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
