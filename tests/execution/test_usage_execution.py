"""`vitjax.execution` in use: a function of one image on a batch, and many evaluations for one image."""

import jax
import numpy as np
import pytest

from tests.cases import tiny_images, tiny_model
from vitjax.execution.map_reduce import MapReduce, all_rounds
from vitjax.execution.microbatch import microbatched_vmap
from vitjax.execution.plan import plan_for
from vitjax.execution.program import Program
from vitjax.nn.network import network

pytestmark = pytest.mark.unoptimised

MODEL = tiny_model("plain")
IMAGES = tiny_images(MODEL, 5)


def logits(params, image):
    return network(MODEL.config).apply({"params": params}, image)


def test_a_function_of_one_image_runs_on_a_batch_in_microbatches_and_worker_threads(four_threads):
    whole = jax.jit(jax.vmap(logits, (None, 0)))(MODEL.params, IMAGES)
    plan = plan_for(MODEL.config, "cpu")
    in_microbatches = microbatched_vmap(logits, (None, 0), microbatch_size=plan.forward_microbatch)
    program = Program(in_microbatches, (None, 0), plan)
    assert [len(images) for _, images in program.parts(MODEL.params, IMAGES)] == [2, 2, 2]  # one image twice
    found = program(MODEL.params, IMAGES)
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-5)


def test_evaluations_of_one_image_are_a_map_reduce():
    """The mean logits of an image with each quarter of it covered, as a sum that any number of workers may divide."""
    covered = np.repeat(IMAGES[:1], 4, axis=0)
    for number in range(4):
        covered[number, 8 * number : 8 * number + 8] = 0

    @jax.jit
    def run(params, covered):
        mean = MapReduce(4, lambda number: logits(params, covered[number]), lambda total: total / 4, together=2)
        parts = [mean.part(number, 3) for number in range(3)]
        return all_rounds(mean), mean.after(sum(parts)), jax.vmap(logits, (None, 0))(params, covered).mean(axis=0)

    whole, from_parts, expected = run(MODEL.params, covered)
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(from_parts, expected, rtol=1e-4, atol=1e-5)
