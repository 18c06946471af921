"""Execution plans: what each platform gets, and that a program is laid out by the plan it was made with."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import tiny_images, tiny_model
from vitjax.execution.devices import Devices
from vitjax.execution.plan import active_plan, compiler_options, executing, plan_for, planned
from vitjax.execution.program import Program
from vitjax.explaining.programs import compiled
from vitjax.explaining.requests import request
from vitjax.layerwise.target import PREDICTED
from vitjax.models.families import find

TINY, SMALL, LARGE, RESNET = (
    find(name).config
    for name in ("deit_tiny_patch16_224", "deit_small_patch16_224", "vit_large_patch16_224", "resnet50")
)


def test_a_cpu_computes_few_images_together_and_more_of_a_wide_model():
    found = {config: plan_for(config, "cpu")[:4] for config in (TINY, SMALL, RESNET)}
    assert found == {TINY: (2, 1, 2, 1), SMALL: (2, 2, 2, 2), RESNET: (2, 2, 2, 2)}


@pytest.mark.parametrize("platform", ["gpu", "cuda", "tpu"])
def test_an_accelerator_computes_whole_batches_and_saves_nothing(platform):
    plan = plan_for(TINY, platform)
    assert [plan.microbatch(backward=each) for each in (False, True)] == [None, None]
    assert [plan.queries(backward=each) for each in (False, True)] == [8, 8]
    assert not plan.saves_linear_outputs(TINY, jnp.float32)


def test_wider_models_save_more_and_deeper_ones_do_not():
    wanted = {TINY: True, replace(TINY, depth=24): False, LARGE: True, LARGE.at_size((896, 896)): False}
    assert {each: plan_for(each, "cpu").saves_linear_outputs(each, jnp.float32) for each in wanted} == wanted
    assert not plan_for(TINY, "cpu").saves_linear_outputs(TINY, jnp.float64)


def test_the_default_device_decides_where_no_platform_is_given(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert plan_for(TINY) == plan_for(TINY, "tpu")
    with jax.default_device(jax.devices("cpu")[0]):
        assert plan_for(TINY) == plan_for(TINY, "cpu")
    with jax.default_device("cpu"):
        assert plan_for(TINY) == plan_for(TINY, "cpu")


def test_a_plan_holds_in_what_is_traced_under_it_alone():
    small, other = (plan_for(TINY, "cpu")._replace(forward_queries=count) for count in (3, 5))
    seen = []

    def look(x):
        seen.append(active_plan(TINY).forward_queries)
        return x

    for plan in (small, other, small):
        jax.jit(planned(plan, look))(1.0)
    with executing(small):
        look(1.0)
    assert seen == [3, 5, 3, 3]
    assert active_plan(TINY) == plan_for(TINY, "cpu")


def test_programs_of_different_plans_are_different_programs_with_the_same_maps():
    model = tiny_model("plain")
    images = tiny_images(model, 5)
    arguments = model.params, images, np.full(5, PREDICTED, np.int32), np.zeros(5, np.uint32), np.uint32(0)
    requests = (request("transformer_mm"),)
    plans = [plan_for(model.config, platform) for platform in ("cpu", "gpu")]
    by_images, whole = (compiled(model.config, requests, plan) for plan in plans)
    assert compiled(model.config, requests) is by_images
    texts = [program.lower(*arguments).as_text() for program in (by_images, whole)]
    heads = model.config.heads
    tokens = model.config.tokens + plans[1].kernels.padding(model.config.tokens, np.float32)
    assert tokens % 4 == 0 and tokens > model.config.tokens
    assert [f"tensor<5x{heads}x{tokens}x{tokens}xf32>" in text for text in texts] == [False, True]
    maps = [np.asarray(program(*arguments)[2][0]) for program in (by_images, whole)]
    np.testing.assert_allclose(*maps, rtol=0, atol=1e-6 * np.abs(maps[0]).max())


def test_programs_are_compiled_with_the_options_of_their_platform(monkeypatch):
    assert compiler_options("cpu") == {} == compiler_options("tpu")
    assert "triton-softmax-rewriter" in compiler_options("gpu")["xla_disable_hlo_passes"]
    given = []

    def compile_with(lowered, options=None):
        given.append(options)
        return compile_lowered(lowered, options)

    compile_lowered = jax.stages.Lowered.compile
    options = {"xla_backend_optimization_level": 0}
    monkeypatch.setattr(jax.stages.Lowered, "compile", compile_with)
    for module in ("vitjax.execution.program", "vitjax.execution.devices"):
        monkeypatch.setattr(f"{module}.compiler_options", lambda platform=None: options)
    plan = plan_for(tiny_model("plain").config)
    program = Program(lambda x: x * 2, (0,), plan)
    np.testing.assert_array_equal(program(np.ones((1, 3), np.float32)), 2 * np.ones((1, 3)))
    devices = Devices()
    np.testing.assert_array_equal(devices.compile(program, devices.cut(np.ones((2, 3))))(np.ones((2, 3))), 2)
    assert given == [options, options]
