"""What must hold for every method on every kind of model: one table, tests/cases.py."""

import jax
import numpy as np
import pytest

import vitjax
from tests.cases import CASES, case_id, tiny_images, tiny_model
from vitjax.api import TRACES, compiled, request
from vitjax.methods import METHODS

# One case of every kind of sweep stays in the quick suite.
QUICK = ({"method": "rollout"}, {"method": "transformer_mm"}, {"method": "legrad"}, {"method": "tam", "steps": 3})
SOME_SLOW = [pytest.param(case, id=case_id(case), marks=() if case in QUICK else (pytest.mark.slow,)) for case in CASES]


def explain_all(model, images, **kwargs):
    return vitjax.explain_many(model, images, CASES, **kwargs)


def assert_same_maps(ours, theirs, rtol=2e-5):
    for label, expected in theirs.items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours[label], expected, atol=rtol * max(scale, 1e-30), rtol=0, err_msg=label)


@pytest.mark.parametrize("name", ["registers", *(pytest.param(n, marks=pytest.mark.slow) for n in ("plain", "gap"))])
def test_batch_size_padding_and_order_do_not_matter(name):
    model = tiny_model(name)
    images = tiny_images(model, 5)
    targets = [0, 1, 2, 3, 4]
    together = {k: e.maps for k, e in explain_all(model, images, target=targets, batch_size=2).items()}
    order = [3, 0, 4, 2, 1]
    permuted = explain_all(model, images[order], target=order, batch_size=2)
    assert_same_maps({k: e.maps for k, e in permuted.items()}, {k: m[order] for k, m in together.items()})
    alone = explain_all(model, images[2:3], target=2)
    assert_same_maps({k: e.maps for k, e in alone.items()}, {k: m[2:3] for k, m in together.items()})
    for label, maps in together.items():
        assert maps.shape == (5, *model.config.grid), label
        assert maps.dtype == np.float32 and np.isfinite(maps).all(), label
        assert np.ptp(maps) > 0, label


@pytest.mark.parametrize("case", SOME_SLOW)
def test_alone_equals_in_shared_sweep(case, shared_maps):
    model, images, shared = shared_maps
    options = {k: v for k, v in case.items() if k != "method"}
    alone = vitjax.explain(model, images, method=case["method"], target=[1, 2, 3], **options)
    assert_same_maps({alone.label: alone.maps}, {alone.label: shared[alone.label].maps})


@pytest.fixture(scope="module")
def shared_maps():
    model = tiny_model("distilled")
    images = tiny_images(model, 3)
    return model, images, explain_all(model, images, target=[1, 2, 3])


@pytest.mark.parametrize("case", SOME_SLOW)
def test_jit_equals_eager(case, shared_maps):
    model, images, shared = shared_maps
    wanted = request(case)
    with jax.disable_jit(), jax.default_matmul_precision("highest"):
        eager = wanted.method.one(
            model.config, model.params, images[0], np.int32(1), key=jax.random.key(0), **dict(wanted.options)
        )
    assert_same_maps({wanted.label: np.asarray(eager)}, {wanted.label: shared[wanted.label].maps[0]})


def test_float64_model_agrees_and_stays_float64(shared_maps):
    _, images, shared = shared_maps
    with jax.enable_x64(True):
        wide = explain_all(tiny_model("distilled", np.float64), images.astype(np.float64), target=[1, 2, 3])
        for label, explanation in wide.items():
            assert explanation.maps.dtype == explanation.logits.dtype == np.float64
            # A threshold on sorted float32 entries may keep another element than the same in float64.
            if "discard_ratio" not in label:
                assert_same_maps({label: shared[label].maps}, {label: explanation.maps}, rtol=5e-5)


def test_bfloat16_model_accumulates_in_float32():
    model = tiny_model("plain", jax.numpy.bfloat16)
    for explanation in explain_all(model, tiny_images(model, 2)).values():
        assert explanation.maps.dtype == np.float32 and np.isfinite(explanation.maps).all()


def test_target_matters_exactly_where_the_method_says_so():
    model = tiny_model("plain")
    repeated = np.repeat(tiny_images(model, 1), 7, axis=0)
    for label, explanation in explain_all(model, repeated, target=list(range(7))).items():
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
    compiled.cache_clear()
    TRACES.clear()
    for batch in (images, images[:5], images[:3]):
        vitjax.explain(model, batch, method="rollout", batch_size=3)
    vitjax.explain(model, images, method="rollout", target=2, batch_size=3)
    assert list(TRACES.values()) == [1]
    vitjax.explain(model, images[:1], method="rollout", batch_size=3)
    assert list(TRACES.values()) == [1, 1]


def test_every_method_is_documented():
    assert {case["method"] for case in CASES} == set(METHODS), "a method has no case"
    for name, method in METHODS.items():
        module = method.definition.__module__
        assert module == f"vitjax.methods.{name}", "file name == key"
        assert method.cite and method.title and method.cost
        doc = method.definition.__doc__ or ""
        for section in ("Cost:", "Example:", "Returns"):
            assert section in doc, (name, section)
        for option in method.options:
            assert option in doc, (name, option)
