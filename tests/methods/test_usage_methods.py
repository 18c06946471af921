"""`vitjax.methods` in use: what the registry says of a method, and a method of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests.cases import tiny_images, tiny_model
from vitjax import metrics
from vitjax.data.arrays import Arrays
from vitjax.errors import ConfigError, UnknownNameError
from vitjax.methods import METHODS, Method, find_method, register
from vitjax.methods.building_blocks import single_layer_fold

pytestmark = pytest.mark.unoptimised


def test_a_registered_method_says_what_it_computes_costs_and_needs():
    method = find_method("attn_lrp")
    assert method.title == "AttnLRP" and "Achtibat et al. 2024" in method.cite and method.cost == "2F + 1B"
    assert method.options == {"at": "tokens"} and method.needs == {"head"} and method.class_specific
    assert (method.level_of({}), method.level_of({"at": "pixels"})) == ("token", "pixel")
    assert method.check_options("attn_lrp", {"at": "pixels"}) == {"at": "pixels"}
    with pytest.raises(ConfigError, match="at='pixel' is not one of 'tokens', 'pixels'"):
        method.check_options("attn_lrp", {"at": "pixel"})
    with pytest.raises(UnknownNameError, match="did you mean 'attn_lrp'"):
        find_method("attnlrp")


def value_norm(config, *, layer: int = -1, power: float = 1.0):
    """‖v_j‖^power of the values of one block, averaged over heads."""

    def norms(trace):
        return jnp.linalg.norm(trace.values, axis=-1)[:, config.prefix :].mean(axis=0) ** power

    return single_layer_fold(config, layer, norms, relu=False, gradient=None)


@pytest.fixture
def registered():
    register("value_norm", Method("Value norm", "nobody", "1F", fold=value_norm, class_specific=False))
    yield
    del METHODS["value_norm"]


def test_own_method_is_registered_explained_and_evaluated(registered, tmp_path):
    model = tiny_model("plain")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    masks = np.zeros((3, 32, 32), np.uint8)
    masks[:, 4:20, 8:28] = 255
    explanation = vitjax.explain(model, pixels, "value_norm", power=2.0)
    values = vitjax.trace(model, pixels, score=None).values[:, -1, :, 1:]
    expected = np.linalg.norm(values, axis=-1).mean(axis=1) ** 2
    np.testing.assert_allclose(explanation.maps, expected.reshape(3, 4, 4), rtol=1e-5)

    methods = ["random", {"method": "value_norm", "power": 2.0}]
    run = vitjax.evaluate(model, Arrays(pixels, masks), methods, ["iou"], tmp_path / "run", profile=False)
    records = [record for record in run.records().to_pylist() if record["method"] == "value_norm(power=2.0)"]
    expected = jax.jit(jax.vmap(metrics.iou))(explanation.pixels(), masks)
    np.testing.assert_allclose([record["iou.value"] for record in records], expected, rtol=1e-6)
    assert "value_norm(power=2.0)" in str(run.table())


def test_options_of_own_method_are_checked_like_those_of_any_other(registered):
    model = tiny_model("plain")
    images = tiny_images(model, 1)
    with pytest.raises(UnknownNameError, match=r"powr.*did you mean 'power'"):
        vitjax.explain(model, images, "value_norm:powr=2")
    with pytest.raises(ConfigError, match="layer='last' is not a whole number"):
        vitjax.explain(model, images, "value_norm", layer="last")
    with pytest.raises(ConfigError, match="layer=3: the model has blocks 0 to 2"):
        vitjax.explain(model, images, "value_norm", layer=3)
    with pytest.raises(ConfigError, match="'value_norm' is already registered"):
        register("value_norm", METHODS["rollout"])
