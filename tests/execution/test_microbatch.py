"""Microbatches and worker threads: the values of the whole batch, in the memory of a few images."""

import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import tiny_images, tiny_model
from vitjax.execution import program as program_module
from vitjax.execution import worker_threads
from vitjax.execution.microbatch import microbatched_vmap
from vitjax.execution.plan import plan_for
from vitjax.execution.program import Program
from vitjax.execution.worker_threads import run_in_threads
from vitjax.explaining.programs import compiled
from vitjax.explaining.requests import request
from vitjax.layerwise.target import PREDICTED
from vitjax.shapes import ceil_div

AXES = (None, 0, 0)
PLAN = plan_for(tiny_model("plain").config)


def one(scale, image, shift):
    return scale * image["x"].sum() + shift, image["id"]


def arguments(count):
    images = {"x": jnp.arange(count * 3.0).reshape(count, 3), "id": np.arange(count)}
    return 2.0, images, jnp.arange(count) / 8


def assert_right(found, count):
    _, images, shifts = arguments(count)
    np.testing.assert_array_equal(found[0], 2 * images["x"].sum(-1) + shifts)
    np.testing.assert_array_equal(found[1], np.arange(count))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 11])
def test_microbatches_give_every_image_its_own_result(count):
    for microbatch_size in (1, 2, 4):
        assert_right(jax.jit(microbatched_vmap(one, AXES, microbatch_size=microbatch_size))(*arguments(count)), count)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 9, 11])
def test_worker_threads_give_every_image_its_own_result(count, four_threads):
    shapes = []

    def run(scale, images, shifts):
        shapes.append(shifts.shape)
        return jax.vmap(one, AXES)(scale, images, shifts)

    program = Program(run, AXES, PLAN)
    for _ in range(2):
        assert_right(program(*arguments(count)), count)
    size = ceil_div(count, 4)
    assert shapes == [(size,)]  # one trace, of equal parts
    assert [len(part[2]) for part in program.parts(*arguments(count))] == [size] * ceil_div(count, size)


def test_as_many_worker_threads_run_at_the_same_time_as_there_are_cores(four_threads):
    running, most, lock = [], [], threading.Lock()
    meet = threading.Barrier(4, timeout=20)

    def work(number):
        with lock:
            running.append(number)
            most.append(len(running))
        meet.wait()  # all four are here, or this raises
        with lock:
            running.remove(number)
        return number

    assert run_in_threads(work, range(8)) == list(range(8))
    assert max(most) == 4


def test_an_error_in_a_worker_thread_is_raised_when_all_calls_that_began_have_ended(four_threads):
    ended, stop, meet = [], threading.Event(), threading.Barrier(4, timeout=20)

    def work(number):
        meet.wait()  # all have begun
        if number == 0:
            raise ValueError("the first")
        assert stop.wait(20)  # and they hear that they may end
        time.sleep(0.05)
        ended.append(number)

    with pytest.raises(ValueError, match="the first"):
        run_in_threads(work, range(4), stop)
    assert sorted(ended) == [1, 2, 3]


def test_nested_calls_run_in_the_worker_thread_itself(four_threads):
    found = run_in_threads(
        lambda a: run_in_threads(lambda b: (a, b, worker_threads.worker_count()), range(2)), range(9)
    )
    assert found == [[(a, b, 1) for b in range(2)] for a in range(9)]


def test_settings_of_precision_reach_the_worker_threads(four_threads):
    def settings(_):
        return jax.config.jax_default_matmul_precision, jax.config.jax_enable_x64

    program = Program(jax.vmap(lambda x: x @ x), (0,), PLAN)
    x = np.ones((4, 2, 2), np.float32)
    for precision, wide in (("highest", True), ("default", False)):
        with jax.default_matmul_precision(precision), jax.enable_x64(wide):
            assert run_in_threads(settings, range(4)) == [(precision, wide)] * 4
            executable = program.executable(x[:1])
            assert program.executable(x[:1]) is executable
            assert program(np.float64(x)).dtype == (np.float64 if wide else np.float32)
    assert program.executable(x[:1]) is not executable


def test_inside_a_transformation_the_batch_is_not_divided(four_threads, monkeypatch):
    monkeypatch.setattr(program_module, "run_in_threads", None)
    program = Program(jax.vmap(jnp.sin), (0,), PLAN)
    x = jnp.arange(4.0)
    np.testing.assert_allclose(jax.jit(program)(x), jnp.sin(x))
    np.testing.assert_allclose(jax.grad(lambda x: program(x).sum())(x), jnp.cos(x))


def test_no_microbatch_is_larger_than_allowed():
    seen = []

    def look(x):
        seen.append(x.shape)
        return x

    def one(x):
        return jax.pure_callback(look, jax.ShapeDtypeStruct((), x.dtype), x, vmap_method="broadcast_all")

    found = microbatched_vmap(one, (0,), microbatch_size=4)(jnp.arange(10.0))
    np.testing.assert_array_equal(found, np.arange(10.0))
    assert seen == [(4,)] * 3  # the last image once more, twice


@pytest.mark.slow
def test_memory_of_a_program_does_not_grow_with_its_batch():
    model = tiny_model("plain")

    def temporaries(count):
        program = compiled(model.config, (request("transformer_mm"),))
        x = tiny_images(model, count)
        targets, seeds = np.full(count, PREDICTED, np.int32), np.zeros(count, np.uint32)
        executable = program.lower(model.params, x, targets, seeds, np.uint32(0)).compile()
        return executable.memory_analysis().temp_size_in_bytes

    assert temporaries(16) < 1.5 * temporaries(2)
