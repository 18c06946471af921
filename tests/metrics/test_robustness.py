"""Sensitivity, randomisation and complexity equal numpy and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tests.cases import tiny_model
from tests.metrics.helpers import case, compiled, random_image, tie_free
from vitjax import metrics
from vitjax.errors import ConfigError
from vitjax.metrics.randomization import block_count, random_weights, randomised_from_cut
from vitjax.metrics.sorting import ascending
from vitjax.metrics.spearman import average_ranks
from vitjax.nn.network import network
from vitjax.nn.resnet import ResNetConfig


@pytest.mark.parametrize("size", [196, 50176])
@pytest.mark.parametrize("ties", [False, True])
def test_spearman_equals_scipy(size, ties):
    rng = np.random.default_rng(size)
    a = rng.normal(size=size).astype(np.float32)
    b = (a + rng.normal(size=size)).astype(np.float32)
    if ties:
        a, b = np.round(a, 1), np.round(b)
        a[:3] = -0.0  # ties with 0
        a[3:5] = 0.0
    np.testing.assert_array_equal(average_ranks(jnp.asarray(a)), stats.rankdata(a))
    assert float(compiled(metrics.spearman)(a, b)) == pytest.approx(stats.spearmanr(a, b).statistic, abs=3e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sorting_by_bits_equals_numpy(dtype):
    with jax.enable_x64(dtype == "float64"):
        x = np.random.default_rng(0).normal(size=1000).astype(dtype)
        x[:6] = [0, -0.0, np.inf, -np.inf, 1e-40, -1e-40]
        np.testing.assert_array_equal(ascending(jnp.asarray(x)), np.sort(x))


def test_spearman_of_a_constant_or_nan_map_is_nan():
    assert np.isnan(metrics.spearman(tie_free(), jnp.zeros((24, 16))))
    assert np.isnan(metrics.spearman(tie_free(), jnp.full((24, 16), jnp.nan)))


def nonlinear_map(image):
    return jnp.tanh(image).sum(axis=-1) ** 3


def test_sensitivity_is_the_maximum_over_draws():
    image, key = random_image(), jax.random.key(5)
    raw = np.asarray(nonlinear_map(image), np.float64)
    changes = []
    for i in range(6):
        noise = np.asarray(jax.random.uniform(jax.random.fold_in(key, i), image.shape, minval=-0.1, maxval=0.1))
        assert np.abs(noise).max() <= 0.1
        changes.append(np.linalg.norm(np.asarray(nonlinear_map(image + noise), np.float64) - raw))
    measure = compiled(lambda x: metrics.sensitivity(nonlinear_map, x, nonlinear_map(x), n=6, radius=0.1, key=key))
    largest = measure(image)
    assert float(largest) == pytest.approx(max(changes) / np.linalg.norm(raw), rel=1e-5)


def test_sensitivity_is_zero_if_the_map_ignores_the_image_and_nan_if_it_is_constant():
    fixed = tie_free()
    assert metrics.sensitivity(lambda image: fixed, random_image(), fixed, n=2, key=jax.random.key(0)) == 0
    flat = jnp.ones_like(fixed)
    assert np.isnan(metrics.sensitivity(lambda image: flat, random_image(), flat, n=2, key=jax.random.key(0)))


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_sensitivity_is_nan_if_a_perturbed_map_is_not_finite(value):
    fixed = jnp.asarray(tie_free())
    broken = fixed.at[(0,) * fixed.ndim].set(value)
    assert np.isnan(metrics.sensitivity(lambda image: broken, random_image(), fixed, n=2, key=jax.random.key(0)))


def map_of_every_layer(params, image):
    """A stand-in for a method that is cheap to compile and depends on a weight of every block and of the head."""
    heatmap = image[..., 0]
    for gain in params["blocks"]["attn"]["qkv"]["kernel"][:, 0, 0]:
        heatmap = jnp.sin(heatmap * (1 + gain)) + gain * image[..., 1]
    return heatmap + params["head"]["kernel"][0, 0] * image[..., 2]


def test_randomization_cascades_from_the_head():
    model = tiny_model("plain")
    cuts = randomised_from_cut(model.params)
    assert block_count(model.params) == 3
    assert cuts["head"]["kernel"] == 0 and cuts["pos_embed"] == 4 and cuts["norm"]["scale"] == 4
    np.testing.assert_array_equal(cuts["blocks"]["attn"]["qkv"]["kernel"].reshape(-1), [3, 2, 1])
    image = np.random.default_rng(0).normal(size=(32, 32, 3)).astype(np.float32)

    @compiled
    def measure(params):
        raw, drawn = map_of_every_layer(params, image), random_weights(params, 0)
        maps = []
        for cut in range(4):
            mixed = {**params, "head": drawn["head"]}
            mixed["blocks"] = jax.tree.map(
                lambda new, old, cut=cut: jnp.concatenate([old[: 3 - cut], new[3 - cut :]]),
                drawn["blocks"],
                params["blocks"],
            )
            maps.append(map_of_every_layer(mixed, image))
        return raw, maps, metrics.randomization(lambda changed: map_of_every_layer(changed, image), params, raw)

    raw, maps, correlations = measure(model.params)
    expected = [stats.spearmanr(raw, randomised, axis=None).statistic for randomised in maps]
    np.testing.assert_allclose(correlations, expected, atol=1e-5)
    assert len(set(expected)) == 4
    with pytest.raises(ConfigError, match="0 to 3"):
        metrics.randomization(lambda changed: image, model.params, image, cuts=(0, 4))


def test_random_weights_keep_mean_and_standard_deviation_of_each_layer():
    model = tiny_model("plain")
    kernel = model.params["blocks"]["mlp"]["fc1"]["kernel"] * jnp.asarray([1.0, 5.0, 0.1]).reshape(3, 1, 1)
    params = {"blocks": {"mlp": {"fc1": {"kernel": kernel + 2}}}}
    drawn = random_weights(params, 1)["blocks"]["mlp"]["fc1"]["kernel"]
    np.testing.assert_allclose(drawn.std(axis=(1, 2)), kernel.std(axis=(1, 2)), rtol=0.1)
    np.testing.assert_allclose(drawn.mean(axis=(1, 2)), 2 + kernel.mean(axis=(1, 2)), atol=0.3)
    again, other = (random_weights(params, seed)["blocks"]["mlp"]["fc1"]["kernel"] for seed in (1, 2))
    np.testing.assert_array_equal(again, drawn)
    assert (other != drawn).any()


def test_a_resnet_is_randomised_by_stages_except_running_statistics():
    config = ResNetConfig(depths=(1, 1, 1, 1), width=4, num_classes=3, image_size=(32, 32))
    blank = jax.ShapeDtypeStruct((32, 32, 3), jnp.float32)
    params = jax.eval_shape(network(config).init, jax.random.key(0), blank)["params"]
    cuts = randomised_from_cut(params)
    assert block_count(params) == 4
    assert cuts["fc"]["kernel"] == 0
    assert cuts["layer4"]["0"]["conv1"]["kernel"] == 1 and cuts["layer1"]["0"]["bn1"]["scale"] == 4
    assert cuts["conv1"]["kernel"] == 5 and cuts["layer4"]["0"]["bn1"]["var"] == 5


def test_the_random_target_is_another_class():
    raw, key = jnp.asarray(tie_free()), jax.random.key(0)

    def map_of_class(k):
        return jnp.where(k == 1, jnp.nan, jnp.where(k == 0, raw, -raw))

    draw = compiled(lambda i: metrics.random_target(map_of_class, raw, jnp.asarray(1), 3, key=jax.random.key(i)))
    assert {round(float(draw(i))) for i in range(20)} == {1, -1}  # NaN if the explained class itself were drawn
    assert np.isnan(metrics.random_target(lambda k: raw, raw, jnp.asarray(0), 1, key=key))


def test_records_need_an_explainer():
    for name in ("sensitivity", "randomization"):
        with pytest.raises(ConfigError, match="no explainer"):
            metrics.METRICS[name].record(case())


def test_complexity_equals_scipy_and_numpy():
    heatmap = tie_free().astype(np.float64)
    complexity = metrics.complexity(tie_free())
    assert float(complexity.entropy) == pytest.approx(stats.entropy(heatmap.reshape(-1)), abs=1e-5)
    gaps = np.abs(heatmap.reshape(-1, 1) - heatmap.reshape(1, -1)).mean()
    assert float(complexity.gini) == pytest.approx(gaps / (2 * heatmap.mean()), abs=1e-5)
    one_pixel = np.zeros((4, 5), np.float32)
    one_pixel[2, 2] = 1
    assert metrics.complexity(one_pixel).entropy == 0
    assert float(metrics.complexity(one_pixel).gini) == pytest.approx(1 - 1 / 20)
    assert np.isnan(metrics.complexity(np.ones((4, 5), np.float32)).gini)
