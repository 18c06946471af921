"""Maps against recorded outputs of the authors' code, within the recorded tolerances, in float32 and float64."""

import functools
import json

import jax
import numpy as np
import pytest

import vitjax
from tests.conftest import SHARED, needs_shared
from vitjax.explaining.requests import request
from vitjax.methods import METHODS

GOLDEN = SHARED / "golden"
pytestmark = needs_shared


def recorded_calls():
    """Yields (file, variant, call) of every recorded map whose method is registered."""
    if not GOLDEN.exists():
        return
    for name, entry in json.loads((GOLDEN / "MANIFEST.json").read_text())["files"].items():
        for variant, call in entry["calls"].items():
            if call["method"] in METHODS:
                yield name, variant, call


CALLS = list(recorded_calls())
QUICK = [recorded for recorded in CALLS if not METHODS[recorded[2]["method"]].slow]
SLOW = [recorded for recorded in CALLS if METHODS[recorded[2]["method"]].slow]


def call_params(calls, marks=()):
    return [pytest.param(name, variant, call, id=f"{name}-{variant}", marks=marks) for name, variant, call in calls]


def load_model(dtype):
    return vitjax.load(
        "deit_tiny_patch16_224", weights=SHARED / "data" / "deit_tiny_patch16_224.safetensors", dtype=dtype
    )


def computed(dtype, kind, call):
    """Which recorded images have a target of this kind, and their maps for one recorded call."""
    label = request({"method": call["method"], **call["options"]}).label
    if METHODS[call["method"]].slow:
        has_target, explanations = explained(dtype, kind, ((call["method"], tuple(call["options"].items())),))
    else:
        quick = tuple((quick_call["method"], tuple(quick_call["options"].items())) for _, _, quick_call in QUICK)
        has_target, explanations = explained(dtype, kind, quick)
    return has_target, explanations[label].maps


@functools.cache
def explained(dtype, kind, calls):
    """Explanations of all calls for the recorded images, in one shared pass; of two images for a slow method."""
    inputs = np.load(GOLDEN / "inputs.npz")
    targets = inputs[kind]
    has_target = targets >= 0
    if METHODS[calls[0][0]].slow:
        has_target &= np.cumsum(has_target) <= 2
    requests = [{"method": method, **dict(options)} for method, options in calls]
    with jax.enable_x64(dtype == "float64"):
        images = inputs["images"][has_target].astype(dtype)
        # With a fixed batch size, the number of images does not cause another compilation.
        explanations = vitjax.explain_many(
            load_model(dtype), images, requests, targets[has_target].tolist(), batch_size=2
        )
    return has_target, explanations


def reduce_to_patches(maps, how, patch=16):
    if how is None:
        return maps.reshape(len(maps), -1)
    b, h, w = maps.shape
    cells = maps.reshape(b, h // patch, patch, w // patch, patch)
    reduced = cells.sum((2, 4)) if how == "patch_sum" else cells.mean((2, 4))
    return reduced.reshape(b, -1)


@pytest.mark.parametrize("kind", ["pred", pytest.param("second", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "variant", "call"), call_params(QUICK) + call_params(SLOW, marks=pytest.mark.slow))
def test_maps_equal_recorded_maps(name, variant, call, dtype, kind):
    arrays = np.load(GOLDEN / f"{name}.npz")
    key = f"maps_{kind}" + ("" if variant == "main" else f"__{variant}")
    has_float64 = f"{key}_f64" in arrays.files  # False for one file
    if METHODS[call["method"]].slow and (dtype, kind) != ("float64" if has_float64 else "float32", "pred"):
        pytest.skip("slow methods are compared in the best precision recorded, for the predicted class")
    tolerance = call["tol64" if dtype == "float64" else "tol32"]
    if tolerance is None or (dtype == "float64" and not has_float64):
        pytest.skip(f"recorded as not comparable in {dtype}")
    expected = arrays[f"{key}_f64" if dtype == "float64" else key]
    has_target, maps = computed(dtype, kind, call)
    ours = reduce_to_patches(maps, call.get("reduce"))
    assert ours.dtype == dtype
    expected = expected[has_target]
    # Where a recorded map is 0 everywhere (some of Grad-CAM), `scale` is 0, so that the map must be exactly 0.
    error, scale = np.abs(ours - expected).max(axis=1), np.abs(expected).max(axis=1)
    assert (error <= tolerance * scale).all(), error / scale


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_logits_equal_recorded_logits(dtype, tolerance):
    inputs = np.load(GOLDEN / "inputs.npz")
    with jax.enable_x64(dtype == "float64"):
        logits = np.asarray(load_model(dtype).logits(inputs["images"].astype(dtype)))
    expected = inputs["logits_f64" if dtype == "float64" else "logits"]
    assert np.abs(logits - expected).max() <= tolerance
    np.testing.assert_array_equal(logits.argmax(-1), inputs["pred"])
