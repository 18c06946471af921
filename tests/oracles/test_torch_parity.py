"""Every method on every family of models, against its formula on arrays that PyTorch's autograd gave."""

import jax
import numpy as np
import pytest

import vitjax
from tests.cases import CASES
from tests.conftest import SHARED, needs_shared
from tests.oracles.formulas import FORMULAS, NEEDS_RULES
from tests.oracles.parity import compare_methods
from tests.timm_peers import PEERS, build, random_images
from vitjax.cli.main import main
from vitjax.methods import METHODS

pytestmark = pytest.mark.unoptimised

QUICK_ENOUGH = [case for case in CASES if not METHODS[case["method"]].slow]
RELEVANCE = [case for case in QUICK_ENOUGH if case["method"] in NEEDS_RULES]
WHOLE = ("distilled", "dinov2_swiglu", "gap", "clip_quickgelu")
"""Families on which every method runs; on the others relevance does, whose only independent form is PyTorch's."""

FAMILIES = ("plain", "distilled", "deit3", "dinov2_swiglu", "registers", "gap", "avg_norm_first", "clip_quickgelu")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_methods_equal_torch(name):
    module = build(**{**PEERS[name], "num_classes": 7}).double()
    with jax.enable_x64(True):
        model = vitjax.from_timm(module)
        images = random_images(model.config.image_size, 1).astype(np.float64)
        for row in compare_methods(model, module, images, QUICK_ENOUGH if name in WHOLE else RELEVANCE, target=1):
            assert row.relative < 1e-9, row


@needs_shared
@pytest.mark.slow
def test_verify_reports_methods_on_the_real_model(capsys):
    weights = str(SHARED / "data" / "deit_tiny_patch16_224.safetensors")
    main(["verify", "--model", "deit_tiny_patch16_224", "--weights", weights, "--images", "1", "--methods", "all"])
    printed = capsys.readouterr().out
    for name in set(FORMULAS) & set(METHODS):
        assert METHODS[name].slow or f"\n{name} " in printed
