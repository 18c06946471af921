"""Maps: parity with PyTorch's bilinear resampling, ranges, and the maps that say nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vitjax import maps

SIZES = [
    ((14, 14), (224, 224)),
    ((7, 7), (224, 224)),
    ((16, 16), (256, 256)),
    ((5, 9), (80, 144)),
    ((14, 10), (225, 97)),  # factors that are not whole numbers
    ((3, 4), (10, 31)),
    ((1, 1), (8, 8)),
    ((1, 6), (16, 96)),
    ((32, 48), (20, 17)),  # downwards
    ((12, 12), (12, 12)),
]


upsample = jax.jit(maps.upsample, static_argnums=1)
to_pixels = jax.jit(maps.to_pixels, static_argnums=1)
normalise = jax.jit(maps.normalise)
is_degenerate = jax.jit(maps.is_degenerate)


def noise(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def torch_bilinear(heat, size):
    return torch.nn.functional.interpolate(
        torch.from_numpy(heat)[None, None], size=size, mode="bilinear", align_corners=False
    )[0, 0].numpy()


@pytest.mark.parametrize("grid, size", SIZES)
def test_upsample_equals_torch(grid, size):
    heat = np.random.default_rng(0).uniform(size=grid).astype(np.float32)
    ours = upsample(heat, size)
    assert ours.shape == size and ours.dtype == jnp.float32
    # PyTorch in float32 rounds the sample positions too; in float64 it is the reference for the tight bound.
    np.testing.assert_allclose(ours, torch_bilinear(heat.astype(np.float64), size), atol=1e-6, rtol=0)
    np.testing.assert_allclose(ours, torch_bilinear(heat, size), atol=4e-6, rtol=0)


@pytest.mark.parametrize("grid, size", [SIZES[0], SIZES[4], SIZES[8]])
def test_float64_stays_float64(grid, size):
    heat = noise(grid, np.float64)
    with jax.enable_x64(True):
        ours = upsample(jnp.asarray(heat), size)
        pixels = to_pixels(jnp.asarray(heat), size)
        assert ours.dtype == pixels.dtype == normalise(jnp.asarray(heat)).dtype == jnp.float64
    np.testing.assert_allclose(ours, torch_bilinear(heat, size), atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int32])
def test_lesser_dtypes_become_float32(dtype):
    assert to_pixels(jnp.arange(4).reshape(2, 2).astype(dtype), (4, 4)).dtype == jnp.float32


def test_upsample_keeps_the_range_and_clamps_the_border():
    heat = noise((6, 5))
    up = np.asarray(upsample(heat, (60, 50)))
    assert up.min() >= heat.min() and up.max() <= heat.max()
    np.testing.assert_array_equal(up[:5, :5], heat[0, 0])


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: maps.upsample(jnp.zeros((2, 14, 14)), (224, 224)), "one map"),
        (lambda: maps.upsample(jnp.zeros((0, 3)), (224, 224)), "one map"),
        (lambda: maps.upsample(jnp.zeros((14, 14)), (0, 224)), "at least 1"),
    ],
)
def test_wrong_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("scale, offset", [(1, 0), (1e-9, 0), (1e-30, 0), (1, 1e4), (1e20, -3e20)])
def test_normalise_attains_both_ends(scale, offset):
    heat = (noise((14, 14), np.float64) * scale + offset).astype(np.float32)
    out = np.asarray(normalise(heat))
    assert out.min() == 0 and out.max() == 1
    assert not is_degenerate(heat)
    assert out.argmax() == heat.argmax() and out.argmin() == heat.argmin()


def test_normalise_is_blind_to_scale_and_offset():
    heat = noise((14, 14))
    np.testing.assert_allclose(normalise(3 * heat - 7), normalise(heat), atol=2e-6)


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1, -3.7e8, 1 / 196])
def test_a_constant_map_is_degenerate_and_zero_even_upsampled(value):
    heat = jnp.full((14, 14), value)
    assert is_degenerate(heat) and is_degenerate(upsample(heat, (225, 301)))
    np.testing.assert_array_equal(normalise(heat), 0)
    np.testing.assert_array_equal(to_pixels(heat, (225, 301)), 0)


def test_rounding_is_not_relevance():
    heat = np.full((14, 14), 1 / 196, np.float32)
    heat[3, 4] = np.nextafter(heat[3, 4], np.float32(1))
    assert is_degenerate(heat)
    np.testing.assert_array_equal(normalise(heat), 0)
    heat[3, 4] *= 1.0001
    assert not is_degenerate(heat)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_stays_so_and_leaves_the_others_alone(bad):
    batch = noise((3, 14, 14))
    pixels = jax.jit(jax.vmap(lambda m: maps.to_pixels(m, (28, 28))))
    clean = pixels(batch)
    batch[1, 5, 5] = bad
    out = np.asarray(pixels(batch))
    assert np.isnan(out[1]).all()
    np.testing.assert_array_equal(out[[0, 2]], np.asarray(clean)[[0, 2]])
    np.testing.assert_array_equal(jax.vmap(is_degenerate)(batch), [False, True, False])


def test_a_nan_touches_its_neighbours_only():
    heat = noise((14, 14))
    heat[0, 0] = np.nan
    up = np.asarray(upsample(heat, (56, 56)))
    assert np.isnan(up[:4, :4]).all() and np.isfinite(up[6:, 6:]).all()


def test_jit_and_vmap_equal_eager():
    batch = noise((4, 6, 9))
    one = lambda m: maps.to_pixels(m, (50, 77))  # noqa: E731
    eager = np.stack([one(m) for m in batch])
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(batch), eager, atol=1e-6)
    np.testing.assert_allclose(np.stack([jax.jit(one)(m) for m in batch]), eager, atol=1e-6)


def test_to_pixels_of_a_pixel_map_is_min_max_alone():
    heat = noise((40, 30))
    np.testing.assert_array_equal(to_pixels(heat, (40, 30)), normalise(heat))


def test_pictures_of_pixel_maps_saturate_at_a_percentile_of_the_magnitude():
    heat = np.asarray(noise((40, 40))) ** 2
    heat[3, 4] = 1000.0
    shown = np.asarray(maps.to_display(jnp.asarray(heat), (40, 40)))
    limit = np.percentile(heat, 99)
    np.testing.assert_allclose(shown, (np.minimum(heat, limit) - heat.min()) / (limit - heat.min()), atol=1e-6)
    signed = np.asarray(maps.to_display(jnp.asarray(-heat), (40, 40), signed=True))
    np.testing.assert_allclose(signed, -np.minimum(heat, limit) / limit, atol=1e-6)
    lonely = np.zeros((40, 40))
    lonely[3, 4] = 2.0
    np.testing.assert_array_equal(np.asarray(maps.to_display(jnp.asarray(lonely), (40, 40))), lonely / 2)


def test_pictures_of_token_maps_are_what_metrics_see():
    heat = noise((5, 5))
    np.testing.assert_allclose(maps.to_display(heat, (40, 40)), to_pixels(heat, (40, 40)), atol=1e-6)
