"""Properties of every method on every kind of model. The methods and models are those of tests/cases.py."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests.cases import CASES, CONFIGS, QUICK_CASES, case_id, tiny_batch, tiny_images, tiny_model
from vitjax.explaining import programs
from vitjax.explaining.programs import TRACES, image_key
from vitjax.explaining.requests import request
from vitjax.methods import METHODS
from vitjax.nn.vit import ViT
from vitjax.verifying.formulas import FORMULAS, RANDOM

pytestmark = pytest.mark.unoptimised

QUICK = [case for case in QUICK_CASES if case["method"] in ("rollout", "smooth_grad")]
FIRST_CASES = [next(case for case in CASES if case["method"] == name) for name in METHODS]
FIRST_CASE_PARAMS = [
    pytest.param(case, id=case_id(case), marks=() if case in QUICK else pytest.mark.slow) for case in FIRST_CASES
]


CASE_SETS = [
    pytest.param(QUICK_CASES, id="quick", marks=pytest.mark.quick_only),
    pytest.param(CASES, id="all", marks=pytest.mark.slow),
]


@pytest.fixture(params=CASE_SETS, scope="module")
def cases(request):
    return request.param


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def explain_all(model, images, cases, **kwargs):
    return vitjax.explain_many(model, images, cases, **kwargs)


def assert_same_maps(ours, theirs, rtol=1e-7):
    for label, expected in theirs.items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours[label], expected, atol=rtol * max(scale, 1e-30), rtol=0, err_msg=label)


def test_maps_do_not_depend_on_batch_size_padding_or_order(cases, x64):
    model = tiny_model("registers", np.float64)
    cases = [case for case in cases if case in FIRST_CASES]
    targets = [0, 1, 2, 3, 4]
    explanations = explain_all(model, tiny_batch(model, 5), cases, target=targets, batch_size=2)
    maps = {label: explanation.maps for label, explanation in explanations.items()}
    order = [3, 0, 4, 2, 1]
    permuted = explain_all(model, tiny_batch(model, 5, order), cases, target=order, batch_size=2)
    assert_same_maps({k: e.maps for k, e in permuted.items()}, {k: m[order] for k, m in maps.items()})
    alone = explain_all(model, tiny_batch(model, 5, [2]), cases, target=2)
    assert_same_maps({k: e.maps for k, e in alone.items()}, {k: m[2:3] for k, m in maps.items()})
    for label, explanation in explanations.items():
        size = model.config.grid if explanation.level == "token" else model.config.image_size
        assert explanation.maps.shape == (5, *size), label
        assert explanation.maps.dtype == np.float64 and np.isfinite(explanation.maps).all(), label
        assert np.ptp(explanation.maps) > 0, label


@pytest.fixture(scope="module")
def shared_maps(cases):
    with jax.enable_x64(True):
        model = tiny_model("distilled", np.float64)
        images = tiny_batch(model, 3)
        return model, images, explain_all(model, images, cases, target=[1, 2, 3])


@pytest.fixture(scope="module")
def maps_in_groups(shared_maps, cases):
    """Maps of the folds, in four shared passes of different methods. Compiling each method alone takes minutes."""
    if cases is QUICK_CASES:
        return {}
    model, images, _ = shared_maps
    folds = [case for case in FIRST_CASES if METHODS[case["method"]].fold]
    with jax.enable_x64(True):
        groups = [explain_all(model, images, folds[first::4], target=[1, 2, 3]) for first in range(4)]
    return {label: explanation.maps for group in groups for label, explanation in group.items()}


@pytest.mark.parametrize("case", FIRST_CASE_PARAMS)
def test_map_is_the_same_in_any_shared_pass_and_in_eager_mode(case, shared_maps, maps_in_groups, cases, x64):
    if case not in cases:
        pytest.skip("not in this set of cases")
    model, images, shared = shared_maps
    case_request = request(case)
    label = case_request.label
    maps = maps_in_groups.get(label)
    if maps is None:
        maps = vitjax.explain_many(model, images, [case], target=[1, 2, 3])[label].maps
    assert_same_maps({label: maps}, {label: shared[label].maps})
    key = image_key(jnp.uint32(0), images.seeds()[0])
    with jax.disable_jit(), jax.default_matmul_precision("highest"):
        image = jnp.asarray(images.x[0], np.float64)
        options = dict(case_request.options)
        eager = case_request.method.one(model.config, model.params, image, jnp.int32(1), key=key, **options)
    assert_same_maps({label: np.asarray(eager)}, {label: shared[label].maps[0]})


def test_float32_agrees_with_float64(shared_maps, cases):
    _, images, shared = shared_maps
    for label, explanation in explain_all(tiny_model("distilled"), images, cases, target=[1, 2, 3]).items():
        assert explanation.maps.dtype == explanation.logits.dtype == np.float32
        # Thresholds and clusters may select different elements in float32 and float64, and random draws differ.
        unstable = METHODS[explanation.method].ill_conditioned or explanation.method in RANDOM
        if "discard_ratio" not in label and not unstable:
            assert_same_maps({label: explanation.maps}, {label: shared[label].maps}, rtol=5e-5)


def test_bfloat16_model_accumulates_in_float32(cases):
    model = tiny_model("plain", jax.numpy.bfloat16)
    # One case per method is enough, because options do not change the dtype that a method accumulates in.
    cases_by_method = [case for case in cases if case in FIRST_CASES]
    for explanation in explain_all(model, tiny_images(model, 2), cases_by_method).values():
        assert explanation.maps.dtype == np.float32 and np.isfinite(explanation.maps).all()


def test_products_of_24_layers_do_not_overflow_half_precision():
    """(I + A) to the 24th power reaches 2^24, and the largest float16 is 65,504."""
    config = replace(CONFIGS["plain"], depth=24)
    shapes = jax.eval_shape(ViT(config).init, jax.random.key(0), np.zeros((32, 32, 3), np.float32))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jax.numpy.asarray(0.05 * rng.normal(size=leaf.shape), np.float16), shapes)
    model = replace(tiny_model("plain"), config=config, params=params)
    methods = [{"method": "rollout", "variant": "first_left"}, "gmar", "transformer_mm", "vtranm"]
    for explanation in vitjax.explain_many(model, tiny_images(model, 2), methods).values():
        assert explanation.maps.dtype == np.float32 and np.isfinite(explanation.maps).all(), explanation.label
        assert not explanation.degenerate.any(), explanation.label


def test_maps_depend_on_the_target_if_and_only_if_the_method_is_class_specific(cases, x64):
    model = tiny_model("plain", np.float64)
    cases = [case for case in cases if case in FIRST_CASES]
    repeated = tiny_batch(model, 1, [0] * 7)  # all with the same id, so that random draws are the same
    for label, explanation in explain_all(model, repeated, cases, target=list(range(7))).items():
        spread = np.ptp(explanation.maps, axis=0).max()
        differs = spread > 1e-6 * np.abs(explanation.maps).max()
        assert differs == METHODS[explanation.method].class_specific, label


def test_default_target_is_the_predicted_class_and_top2_the_second_class():
    model = tiny_model("plain")
    images = tiny_images(model, 4)
    first = vitjax.explain(model, images, method="transformer_mm")
    np.testing.assert_array_equal(first.target, first.logits.argmax(-1))
    second = vitjax.explain(model, images, method="transformer_mm", target="top2")
    np.testing.assert_array_equal(second.target, np.argsort(-second.logits, axis=-1)[:, 1])
    assert not np.allclose(first.maps, second.maps)
    logits = np.asarray(model.logits(images))
    np.testing.assert_allclose(first.logits, logits, atol=1e-5 * np.abs(logits).max())


def test_one_trace_per_shape():
    model = tiny_model("plain")
    images = tiny_images(model, 7)
    programs._compiled.cache_clear()
    TRACES.clear()
    for batch in (images, images[:5], images[:3]):
        vitjax.explain(model, batch, method="rollout", batch_size=3)
    vitjax.explain(model, images, method="rollout", target=2, batch_size=3)
    assert list(TRACES.values()) == [1]
    vitjax.explain(model, images[:1], method="rollout", batch_size=3)
    assert list(TRACES.values()) == [1, 1]


def test_every_method_is_documented():
    assert {case["method"] for case in CASES} == set(METHODS), "a method has no case"
    assert set(FORMULAS) | set(RANDOM) == set(METHODS), "a method has no independent formula to equal"
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert [name for name in METHODS if f"`{name}`" not in readme] == []
    for name, method in METHODS.items():
        module = method.definition.__module__
        assert module == f"vitjax.methods.{name}", "file name == key"
        assert method.cite and method.title and method.cost
        doc = method.definition.__doc__ or ""
        for section in ("Cost:", "Example:", "Returns"):
            assert section in doc, (name, section)
        for option in method.options:
            assert option in doc, (name, option)
