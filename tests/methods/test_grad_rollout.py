"""The form of gradient rollout that Das & Huddar 2025 print: products of many small factors in float32."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import vitjax
from tests.cases import CONFIGS, tiny_images
from vitjax.images.reading import Preprocessing
from vitjax.models.model import Model
from vitjax.nn.vit import ViT

pytestmark = pytest.mark.unoptimised


def deep(dtype, depth):
    config = replace(CONFIGS["plain"], depth=depth)
    shapes = jax.eval_shape(ViT(config).init, jax.random.key(0), np.zeros((32, 32, 3), np.float32))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jax.numpy.asarray(0.05 * rng.normal(size=leaf.shape), dtype), shapes)
    return Model(config, params, Preprocessing((32, 32)), None, "deep")


def test_a_product_below_the_range_of_float32_keeps_its_relative_values():
    options = {"variant": "das2025", "head_fusion": "max"}
    single = vitjax.explain(
        deep(np.float32, 24), tiny_images(deep(np.float32, 24), 1), "grad_rollout", target=1, **options
    )
    with jax.enable_x64(True):
        model = deep(np.float64, 24)
        images = tiny_images(model, 1)
        double = vitjax.explain(model, images, "grad_rollout", target=1, **options)
    assert 0 < double.maps.max() < 2.0**-130  # not a normal number in float32
    assert single.maps.max() > 2.0**-126 and not single.degenerate.any()
    ratio = single.maps / double.maps
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)
    mantissa, _ = np.frexp(ratio.mean())
    assert mantissa == pytest.approx(0.5, rel=1e-3)  # the scale is a power of two
