"""Methods that draw random numbers, optimise or cluster, against plain numpy with the same random draws."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests.cases import tiny_batch, tiny_images, tiny_model
from tests.conftest import SHARED, needs_shared
from vitjax.explaining.programs import image_key
from vitjax.methods.meaningful_perturbation import gaussian_blur
from vitjax.methods.quadrature import AdaptiveNodes, fixed_nodes
from vitjax.methods.rise import random_mask
from vitjax.methods.vit_cx import cluster_masks

TARGET = 3


@pytest.fixture(scope="module")
def single_image():
    """A float64 model, a batch of one image, the image, its PRNG key, its probability and its gradient as functions."""
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        model = tiny_model("plain", np.float64)
        batch = tiny_batch(model, 1)
        x = batch.x[0].astype(np.float64)
        key = image_key(jnp.uint32(0), batch.seeds()[0])
        probability = jax.jit(lambda x: jax.nn.softmax(model.logits(x[None])[0])[TARGET])
        gradient = jax.jit(jax.grad(lambda x: model.logits(x[None])[0][TARGET]))
        yield model, batch, x, key, probability, gradient


def explained(single_image, method, **options):
    model, batch, *_ = single_image
    return vitjax.explain(model, batch, method=method, target=TARGET, **options).maps[0]


def assert_close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=1e-9 * np.abs(theirs).max(), rtol=0)


@pytest.mark.slow
def test_smooth_grad_is_the_mean_over_its_noisy_copies(single_image):
    _, _, x, key, _, gradient = single_image
    draws = [
        np.asarray(gradient(x + 0.15 * np.ptp(x) * jax.random.normal(jax.random.fold_in(key, k), x.shape, x.dtype)))
        for k in range(3)
    ]
    assert_close(explained(single_image, "smooth_grad", n=3), np.mean(draws, axis=0).sum(-1))
    assert_close(explained(single_image, "smooth_grad", n=3, aggregate="absolute"), np.abs(draws).mean(axis=0).sum(-1))
    assert_close(
        explained(single_image, "smooth_grad", n=3, aggregate="squared"), np.square(draws).mean(axis=0).sum(-1)
    )
    assert_close(explained(single_image, "smooth_grad", n=3, aggregate="variance"), np.var(draws, axis=0).sum(-1))


def test_smooth_grad_without_noise_is_the_gradient(single_image):
    _, _, x, _, _, gradient = single_image
    assert_close(explained(single_image, "smooth_grad", n=2, stdev=0.0), np.asarray(gradient(x)).sum(-1))


def test_rise_is_the_weighted_mean_of_its_masks(single_image):
    _, _, x, key, probability, _ = single_image
    masks = [np.asarray(random_mask(jax.random.fold_in(key, i), (32, 32), 4, 0.5, np.float64)) for i in range(11)]
    expected = sum(float(probability(x * mask[..., None])) * mask for mask in masks) / (11 * 0.5)
    assert_close(explained(single_image, "rise", n=11, cells=4), expected)


def test_random_masks_have_the_requested_mean_and_range():
    keys = jax.random.split(jax.random.key(0), 400)
    masks = np.asarray(jax.vmap(lambda key: random_mask(key, (40, 24), 5, 0.3))(keys))
    assert masks.shape == (400, 40, 24) and masks.min() >= 0 and masks.max() <= 1
    assert abs(masks.mean() - 0.3) < 0.02
    assert np.ptp(masks.mean(axis=0)) < 0.2  # the mean is uniform over pixels


@pytest.mark.slow
def test_vit_cx_is_the_weighted_mean_of_its_cluster_masks(single_image):
    model, _, x, key, probability, _ = single_image
    normed = vitjax.trace(model, x[None]).normed[0, -1][model.config.prefix :]
    grids = jnp.asarray(normed.T.reshape(-1, *model.config.grid))
    features = np.asarray(jax.image.resize(grids, (len(grids), 32, 32), "linear")).reshape(len(grids), -1)
    features = features - features.min(1, keepdims=True)
    features = (features / features.max(1, keepdims=True)).reshape(-1, 32, 32)
    masks = cluster_masks(features, 0.1)
    for noise in (0.0, 0.1):
        weighted = 0
        for i, mask in enumerate(masks):
            draw = np.asarray(jax.random.normal(jax.random.fold_in(key, i), x.shape, x.dtype))
            added = noise * draw * (1 - mask[..., None])
            p = probability(x * mask[..., None] + added) - probability(x + added) + probability(x)
            weighted = weighted + float(p) * mask
        assert_close(explained(single_image, "vit_cx", noise=noise), weighted / masks.sum(0) / len(masks))


def test_clusters_are_those_of_complete_linkage_by_cosine_distance():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 8, 8))
    features = np.stack([a, b, a + 1e-3 * rng.random((8, 8)), 2 * b, np.zeros((8, 8))])
    masks = cluster_masks(features, 0.05)
    assert len(masks) == 3
    flat = masks.reshape(3, -1)
    np.testing.assert_allclose([flat.min(), flat.max()], [0, 1])
    expected = features[[1, 3]].sum(0)
    expected = (expected - expected.min()) / np.ptp(expected)
    assert min(np.abs(mask - expected).max() for mask in masks) < 1e-12


@pytest.mark.slow
def test_meaningful_perturbation_deletes_the_evidence_of_the_class(single_image):
    """The mask lowers the probability almost as much as a full blur; a high area weight deletes nothing."""
    model, batch, x, *_ = single_image

    def probabilities(x):
        return np.asarray(jax.nn.softmax(model.logits(np.asarray(x)[None])[0]))

    blurred = np.asarray(gaussian_blur(jnp.asarray(x), 10.0))
    original, after_blur = probabilities(x), probabilities(blurred)
    target = int(np.argmax(original - after_blur))
    options = {"method": "meaningful_perturbation", "target": target, "steps": 60}
    deleted = vitjax.explain(model, batch, area=0.01, **options).maps[0]
    assert deleted.min() >= 0 and deleted.max() <= 1
    after_deletion = probabilities((1 - deleted[..., None]) * x + deleted[..., None] * blurred)
    assert after_deletion[target] < original[target] - 0.8 * (original[target] - after_blur[target])
    assert np.abs(vitjax.explain(model, batch, area=100.0, **options).maps).max() < 0.2


def test_gaussian_blur_preserves_constants_and_the_sum():
    with jax.enable_x64(True):
        constant = jnp.full((9, 14, 3), 2.5)
        np.testing.assert_allclose(gaussian_blur(constant, 3.0), constant, rtol=1e-12)
        impulse = jnp.zeros((41, 41, 3)).at[20, 20].set(1.0)
        blurred = np.asarray(gaussian_blur(impulse, 2.0))
        np.testing.assert_allclose(blurred.sum((0, 1)), 1, rtol=1e-9)
        np.testing.assert_allclose(blurred[20, 22, 0] / blurred[20, 20, 0], np.exp(-0.5), rtol=1e-9)


@pytest.mark.parametrize(
    ("quadrature", "sum_of_weights"), [("gausslegendre", 1), ("riemann_middle", 1), ("riemann_trapezoid", 0.9)]
)
def test_fixed_quadratures_integrate_a_straight_line(quadrature, sum_of_weights):
    points, weights = fixed_nodes(quadrature, 10)
    np.testing.assert_allclose(weights.sum(), sum_of_weights)
    exact = sum_of_weights / 2
    np.testing.assert_allclose((weights * points).sum(), exact)
    assert points.min() >= 0 and points.max() <= 1


def test_adaptive_nodes_resolve_a_sharp_bend():
    """Gauss-Legendre points miss the bend, whose width is 1/100."""

    def f(a):
        return jnp.tanh((a - 0.03) * 200) + a

    def slope(a):
        return 200 / np.cosh((a - 0.03) * 200) ** 2 + 1

    @partial(jax.jit, static_argnums=(0, 1))
    def adaptive_nodes(function, steps):
        quadrature = AdaptiveNodes(steps)
        edges = quadrature.panel_edges(function(quadrature.coarse_points()))
        return quadrature.nodes(edges, function(quadrature.fine_points(edges)))

    points, weights = (np.asarray(values, np.float64) for values in adaptive_nodes(f, 32))
    assert (np.diff(points) > 0).all() and points[0] > 0 and points[-1] < 1
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-5)
    exact = float(f(1.0) - f(0.0))
    assert abs((weights * slope(points)).sum() - exact) < 0.003 * exact
    points, weights = fixed_nodes("gausslegendre", 32)
    assert abs((weights * slope(points)).sum() - exact) > 0.03 * exact
    points, weights = adaptive_nodes(lambda a: 2 * a, 8)  # panels of a straight line are equal
    np.testing.assert_allclose(np.asarray(weights), 1 / 8, rtol=0.05)


@needs_shared
@pytest.mark.slow
def test_adaptive_quadrature_is_complete_to_one_percent_at_64_steps():
    """On DeiT-Tiny and the photograph, of 54, with the largest completeness gap."""
    model = vitjax.load("deit_tiny_patch16_224", weights=SHARED / "data" / "deit_tiny_patch16_224.safetensors")
    photographs = sorted((SHARED / "data" / "dev" / "images").glob("*.jpg"))
    photographs = [path for path in photographs if path.name.startswith("d051")]
    options = {"steps": 64, "quadrature": "adaptive"}
    explanation = vitjax.explain(model, photographs, method="integrated_gradients", **options)
    assert len(explanation) == 1 and explanation.completeness_gap().max() < 0.01


@pytest.mark.slow
def test_completeness_gap_shrinks_with_steps():
    model = tiny_model("plain")
    images = tiny_images(model, 2)
    gaps = []
    for steps in (2, 32):
        explanation = vitjax.explain(model, images, method="integrated_gradients", target=TARGET, steps=steps)
        gaps.append(explanation.completeness_gap().max())
    assert gaps[1] < 0.01 < gaps[0]
    options = {"steps": 32, "score": "probability"}
    explanation = vitjax.explain(model, images, method="integrated_gradients", target=TARGET, **options)
    assert explanation.completeness_gap().max() < 0.02


@pytest.mark.slow
def test_memory_does_not_grow_with_steps():
    from vitjax.explaining.programs import compiled
    from vitjax.explaining.requests import request

    model = tiny_model("plain")
    arguments = (model.params, tiny_images(model, 8), np.zeros(8, np.int32), np.zeros(8, np.uint32), np.uint32(0))

    def temporary_bytes(steps):
        program = compiled(model.config, (request("integrated_gradients", steps=steps),))
        return program.lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(256) < 1.1 * temporary_bytes(16)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("integrated_gradients", {"steps": 0}),
        ("integrated_gradients", {"steps": 0, "quadrature": "adaptive"}),
        ("smooth_grad", {"n": 0}),
        ("smooth_grad", {"stdev": -1.0}),
        ("occlusion", {"window": 64}),
        ("occlusion", {"window": 8, "stride": 9}),
        ("rise", {"keep": 0.0}),
        ("vit_cx", {"distance": 0.0}),
        ("meaningful_perturbation", {"blur": 0.0}),
    ],
)
def test_options_out_of_range_are_refused(method, options):
    model = tiny_model("plain")
    with pytest.raises(vitjax.errors.ConfigError, match=next(iter(options))):
        vitjax.explain(model, tiny_images(model, 1), method=method, **options)
