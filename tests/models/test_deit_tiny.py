"""The real DeiT-Tiny: preprocessing and predictions on real photographs. Its logits: methods/test_golden.py."""

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


def test_preprocessing_is_that_of_the_golden_images(golden):
    model = vitjax.load("deit_tiny_patch16_224", weights=WEIGHTS)
    mean, std = (np.array(each, np.float32) for each in (model.preprocessing.mean, model.preprocessing.std))
    pixels = (golden["pixels_uint8"] / np.float32(255) - mean) / std
    np.testing.assert_allclose(pixels, golden["images"], atol=1e-6)


def test_predictions_on_photographs():
    model = vitjax.load("deit_tiny_patch16_224", weights=WEIGHTS)
    folder = SHARED / "data" / "dev"
    items = json.loads((folder / "index.json").read_text())["items"]
    images = model.preprocess([folder / item["image"] for item in items])
    found = np.asarray(model.logits(images)).argmax(-1)
    agree = sum(int(f) == item["pred"] for f, item in zip(found, items, strict=True))
    assert len(items) == 54 and agree >= 53
