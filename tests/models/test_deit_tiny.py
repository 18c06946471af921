"""DeiT-Tiny with its published weights: preprocessing and predictions. tests/methods/test_golden.py checks logits."""

import json

import numpy as np
import pytest

import vitjax
from tests.conftest import SHARED, needs_shared

pytestmark = needs_shared
WEIGHTS = SHARED / "data" / "deit_tiny_patch16_224.safetensors"


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(SHARED / "golden" / "inputs.npz"))


def test_normalisation_equals_that_of_the_golden_images(golden):
    model = vitjax.load("deit_tiny_patch16_224", weights=WEIGHTS)
    mean, std = (np.array(values, np.float32) for values in (model.preprocessing.mean, model.preprocessing.std))
    pixels = (golden["pixels_uint8"] / np.float32(255) - mean) / std
    np.testing.assert_allclose(pixels, golden["images"], atol=1e-6)


def test_predictions_on_photographs_equal_the_recorded_ones():
    model = vitjax.load("deit_tiny_patch16_224", weights=WEIGHTS)
    folder = SHARED / "data" / "dev"
    items = json.loads((folder / "index.json").read_text())["items"]
    images = model.preprocess([folder / item["image"] for item in items])
    predictions = np.asarray(model.logits(images)).argmax(-1)
    equal = sum(int(prediction) == item["pred"] for prediction, item in zip(predictions, items, strict=True))
    assert len(items) == 54 and equal >= 53
