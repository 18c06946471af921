"""Every method on every model family, compared with its formula evaluated on arrays of PyTorch's autograd."""

import jax
import numpy as np
import pytest

pytest.importorskip("torch")  # before vitjax.verifying.parity imports it

import vitjax
from tests.cases import CASES
from tests.conftest import SHARED, needs_shared
from tests.timm_peers import PEERS, build, random_images
from vitjax.cli.main import main
from vitjax.methods import METHODS
from vitjax.verifying.formulas import FORMULAS, NEEDS_RULES
from vitjax.verifying.parity import compare_methods

pytestmark = pytest.mark.unoptimised

FAST_CASES = [case for case in CASES if not METHODS[case["method"]].slow]
RELEVANCE_CASES = [case for case in FAST_CASES if case["method"] in NEEDS_RULES]
ALL_METHODS = ("distilled", "dinov2_swiglu", "gap", "clip_quickgelu")
"""Families that are tested with every method. The others are tested with relevance propagation only, because no other
test compares it with an independent implementation."""

FAMILIES = ("plain", "distilled", "deit3", "dinov2_swiglu", "registers", "gap", "avg_norm_first", "clip_quickgelu")


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_methods_equal_torch(name):
    module = build(**{**PEERS[name], "num_classes": 7}).double()
    with jax.enable_x64(True):
        model = vitjax.from_timm(module)
        images = random_images(model.config.image_size, 1).astype(np.float64)
        cases = FAST_CASES if name in ALL_METHODS else RELEVANCE_CASES
        for parity in compare_methods(model, module, images, cases, target=1):
            assert parity.relative < 1e-9, parity


@needs_shared
@pytest.mark.slow
def test_verify_command_reports_every_method_on_real_weights(capsys):
    weights = str(SHARED / "data" / "deit_tiny_patch16_224.safetensors")
    main(["verify", "--model", "deit_tiny_patch16_224", "--weights", weights, "--images", "1", "--methods", "all"])
    printed = capsys.readouterr().out
    for name in set(FORMULAS) & set(METHODS):
        assert METHODS[name].slow or f"\n{name} " in printed
