"""What must hold for every method on every kind of model: one table, tests/cases.py."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests.cases import CASES, CONFIGS, QUICK_CASES, case_id, tiny_batch, tiny_images, tiny_model
from tests.oracles.formulas import FORMULAS, RANDOM
from vitjax.explaining import programs
from vitjax.explaining.programs import TRACES, image_key
from vitjax.explaining.requests import request
from vitjax.methods import METHODS
from vitjax.nn.vit import ViT

pytestmark = pytest.mark.unoptimised

QUICK = [case for case in QUICK_CASES if case["method"] in ("rollout", "smooth_grad")]
FIRST = [next(case for case in CASES if case["method"] == name) for name in METHODS]
SOME_SLOW = [pytest.param(case, id=case_id(case), marks=() if case in QUICK else pytest.mark.slow) for case in FIRST]


SETS = [
    pytest.param(QUICK_CASES, id="quick", marks=pytest.mark.quick_only),
    pytest.param(CASES, id="all", marks=pytest.mark.slow),
]


@pytest.fixture(params=SETS, scope="module")
def cases(request):
    return request.param


@pytest.fixture
def wide():
    with jax.enable_x64(True):
        yield


def explain_all(model, images, cases, **kwargs):
    return vitjax.explain_many(model, images, cases, **kwargs)


def assert_same_maps(ours, theirs, rtol=1e-7):
    for label, expected in theirs.items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours[label], expected, atol=rtol * max(scale, 1e-30), rtol=0, err_msg=label)


def test_batch_size_padding_and_order_do_not_matter(cases, wide):
    model = tiny_model("registers", np.float64)
    targets = [0, 1, 2, 3, 4]
    together = explain_all(model, tiny_batch(model, 5), cases, target=targets, batch_size=2)
    maps = {label: each.maps for label, each in together.items()}
    order = [3, 0, 4, 2, 1]
    permuted = explain_all(model, tiny_batch(model, 5, order), cases, target=order, batch_size=2)
    assert_same_maps({k: e.maps for k, e in permuted.items()}, {k: m[order] for k, m in maps.items()})
    alone = explain_all(model, tiny_batch(model, 5, [2]), cases, target=2)
    assert_same_maps({k: e.maps for k, e in alone.items()}, {k: m[2:3] for k, m in maps.items()})
    for label, each in together.items():
        size = model.config.grid if each.level == "token" else model.config.image_size
        assert each.maps.shape == (5, *size), label
        assert each.maps.dtype == np.float64 and np.isfinite(each.maps).all(), label
        assert np.ptp(each.maps) > 0, label


@pytest.fixture(scope="module")
def shared_maps(cases):
    with jax.enable_x64(True):
        model = tiny_model("distilled", np.float64)
        images = tiny_batch(model, 3)
        return model, images, explain_all(model, images, cases, target=[1, 2, 3])


@pytest.fixture(scope="module")
def maps_in_groups(shared_maps, cases):
    """Of methods that share sweeps, in other company: to compile each by itself, as test_golden does, takes minutes."""
    if cases is QUICK_CASES:
        return {}
    model, images, _ = shared_maps
    folds = [case for case in FIRST if METHODS[case["method"]].fold]
    with jax.enable_x64(True):
        parts = [explain_all(model, images, folds[first::4], target=[1, 2, 3]) for first in range(4)]
    return {label: each.maps for part in parts for label, each in part.items()}


@pytest.mark.parametrize("case", SOME_SLOW)
def test_in_other_company_and_eager_equal_compiled_in_a_shared_sweep(case, shared_maps, maps_in_groups, cases, wide):
    if case not in cases:
        pytest.skip("not in this set of cases")
    model, images, shared = shared_maps
    wanted = request(case)
    maps = maps_in_groups.get(wanted.label)
    if maps is None:  # slow ones are always alone
        maps = vitjax.explain_many(model, images, [case], target=[1, 2, 3])[wanted.label].maps
    assert_same_maps({wanted.label: maps}, {wanted.label: shared[wanted.label].maps})
    key = image_key(jnp.uint32(0), images.seeds()[0])
    with jax.disable_jit(), jax.default_matmul_precision("highest"):
        image = jnp.asarray(images.x[0], np.float64)
        eager = wanted.method.one(model.config, model.params, image, jnp.int32(1), key=key, **dict(wanted.options))
    assert_same_maps({wanted.label: np.asarray(eager)}, {wanted.label: shared[wanted.label].maps[0]})


def test_float32_agrees_with_float64(shared_maps, cases):
    _, images, shared = shared_maps
    for label, explanation in explain_all(tiny_model("distilled"), images, cases, target=[1, 2, 3]).items():
        assert explanation.maps.dtype == explanation.logits.dtype == np.float32
        # A threshold on sorted float32 entries may keep another element than the same in float64, clusters another
        # member; random draws differ in the two precisions.
        unstable = METHODS[explanation.method].ill_conditioned or explanation.method in RANDOM
        if "discard_ratio" not in label and not unstable:
            assert_same_maps({label: explanation.maps}, {label: shared[label].maps}, rtol=5e-5)


def test_bfloat16_model_accumulates_in_float32(cases):
    model = tiny_model("plain", jax.numpy.bfloat16)
    first = [case for case in cases if case in FIRST]  # options do not change in what a method accumulates
    for explanation in explain_all(model, tiny_images(model, 2), first).values():
        assert explanation.maps.dtype == np.float32 and np.isfinite(explanation.maps).all()


def test_products_of_24_layers_do_not_overflow_half_precision():
    """FAILURES 25: (I + A) to the 24th power is 2^24 where float16 ends at 65,504."""
    config = replace(CONFIGS["plain"], depth=24)
    shapes = jax.eval_shape(ViT(config).init, jax.random.key(0), np.zeros((32, 32, 3), np.float32))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jax.numpy.asarray(0.05 * rng.normal(size=leaf.shape), np.float16), shapes)
    model = replace(tiny_model("plain"), config=config, params=params)
    methods = [{"method": "rollout", "variant": "first_left"}, "gmar", "transformer_mm", "vtranm"]
    for explanation in vitjax.explain_many(model, tiny_images(model, 2), methods).values():
        assert explanation.maps.dtype == np.float32 and np.isfinite(explanation.maps).all(), explanation.label
        assert not explanation.degenerate.any(), explanation.label


def test_target_matters_exactly_where_the_method_says_so(cases, wide):
    model = tiny_model("plain", np.float64)
    repeated = tiny_batch(model, 1, [0] * 7)  # with one id: the same random draws
    for label, explanation in explain_all(model, repeated, cases, target=list(range(7))).items():
        spread = np.ptp(explanation.maps, axis=0).max()
        moved = spread > 1e-6 * np.abs(explanation.maps).max()
        assert moved == METHODS[explanation.method].class_specific, label


def test_default_target_is_the_predicted_class_and_top2_the_second():
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
