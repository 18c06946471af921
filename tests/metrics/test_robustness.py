"""Sensitivity, randomisation and complexity against numpy and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.cases import tiny_model
from tests.metrics.helpers import case, compiled, picture, tie_free
from vitjax import metrics
from vitjax.errors import ConfigError
from vitjax.metrics.randomization import blocks, places_from_head, random_weights
from vitjax.metrics.sorting import ascending
from vitjax.metrics.spearman import average_ranks
from vitjax.nn.network import network
from vitjax.nn.resnet import ResNetConfig


@pytest.mark.parametrize("size", [196, 50176])
@pytest.mark.parametrize("ties", [False, True])
def test_spearman_is_scipys(size, ties):
    rng = np.random.default_rng(size)
    a = rng.normal(size=size).astype(np.float32)
    b = (a + rng.normal(size=size)).astype(np.float32)
    if ties:
        a, b = np.round(a, 1), np.round(b)
        a[:3] = -0.0  # equal to 0
        a[3:5] = 0.0
    np.testing.assert_array_equal(average_ranks(jnp.asarray(a)), stats.rankdata(a))
    assert float(compiled(metrics.spearman)(a, b)) == pytest.approx(stats.spearmanr(a, b).statistic, abs=3e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sorting_by_bits_is_sorting(dtype):
    with jax.enable_x64(dtype == "float64"):
        x = np.random.default_rng(0).normal(size=1000).astype(dtype)
        x[:6] = [0, -0.0, np.inf, -np.inf, 1e-40, -1e-40]
        np.testing.assert_array_equal(ascending(jnp.asarray(x)), np.sort(x))


def test_spearman_of_a_constant_map_is_undefined():
    assert np.isnan(metrics.spearman(tie_free(), jnp.zeros((24, 16))))
    assert np.isnan(metrics.spearman(tie_free(), jnp.full((24, 16), jnp.nan)))


def gradient_like(image):
    return jnp.tanh(image).sum(axis=-1) ** 3


def test_sensitivity_is_the_largest_of_plain_draws():
    image, key = picture(), jax.random.key(5)
    raw = np.asarray(gradient_like(image), np.float64)
    changes = []
    for i in range(6):
        noise = np.asarray(jax.random.uniform(jax.random.fold_in(key, i), image.shape, minval=-0.1, maxval=0.1))
        assert np.abs(noise).max() <= 0.1
        changes.append(np.linalg.norm(np.asarray(gradient_like(image + noise), np.float64) - raw))
    measure = compiled(lambda x: metrics.sensitivity(gradient_like, x, gradient_like(x), n=6, radius=0.1, key=key))
    found = measure(image)
    assert float(found) == pytest.approx(max(changes) / np.linalg.norm(raw), rel=1e-5)


def test_sensitivity_of_a_map_that_ignores_the_image_is_zero_and_of_a_constant_one_undefined():
    same = tie_free()
    assert metrics.sensitivity(lambda image: same, picture(), same, n=2, key=jax.random.key(0)) == 0
    flat = jnp.ones_like(same)
    assert np.isnan(metrics.sensitivity(lambda image: flat, picture(), flat, n=2, key=jax.random.key(0)))


def something_of_every_layer(params, image):
    """Stands in for a method: cheap to compile, and no weight of a block or of the head leaves it as it is."""
    heatmap = image[..., 0]
    for gain in params["blocks"]["attn"]["qkv"]["kernel"][:, 0, 0]:
        heatmap = jnp.sin(heatmap * (1 + gain)) + gain * image[..., 1]
    return heatmap + params["head"]["kernel"][0, 0] * image[..., 2]


def test_randomization_cascades_from_the_head():
    model = tiny_model("plain")
    places = places_from_head(model.params)
    assert blocks(model.params) == 3
    assert places["head"]["kernel"] == 0 and places["pos_embed"] == 4 and places["norm"]["scale"] == 4
    np.testing.assert_array_equal(places["blocks"]["attn"]["qkv"]["kernel"].reshape(-1), [3, 2, 1])
    image = np.random.default_rng(0).normal(size=(32, 32, 3)).astype(np.float32)

    @compiled
    def measure(params):
        raw, drawn = something_of_every_layer(params, image), random_weights(params, 0)
        maps = []
        for cut in range(4):
            mixed = {**params, "head": drawn["head"]}
            mixed["blocks"] = jax.tree.map(
                lambda new, old, cut=cut: jnp.concatenate([old[: 3 - cut], new[3 - cut :]]),
                drawn["blocks"],
                params["blocks"],
            )
            maps.append(something_of_every_layer(mixed, image))
        return raw, maps, metrics.randomization(lambda changed: something_of_every_layer(changed, image), params, raw)

    raw, maps, found = measure(model.params)
    expected = [stats.spearmanr(raw, each, axis=None).statistic for each in maps]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(set(expected)) == 4
    with pytest.raises(ConfigError, match="0 to 3"):
        metrics.randomization(lambda changed: image, model.params, image, cuts=(0, 4))


def test_random_weights_keep_mean_and_deviation_of_every_layer():
    model = tiny_model("plain")
    kernel = model.params["blocks"]["mlp"]["fc1"]["kernel"] * jnp.asarray([1.0, 5.0, 0.1]).reshape(3, 1, 1)
    params = {"blocks": {"mlp": {"fc1": {"kernel": kernel + 2}}}}
    drawn = random_weights(params, 1)["blocks"]["mlp"]["fc1"]["kernel"]
    np.testing.assert_allclose(drawn.std(axis=(1, 2)), kernel.std(axis=(1, 2)), rtol=0.1)
    np.testing.assert_allclose(drawn.mean(axis=(1, 2)), 2 + kernel.mean(axis=(1, 2)), atol=0.3)
    again, other = (random_weights(params, seed)["blocks"]["mlp"]["fc1"]["kernel"] for seed in (1, 2))
    np.testing.assert_array_equal(again, drawn)
    assert (other != drawn).any()


def test_a_resnet_is_randomised_stage_by_stage_without_its_statistics():
    config = ResNetConfig(depths=(1, 1, 1, 1), width=4, num_classes=3, image_size=(32, 32))
    blank = jax.ShapeDtypeStruct((32, 32, 3), jnp.float32)
    params = jax.eval_shape(network(config).init, jax.random.key(0), blank)["params"]
    places = places_from_head(params)
    assert blocks(params) == 4
    assert places["fc"]["kernel"] == 0
    assert places["layer4"]["0"]["conv1"]["kernel"] == 1 and places["layer1"]["0"]["bn1"]["scale"] == 4
    assert places["conv1"]["kernel"] == 5 and places["layer4"]["0"]["bn1"]["var"] == 5


def test_the_random_target_is_another_class():
    raw, key = jnp.asarray(tie_free()), jax.random.key(0)

    def classes_as_maps(k):
        return jnp.where(k == 1, jnp.nan, jnp.where(k == 0, raw, -raw))

    draw = compiled(lambda i: metrics.random_target(classes_as_maps, raw, jnp.asarray(1), 3, key=jax.random.key(i)))
    assert {round(float(draw(i))) for i in range(20)} == {1, -1}  # NaN were it the class itself
    assert np.isnan(metrics.random_target(lambda k: raw, raw, jnp.asarray(0), 1, key=key))


def test_records_need_an_explainer():
    for name in ("sensitivity", "randomization"):
        with pytest.raises(ConfigError, match="no explainer"):
            metrics.METRICS[name].record(case())


def test_complexity_by_numpy():
    heatmap = tie_free().astype(np.float64)
    found = metrics.complexity(tie_free())
    assert float(found.entropy) == pytest.approx(stats.entropy(heatmap.reshape(-1)), abs=1e-5)
    gaps = np.abs(heatmap.reshape(-1, 1) - heatmap.reshape(1, -1)).mean()
    assert float(found.gini) == pytest.approx(gaps / (2 * heatmap.mean()), abs=1e-5)
    one_place = np.zeros((4, 5), np.float32)
    one_place[2, 2] = 1
    assert metrics.complexity(one_place).entropy == 0
    assert float(metrics.complexity(one_place).gini) == pytest.approx(1 - 1 / 20)
    assert np.isnan(metrics.complexity(np.ones((4, 5), np.float32)).gini)
