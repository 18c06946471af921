"""Images in portions: the numbers of the whole batch, in the memory of one portion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import tiny_images, tiny_model
from vitjax.api import compiled, request
from vitjax.batching import over_images
from vitjax.fold import PREDICTED


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 11])
def test_portions_give_every_image_its_own_result(count):
    images = {"x": jnp.arange(count * 3.0).reshape(count, 3), "id": jnp.arange(count)}

    def one(scale, image, shift):
        return scale * image["x"].sum() + shift, image["id"]

    shifts = jnp.arange(count) / 8
    for at_once in (1, 2, 4):
        found, ids = jax.jit(over_images(one, (None, 0, 0), at_once=at_once))(2.0, images, shifts)
        np.testing.assert_array_equal(found, 2 * images["x"].sum(-1) + shifts)
        np.testing.assert_array_equal(ids, np.arange(count))


def test_no_portion_is_larger_than_it_may_be():
    seen = []

    def look(x):
        seen.append(x.shape)
        return x

    def one(x):
        return jax.pure_callback(look, jax.ShapeDtypeStruct((), x.dtype), x, vmap_method="broadcast_all")

    found = over_images(one, (0,), at_once=4)(jnp.arange(10.0))
    np.testing.assert_array_equal(found, np.arange(10.0))
    assert seen == [(4,)] * 3  # the last image once more, twice


def test_memory_of_a_program_does_not_grow_with_its_batch():
    model = tiny_model("plain")

    def temporaries(count):
        program = compiled(model.config, (request("transformer_mm"),))
        x = tiny_images(model, count)
        targets, seeds = np.full(count, PREDICTED, np.int32), np.zeros(count, np.uint32)
        executable = program.lower(model.params, x, targets, seeds, np.uint32(0)).compile()
        return executable.memory_analysis().temp_size_in_bytes

    assert temporaries(16) < 1.5 * temporaries(2)
