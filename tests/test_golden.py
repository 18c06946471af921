"""Recorded outputs of the authors' own code, within the recorded tolerances, in float32 and float64."""

import functools
import json

import jax
import numpy as np
import pytest

import vitjax
from tests.conftest import SHARED, needs_shared
from vitjax.api import request
from vitjax.methods import METHODS

GOLDEN = SHARED / "golden"
pytestmark = needs_shared


def recorded_calls():
    """(file, variant, call) of every recorded map whose method is registered."""
    if not GOLDEN.exists():
        return
    for name, entry in json.loads((GOLDEN / "MANIFEST.json").read_text())["files"].items():
        for variant, call in entry["calls"].items():
            if call["method"] in METHODS:
                yield name, variant, call


CALLS = list(recorded_calls())


def load_model(dtype):
    return vitjax.load(
        "deit_tiny_patch16_224", weights=SHARED / "data" / "deit_tiny_patch16_224.safetensors", dtype=dtype
    )


@functools.cache
def computed(dtype, kind):
    """Every recorded call over the recorded images, in one shared sweep."""
    inputs = np.load(GOLDEN / "inputs.npz")
    targets = inputs[kind]
    has = targets >= 0
    calls = [{"method": call["method"], **call["options"]} for _, _, call in CALLS]
    with jax.enable_x64(dtype == "float64"):
        images = inputs["images"][has].astype(dtype)
        found = vitjax.explain_many(load_model(dtype), images, calls, target=targets[has].tolist())
    return has, found


def reduce_to_patches(maps, how, patch=16):
    if how is None:
        return maps.reshape(len(maps), -1)
    b, h, w = maps.shape
    cells = maps.reshape(b, h // patch, patch, w // patch, patch)
    reduced = cells.sum((2, 4)) if how == "patch_sum" else cells.mean((2, 4))
    return reduced.reshape(b, -1)


@pytest.mark.parametrize("kind", ["pred", "second"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "variant", "call"), CALLS, ids=[f"{n}-{v}" for n, v, _ in CALLS])
def test_recorded_maps_are_met(name, variant, call, dtype, kind):
    tolerance = call["tol64" if dtype == "float64" else "tol32"]
    if tolerance is None:
        pytest.skip(f"recorded as not comparable in {dtype}")
    arrays = np.load(GOLDEN / f"{name}.npz")
    key = f"maps_{kind}" + ("" if variant == "main" else f"__{variant}")
    expected = arrays[f"{key}_f64" if dtype == "float64" else key]
    has, found = computed(dtype, kind)
    label = request({"method": call["method"], **call["options"]}).label
    ours = reduce_to_patches(found[label].maps, call.get("reduce"))
    assert ours.dtype == dtype
    expected = expected[has]
    # A map recorded as zero everywhere (Grad-CAM has some) must be zero everywhere here, too.
    error, scale = np.abs(ours - expected).max(axis=1), np.abs(expected).max(axis=1)
    assert (error <= tolerance * scale).all(), error / scale


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_recorded_logits_are_met(dtype, tolerance):
    inputs = np.load(GOLDEN / "inputs.npz")
    with jax.enable_x64(dtype == "float64"):
        logits = np.asarray(load_model(dtype).logits(inputs["images"].astype(dtype)))
    expected = inputs["logits_f64" if dtype == "float64" else "logits"]
    assert np.abs(logits - expected).max() <= tolerance
    np.testing.assert_array_equal(logits.argmax(-1), inputs["pred"])
