"""Every method on every architecture feature: maps are finite, of the right shape, and independent of the order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import vitjax
from tests.cases import ARCHITECTURES, QUICK_METHODS, tiny_batch, tiny_model
from vitjax.errors import ConfigError
from vitjax.execution.plan import plan_for
from vitjax.explaining.programs import compiled
from vitjax.explaining.requests import expanded, request
from vitjax.methods import METHODS

pytestmark = pytest.mark.unoptimised

QUICK = ("rotary_mixed", "pooling_head")
REFUSED = {"post_norm": {"vtranm"}, "inner_norms": {"vtranm"}, "sandwich_norm": {"vtranm"}}
"""Methods that have no meaning on a feature, and say so."""


def methods_of(model, names):
    return [name for name in expanded(model, ["all"]) if name in names]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ARCHITECTURES]
)
def test_maps_are_finite_and_do_not_depend_on_the_order(name, request):
    """In batches of one shape; tests/methods/test_properties.py varies it."""
    slow_suite = request.config.option.markexpr != "not slow"
    with jax.enable_x64(True):
        model = tiny_model(name, np.float64)
        names = methods_of(model, METHODS if slow_suite else QUICK_METHODS)
        assert len(names) > (20 if slow_suite else 8)
        together = vitjax.explain_many(model, tiny_batch(model, 3), names, target=[1, 2, 3])
        rotated = vitjax.explain_many(model, tiny_batch(model, 3, [2, 0, 1]), names, target=[3, 1, 2])
    for label, explanation in together.items():
        size = model.config.grid if explanation.level == "token" else model.config.image_size
        assert explanation.maps.shape == (3, *size), label
        assert np.isfinite(explanation.maps).all(), label
        assert np.ptp(explanation.maps) > 0, label
        scale = np.abs(explanation.maps).max()
        np.testing.assert_allclose(rotated[label].maps, explanation.maps[[2, 0, 1]], rtol=0, atol=1e-7 * scale)


@pytest.mark.parametrize("name", REFUSED)
def test_methods_without_a_meaning_are_refused_by_name(name):
    model = tiny_model(name)
    for method in REFUSED[name]:
        with pytest.raises(ConfigError, match=method):
            vitjax.explain(model, tiny_batch(model, 1), method=method)
        assert method not in expanded(model, ["all"])


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("name", ["rotary_mixed", "pooling_head", "position_bias", "rms"])
def test_methods_export_for_every_platform(name, platform):
    model = tiny_model(name)
    requests = tuple(request(method) for method in methods_of(model, QUICK_METHODS))
    run = compiled(model.config, requests, plan_for(model.config, platform))
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), model.params)
    images = jax.ShapeDtypeStruct((2, *model.config.image_size, 3), jnp.float32)
    targets, seeds = jax.ShapeDtypeStruct((2,), jnp.int32), jax.ShapeDtypeStruct((2,), jnp.uint32)
    exported = export.export(run, platforms=[platform])(
        shapes, images, targets, seeds, jax.ShapeDtypeStruct((), jnp.uint32)
    )
    assert exported.platforms == (platform,) and len(exported.out_avals) == 2 + len(requests)
