"""Maps: agreement with PyTorch's bilinear resampling, ranges, degenerate and non-finite maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitjax import maps

SIZES = [
    ((14, 14), (224, 224)),
    ((7, 7), (224, 224)),
    ((16, 16), (256, 256)),
    ((5, 9), (80, 144)),
    ((14, 10), (225, 97)),  # non-integer factors
    ((3, 4), (10, 31)),
    ((1, 1), (8, 8)),
    ((1, 6), (16, 96)),
    ((32, 48), (20, 17)),  # downsampling
    ((12, 12), (12, 12)),
]


upsample = jax.jit(maps.upsample, static_argnums=1)
to_pixels = jax.jit(maps.to_pixels, static_argnums=1)
normalise = jax.jit(maps.normalise)
is_degenerate = jax.jit(maps.is_degenerate)


def noise(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def torch_bilinear(heatmap, size):
    torch = pytest.importorskip("torch")
    return torch.nn.functional.interpolate(
        torch.from_numpy(heatmap)[None, None], size=size, mode="bilinear", align_corners=False
    )[0, 0].numpy()


@pytest.mark.parametrize("grid, size", SIZES)
def test_upsample_equals_torch(grid, size):
    heatmap = np.random.default_rng(0).uniform(size=grid).astype(np.float32)
    ours = upsample(heatmap, size)
    assert ours.shape == size and ours.dtype == jnp.float32
    # In float32, PyTorch also rounds the sampling positions, so the tight bound is against PyTorch in float64.
    np.testing.assert_allclose(ours, torch_bilinear(heatmap.astype(np.float64), size), atol=1e-6, rtol=0)
    np.testing.assert_allclose(ours, torch_bilinear(heatmap, size), atol=4e-6, rtol=0)


def test_cells_of_a_map_that_covers_a_part_of_the_image_stand_where_the_model_saw_them():
    heatmap, size, covered = noise((3, 4)), (27, 36), (24, 32)
    expected = np.pad(upsample(heatmap, covered), [(0, 3), (0, 4)], mode="edge")
    np.testing.assert_allclose(maps.upsample(heatmap, size, covered), expected, atol=1e-6)
    np.testing.assert_allclose(maps.all_to_pixels(heatmap[None], size, covered)[0], normalise(expected), atol=1e-6)
    np.testing.assert_allclose(maps.to_display(heatmap, size, covered=covered), normalise(expected), atol=1e-6)
    np.testing.assert_array_equal(maps.upsample(expected, size, covered), expected)


@pytest.mark.parametrize("grid, size", [SIZES[0], SIZES[4], SIZES[8]])
def test_float64_stays_float64(grid, size):
    heatmap = noise(grid, np.float64)
    with jax.enable_x64(True):
        ours = upsample(jnp.asarray(heatmap), size)
        pixels = to_pixels(jnp.asarray(heatmap), size)
        assert ours.dtype == pixels.dtype == normalise(jnp.asarray(heatmap)).dtype == jnp.float64
    np.testing.assert_allclose(ours, torch_bilinear(heatmap, size), atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int32])
def test_half_precision_and_integers_become_float32(dtype):
    assert to_pixels(jnp.arange(4).reshape(2, 2).astype(dtype), (4, 4)).dtype == jnp.float32


def test_upsample_keeps_the_range_and_clamps_the_border():
    heatmap = noise((6, 5))
    up = np.asarray(upsample(heatmap, (60, 50)))
    assert up.min() >= heatmap.min() and up.max() <= heatmap.max()
    np.testing.assert_array_equal(up[:5, :5], heatmap[0, 0])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: maps.upsample(jnp.zeros((2, 14, 14)), (224, 224)), "one map"),
        (lambda: maps.upsample(jnp.zeros((0, 3)), (224, 224)), "one map"),
        (lambda: maps.upsample(jnp.zeros((14, 14)), (0, 224)), "at least 1"),
    ],
)
def test_invalid_shapes_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("scale, offset", [(1, 0), (1e-9, 0), (1e-30, 0), (1, 1e4), (1e20, -3e20)])
def test_normalised_maps_have_minimum_0_and_maximum_1(scale, offset):
    heatmap = (noise((14, 14), np.float64) * scale + offset).astype(np.float32)
    out = np.asarray(normalise(heatmap))
    assert out.min() == 0 and out.max() == 1
    assert not is_degenerate(heatmap)
    assert out.argmax() == heatmap.argmax() and out.argmin() == heatmap.argmin()


def test_normalise_is_invariant_to_scale_and_offset():
    heatmap = noise((14, 14))
    np.testing.assert_allclose(normalise(3 * heatmap - 7), normalise(heatmap), atol=2e-6)


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1, -3.7e8, 1 / 196])
def test_a_constant_map_is_degenerate_and_zero_also_upsampled(value):
    heatmap = jnp.full((14, 14), value)
    assert is_degenerate(heatmap) and is_degenerate(upsample(heatmap, (225, 301)))
    np.testing.assert_array_equal(normalise(heatmap), 0)
    np.testing.assert_array_equal(to_pixels(heatmap, (225, 301)), 0)


def test_a_map_that_varies_only_by_rounding_is_degenerate():
    heatmap = np.full((14, 14), 1 / 196, np.float32)
    heatmap[3, 4] = np.nextafter(heatmap[3, 4], np.float32(1))
    assert is_degenerate(heatmap)
    np.testing.assert_array_equal(normalise(heatmap), 0)
    heatmap[3, 4] *= 1.0001
    assert not is_degenerate(heatmap)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_non_finite_map_gives_nan_and_does_not_affect_the_rest_of_the_batch(bad):
    batch = noise((3, 14, 14))
    pixels = jax.jit(jax.vmap(lambda m: maps.to_pixels(m, (28, 28))))
    clean = pixels(batch)
    batch[1, 5, 5] = bad
    out = np.asarray(pixels(batch))
    assert np.isnan(out[1]).all()
    np.testing.assert_array_equal(out[[0, 2]], np.asarray(clean)[[0, 2]])
    np.testing.assert_array_equal(jax.vmap(is_degenerate)(batch), [False, True, False])


def test_a_nan_spreads_only_to_its_neighbours():
    heatmap = noise((14, 14))
    heatmap[0, 0] = np.nan
    up = np.asarray(upsample(heatmap, (56, 56)))
    assert np.isnan(up[:4, :4]).all() and np.isfinite(up[6:, 6:]).all()


def test_jit_and_vmap_equal_eager():
    batch = noise((4, 6, 9))
    one = lambda m: maps.to_pixels(m, (50, 77))  # noqa: E731
    eager = np.stack([one(m) for m in batch])
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(batch), eager, atol=1e-6)
    np.testing.assert_allclose(np.stack([jax.jit(one)(m) for m in batch]), eager, atol=1e-6)


def test_to_pixels_of_a_pixel_map_only_normalises():
    heatmap = noise((40, 30))
    np.testing.assert_array_equal(to_pixels(heatmap, (40, 30)), normalise(heatmap))


def test_displayed_pixel_maps_saturate_at_a_percentile_of_the_magnitude():
    heatmap = np.asarray(noise((40, 40))) ** 2
    heatmap[3, 4] = 1000.0
    shown = np.asarray(maps.to_display(jnp.asarray(heatmap), (40, 40)))
    limit = np.percentile(heatmap, 99)
    np.testing.assert_allclose(shown, (np.minimum(heatmap, limit) - heatmap.min()) / (limit - heatmap.min()), atol=1e-6)
    signed = np.asarray(maps.to_display(jnp.asarray(-heatmap), (40, 40), signed=True))
    np.testing.assert_allclose(signed, -np.minimum(heatmap, limit) / limit, atol=1e-6)
    one_pixel = np.zeros((40, 40))
    one_pixel[3, 4] = 2.0
    np.testing.assert_array_equal(np.asarray(maps.to_display(jnp.asarray(one_pixel), (40, 40))), one_pixel / 2)


def test_displayed_pixel_map_with_a_nan_shows_nothing():
    heatmap = np.asarray(noise((40, 40))).copy()
    heatmap[3, 4] = np.nan
    for signed in (False, True):
        assert np.isnan(np.asarray(maps.to_display(jnp.asarray(heatmap), (40, 40), signed=signed))).all()


def test_displayed_patch_maps_equal_those_of_metrics():
    heatmap = noise((5, 5))
    np.testing.assert_allclose(maps.to_display(heatmap, (40, 40)), to_pixels(heatmap, (40, 40)), atol=1e-6)
