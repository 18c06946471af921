"""Every method compiles for every platform, checked on a machine that has only a CPU."""

import jax
import jax.numpy as jnp
import pytest
from jax import export

from tests.cases import CASES, tiny_model
from vitjax.execution.plan import plan_for
from vitjax.explaining.programs import compiled
from vitjax.explaining.requests import request


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_all_methods_export(platform):
    model = tiny_model("plain")
    requests = [request(case) for case in CASES]
    requests = tuple(each for each in requests if each.method.explain_on_host is None)
    run = compiled(model.config, requests, plan_for(model.config, platform))
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), model.params)
    images = jax.ShapeDtypeStruct((2, *model.config.image_size, 3), jnp.float32)
    targets, seeds = jax.ShapeDtypeStruct((2,), jnp.int32), jax.ShapeDtypeStruct((2,), jnp.uint32)
    seed = jax.ShapeDtypeStruct((), jnp.uint32)
    exported = export.export(run, platforms=[platform])(shapes, images, targets, seeds, seed)
    assert exported.platforms == (platform,)
    assert len(exported.out_avals) == 2 + sum(each.method.explain_on_host is None for each in requests)


@pytest.mark.parametrize("name", ["stem", "stem_resnetd", "stem_convs"])
def test_methods_that_reach_the_pixels_export_below_convolutional_stems(name):
    model, platforms = tiny_model(name), ("cpu", "cuda", "tpu")
    requests = tuple(request(kind) for kind in ("lrp", {"method": "lrp", "rules": "zplus"}, "attn_lrp", "full_grad"))
    run = compiled(model.config, requests, plan_for(model.config, "cpu"))
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), model.params)
    images = jax.ShapeDtypeStruct((2, *model.config.image_size, 3), jnp.float32)
    targets, seeds = jax.ShapeDtypeStruct((2,), jnp.int32), jax.ShapeDtypeStruct((2,), jnp.uint32)
    seed = jax.ShapeDtypeStruct((), jnp.uint32)
    exported = export.export(run, platforms=platforms)(shapes, images, targets, seeds, seed)
    assert exported.platforms == platforms and len(exported.out_avals) == 2 + len(requests)
