"""Map-reduces: evaluations divided into parts, over any number of worker threads, make the same map."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests.cases import tiny_batch, tiny_model
from vitjax.execution import worker_threads
from vitjax.execution.map_reduce import MapReduce, all_rounds, layout
from vitjax.execution.parallel_map_reduce import ParallelMapReduce, parts_of
from vitjax.execution.plan import plan_for
from vitjax.methods import METHODS
from vitjax.shapes import ceil_div

PLAN = plan_for(tiny_model("plain").config)


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 11, 20])
@pytest.mark.parametrize("together", [1, 3, 8])
def test_parts_hold_every_evaluation_once(parts, together):
    values = jnp.arange(11) + 1.0
    summed = MapReduce(
        11, lambda number: {"a": values[number], "b": jnp.full(2, values[number])}, lambda x: x, together
    )
    kept = MapReduce(11, lambda number: (values[number], number), lambda x: x, together, kept=True)
    run = jax.jit(lambda number: (summed.part(number, parts), kept.part(number, parts)))
    sums, lists = zip(*(run(number) for number in range(parts)), strict=True)
    assert sum(float(each["a"]) for each in sums) == 66
    np.testing.assert_array_equal(sum(each["b"] for each in sums), [66, 66])
    joined = kept.after(jax.tree.map(lambda *each: np.concatenate(each), *lists))
    np.testing.assert_array_equal(joined[0], values)
    np.testing.assert_array_equal(joined[1], np.arange(11))


@pytest.mark.parametrize("threads", [1, 2, 8, 64])
@pytest.mark.parametrize("together", [1, 2, 8])
def test_progress_costs_no_evaluations(threads, together):
    """No thread computes more than if each had one part."""
    for size in (1, 3, 32, 97, 196, 1000):
        computed = []
        for parts in (threads, parts_of(size, together, threads)):
            _, rounds, vmapped = layout(size, parts, together)
            computed.append(ceil_div(parts, threads) * rounds * vmapped)
        assert computed[1] <= computed[0] and parts >= threads
    assert parts_of(196, 2, 2) == 14  # not 16, which compute 224


def test_no_more_evaluations_are_vmapped_together_than_allowed():
    seen = []

    def one(number):
        return jax.pure_callback(lambda n: seen.append(n.size) or n, number, number, vmap_method="broadcast_all")

    assert float(MapReduce(10, one, lambda x: x, together=4).part(0, 1)) == 45
    assert seen == [4] * 3


def two_rounds(scale, x, seed):
    """The mean of x, then the sum of the squares of what is left: a round that knows the one before."""
    x = jnp.asarray(x)

    def second(values):
        rest = x - values.mean()
        return MapReduce(len(x), lambda number: rest[number] ** 2, lambda total: scale * total + seed, together=2)

    return MapReduce(len(x), lambda number: x[number], second, kept=True)


@pytest.mark.parametrize("images", [1, 2, 3])
def test_dependent_map_reduces_follow_one_another_in_worker_threads(images, four_threads):
    x = np.random.default_rng(0).normal(size=(images, 7)).astype(np.float32)
    found = ParallelMapReduce(two_rounds, PLAN)(2.0, [(each,) for each in x], np.float32(1))
    np.testing.assert_allclose(found, 14 * x.var(axis=1) + 1, rtol=1e-5)
    np.testing.assert_allclose(found, [all_rounds(two_rounds(2.0, each, 1.0)) for each in x], rtol=1e-6)


def test_the_evaluations_of_one_image_use_all_worker_threads(four_threads):
    meet = threading.Barrier(4, timeout=20)

    def wait(x):
        meet.wait()  # all four are here, or this raises
        return x

    def explain(params, image, seed):
        def one(number):
            return jax.pure_callback(wait, jax.ShapeDtypeStruct((), jnp.float32), image)

        return MapReduce(4, one, lambda total: total)

    assert ParallelMapReduce(explain, PLAN)(None, [(np.float32(3),)], 0).tolist() == [12.0]


@pytest.mark.parametrize("images", [1, 2])
def test_the_progress_within_an_image_adds_up_to_it(images, four_threads):
    def explain(params, image, seed):
        return MapReduce(320, lambda number: image * number, lambda total: total, together=4)

    ticks: list[float] = []
    found = ParallelMapReduce(explain, PLAN)(None, [(np.float32(1),)] * images, 0, ticks.append)
    assert found.tolist() == [51040.0] * images
    assert len(ticks) == 16 * images + 1 and abs(sum(ticks) - images) < 1e-9 and max(ticks) < 0.1


def test_a_method_without_a_map_reduce_is_computed_once_per_image(four_threads):
    calls = []

    def explain(params, image, seed):
        return jax.pure_callback(lambda x: calls.append(float(x)) or x, jax.ShapeDtypeStruct((), jnp.float32), image)

    assert ParallelMapReduce(explain, PLAN)(None, [(np.float32(3),), (np.float32(4),)], 0).tolist() == [3.0, 4.0]
    assert sorted(calls) == [3.0, 4.0]


def test_a_slow_method_may_be_a_fold(monkeypatch, four_threads):
    model = tiny_model("plain")
    monkeypatch.setitem(METHODS, "slow_fold", METHODS["rollout"]._replace(slow=True))
    found = vitjax.explain_many(model, tiny_batch(model, 1), ["rollout", "slow_fold"])
    np.testing.assert_array_equal(found["slow_fold"].maps, found["rollout"].maps)


@pytest.mark.slow
def test_a_map_does_not_depend_on_the_number_of_worker_threads(monkeypatch, four_threads):
    with jax.enable_x64(True):
        model = tiny_model("plain", np.float64)
        batch = tiny_batch(model, 3)
        asked = {"method": "integrated_gradients", "target": 1, "steps": 3, "quadrature": "adaptive"}
        spread = vitjax.explain(model, batch, **asked).maps
        monkeypatch.setattr(worker_threads.os, "sched_getaffinity", lambda process: range(1), raising=False)
        alone = vitjax.explain(model, batch, **asked).maps
    np.testing.assert_allclose(spread, alone, rtol=0, atol=1e-12 * np.abs(alone).max())
