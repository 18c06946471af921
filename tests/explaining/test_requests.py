"""Which methods a model can have: groups leave the others out and say so, and names of such methods are errors."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests.cases import CASES, tiny_images, tiny_model
from tests.explaining.test_outputs import with_classes
from vitjax.errors import ConfigError, UnknownNameError
from vitjax.explaining.requests import check_methods, check_needs, expanded, request, requests_for
from vitjax.methods import METHODS
from vitjax.nn.network import network

pytestmark = pytest.mark.unoptimised

QUICK = [name for name, method in METHODS.items() if not method.slow]
EXPLAIN_AN_OUTPUT = [name for name, method in METHODS.items() if "head" in method.needs]
PROBABILITY = {
    name
    for name, method in METHODS.items()
    if "probability" in method.needs or method.options.get("score") == "probability"
}


def test_groups_are_every_method_of_a_complete_model(capsys):
    model = tiny_model("plain")
    assert expanded(model, "all") == QUICK and expanded(model, "everything") == list(METHODS)
    assert capsys.readouterr().err == ""
    mixed = expanded(model, ["rise:n=3", "all", {"method": "rollout", "head_fusion": "max"}])
    assert mixed == ["rise:n=3", *QUICK, {"method": "rollout", "head_fusion": "max"}]
    assert [wanted.label for wanted in requests_for(model, ["all", "rollout", "all"])] == QUICK
    assert expanded(model, "rollout:head_fusion=max") == ["rollout:head_fusion=max"]


def test_groups_leave_out_what_a_model_without_a_class_token_cannot_have(capsys, monkeypatch):
    reads_class_token = METHODS["rollout"]._replace(needs=frozenset({"class_token"}))
    monkeypatch.setitem(METHODS, "reader", reads_class_token)
    assert "reader" in expanded(tiny_model("plain"), "all") and capsys.readouterr().err == ""
    model = tiny_model("gap")
    assert expanded(model, "all") == [name for name in QUICK if name != "reader"]
    assert capsys.readouterr().err == "methods 'all' of 'gap' leave out reader (needing a class token)\n"
    with pytest.raises(ConfigError, match="method 'reader' needs a class token; 'gap' has none"):
        check_needs(model, request("reader"))


def test_groups_leave_out_methods_without_meaning_on_an_architecture(capsys, monkeypatch):
    def fold(config):
        raise ConfigError("picky needs ten blocks")

    monkeypatch.setitem(METHODS, "picky", METHODS["rollout"]._replace(fold=fold))
    model = tiny_model("plain")
    assert "picky" not in expanded(model, "all")
    assert capsys.readouterr().err == "methods 'all' of 'plain' leave out picky (picky needs ten blocks)\n"
    with pytest.raises(ConfigError, match="picky needs ten blocks"):
        check_needs(model, request("picky"))


def test_groups_for_a_model_without_a_head_depend_on_the_target(capsys):
    model = with_classes(0)
    agnostic = [name for name in METHODS if name not in EXPLAIN_AN_OUTPUT]
    assert {"rollout", "raw_attention", "centre", "random"} <= set(agnostic)
    assert expanded(model, "everything") == agnostic
    error = capsys.readouterr().err
    assert (
        error.count("\n") == 1
        and "(needing a head that predicts a class, or the number of a feature as target)" in error
    )
    assert expanded(model, "everything", 3) == [name for name in METHODS if name not in PROBABILITY]
    error = capsys.readouterr().err
    assert all(name in error for name in PROBABILITY) and "saliency" not in error
    for target in (None, [3, None], [None]):
        with pytest.raises(ConfigError, match="method 'saliency' needs a head that predicts a class, or the number of"):
            requests_for(model, ["saliency"], target)
    with pytest.raises(ConfigError, match="'rise' needs a head that gives probabilities, or score=logit; 'plain' has"):
        requests_for(model, ["rise"], 3)
    with pytest.raises(ConfigError, match="'vit_cx' needs a head that gives probabilities; 'plain' has"):
        requests_for(model, ["vit_cx"], 3)
    assert requests_for(model, ["rise:score=logit"], 3)[0].label == "rise(score=logit)"


def test_unknown_names_and_empty_requests_are_errors():
    model = tiny_model("plain")
    for methods in (["all", "rolout"], "rolout", ["everything", "rollout:fusion=max"]):
        with pytest.raises(UnknownNameError):
            expanded(model, methods)
        with pytest.raises(UnknownNameError):
            check_methods(methods)
    for methods in ([], ()):
        with pytest.raises(ConfigError, match="no methods requested"):
            requests_for(model, methods)


def test_explain_many_takes_a_group_as_a_text(capsys):
    model = with_classes(0)
    es = vitjax.explain_many(model, tiny_images(model, 1), "all")
    assert list(es) == [name for name in QUICK if name not in EXPLAIN_AN_OUTPUT]
    assert capsys.readouterr().err.count("leave out") == 1
    assert {e.verdict(0) for e in es.values()} == {"no classes"} and es["rollout"].target.tolist() == [-1]


FEW = ("transformer_mm", "attn_lrp", "gradient_x_input", "ag_cam")


@pytest.mark.parametrize("names", [FEW, pytest.param([*METHODS], marks=pytest.mark.slow)], ids=["few", "every method"])
def test_a_feature_is_explained_as_the_logit_of_an_identity_head_is(names):
    """A head whose kernel is the identity has the features as logits."""
    headless = with_classes(0)
    width = headless.config.width
    head = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
    config = dataclasses.replace(headless.config, num_classes=width)
    model = dataclasses.replace(headless, config=config, params={**headless.params, "head": head})
    cases = [case for case in CASES if case["method"] in names and case["method"] not in PROBABILITY]
    cases = [case for case in cases if case.get("score") != "probability"]
    x = tiny_images(model, 1)
    expected = vitjax.explain_many(model, x, cases, target=3)
    for label, e in vitjax.explain_many(headless, x, cases, target=3).items():
        reference = expected[label].maps
        assert np.abs(e.maps - reference).max() <= 2e-5 * max(np.abs(reference).max(), 1e-6), label


def test_gradients_of_a_feature_equal_those_by_hand():
    model = with_classes(0)
    x = tiny_images(model, 1)
    e = vitjax.explain(model, x, "saliency", target=3)
    with jax.default_matmul_precision("highest"):
        gradient = jax.grad(lambda image: network(model.config).apply({"params": model.params}, image)[3])(x[0])
    np.testing.assert_allclose(e.maps[0], np.abs(gradient).max(-1), rtol=1e-4, atol=1e-6)
