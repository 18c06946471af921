"""Named models against timm, one for each kind of architecture, with random parameters and two blocks."""

import jax
import numpy as np
import pytest

import vitjax
from tests.timm_peers import random_images, timm_in_float64, torch  # noqa: F401 (a fixture)
from vitjax.models.families import CNNS, find, kinds
from weights_convert.check import compare

benchmark = pytest.importorskip("benchmarks.timm_parity")
KINDS = sorted(min(names, key=lambda name: find(name).parameters) for names in kinds().values())
"""The smallest model of each kind."""
QUICK = KINDS[::9]
WIDE = KINDS[::10]
"""Kinds that are compared at full width, in float32; `python -m benchmarks.timm_parity` compares every name."""


def narrow(name):
    """timm's module of a name with 48 channels, where timm lets the width be chosen."""
    try:
        return benchmark.reduced(name, embed_dim=48, num_heads=3)
    except (TypeError, AssertionError, RuntimeError):
        return benchmark.reduced(name)


def test_every_name_is_of_one_kind():
    named = sorted(name for names in kinds().values() for name in names)
    assert named == sorted(name for name in vitjax.model_names() if name not in (*CNNS, "vitjax_scenes"))
    assert len(KINDS) > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDE)
def test_blocks_and_logits_equal_timms(name):
    module = benchmark.reduced(name)
    model = vitjax.from_timm(module)
    report = compare(model, module, random_images(model.config.image_size))
    assert report.passed, str(report)
    assert len(report.differences) == model.config.depth + 1


@pytest.mark.usefixtures("timm_in_float64")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in KINDS]
)
def test_logits_equal_timms_in_float64(name):
    module = narrow(name)
    with jax.enable_x64(True):
        model = vitjax.from_timm(module)
        images = random_images(model.config.image_size).astype(np.float64)
        with torch.no_grad():
            theirs = module(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
        ours = np.asarray(model.logits(images))
    assert ours.dtype == theirs.dtype == np.float64
    assert np.abs(theirs).max() > 1e-3
    assert np.abs(ours - theirs).max() <= 1e-9 * np.abs(theirs).max()
