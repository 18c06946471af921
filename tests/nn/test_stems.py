"""Convolutional stems: primitives against PyTorch at odd sizes, and relevance rules against a dense matrix."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vitjax.errors import ConfigError
from vitjax.nn.ops import GRADIENT
from vitjax.nn.stem_config import Stem
from vitjax.nn.vit_config import ViTConfig, check_fields
from vitjax.rules import ATTN_LRP, CONSERVATIVE, LRP_ORIGINAL, ZPLUS

PIXELS = [(7, 10), (8, 5), (6, 6)]


@pytest.fixture(autouse=True)
def float64_everywhere():
    with jax.enable_x64(True):
        yield


def peer(kind, channels):
    """A layer of timm or PyTorch in float64 that computes an entry of the table, and that entry as a function of x."""
    from tests.timm_peers import torch

    layers = pytest.importorskip("timm.layers")
    draws = torch.Generator().manual_seed(0)
    if kind.startswith("conv"):
        side, stride = int(kind[-3]), int(kind[-1])
        module = layers.std_conv.StdConv2dSame(channels, 4, side, stride=stride, eps=1e-8).double()
        if "symmetric" in kind:
            module = torch.nn.Conv2d(channels, 4, side, stride, padding=side // 2).double()
        kernel = module.weight
        if "symmetric" not in kind:
            centred = kernel - kernel.mean((1, 2, 3), keepdim=True)
            kernel = centred / (centred.square().mean((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        ours = kernel.detach().numpy().transpose(2, 3, 1, 0)
        bias = None if module.bias is None else module.bias.detach().numpy()
        padding = ((side // 2, side // 2), (side // 2, side // 2)) if "symmetric" in kind else "SAME"
        return module, lambda x: GRADIENT.conv(x, ours, bias, stride, padding)
    if kind == "groupnorm":
        module = torch.nn.GroupNorm(2, channels).double()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=draws, dtype=torch.float64))
        scale, bias = (parameter.detach().numpy() for parameter in (module.weight, module.bias))
        return module, lambda x: GRADIENT.groupnorm(x, scale, bias, 2, 1e-5)
    return {
        "max_pool_same": (layers.create_pool2d("max", 3, 2, padding="same"), lambda x: GRADIENT.max_pool(x, "SAME")),
        "max_pool_symmetric": (
            torch.nn.MaxPool2d(3, 2, padding=1),
            lambda x: GRADIENT.max_pool(x, ((1, 1), (1, 1))),
        ),
        "avg_pool": (torch.nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False), GRADIENT.avg_pool),
        "relu": (torch.nn.ReLU(), lambda x: GRADIENT.activation(x, "relu")),
    }[kind]


@pytest.mark.parametrize("size", PIXELS, ids=str)
@pytest.mark.parametrize(
    "kind",
    [
        *("conv_same_7_2", "conv_same_3_2", "conv_same_3_1", "conv_same_1_2", "conv_symmetric_3_2"),
        *("max_pool_same", "max_pool_symmetric", "avg_pool", "groupnorm", "relu"),
    ],
)
def test_primitives_and_their_gradients_equal_timms_at_odd_sizes(kind, size):
    from tests.timm_peers import torch

    module, function = peer(kind, channels=4)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(*size, 4)) - 1.0  # mostly negative: padding by 0 would be the maximum
    theirs_in = torch.from_numpy(x).permute(2, 0, 1)[None].requires_grad_()
    theirs = module(theirs_in)
    cotangent = rng.normal(size=theirs.shape)
    theirs.backward(torch.from_numpy(cotangent))
    ours, vjp = jax.vjp(function, x)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, theirs[0].detach().permute(1, 2, 0).numpy(), rtol=0, atol=1e-12)
    gradient = vjp(cotangent[0].transpose(1, 2, 0))[0]
    np.testing.assert_allclose(gradient, theirs_in.grad[0].permute(1, 2, 0).numpy(), rtol=0, atol=1e-12)


def small_convolution(side=3, stride=2, padding="SAME"):
    """x, kernel, bias, relevance of the result, and the convolution as a matrix [inputs, outputs]."""
    rng = np.random.default_rng(2)
    x, kernel, bias = rng.normal(size=(5, 4, 2)), rng.normal(size=(side, side, 2, 3)), rng.normal(size=3)
    basis = np.eye(x.size).reshape(-1, *x.shape)
    rows = jnp.stack([GRADIENT.conv(each, kernel, None, stride, padding) for each in basis])
    relevance = rng.normal(size=rows.shape[1:])
    return x, kernel, bias, relevance, np.asarray(rows).reshape(x.size, -1), (stride, padding)


@pytest.mark.parametrize(("side", "stride", "padding"), [(3, 2, "SAME"), (3, 1, ((1, 1), (1, 1))), (2, 2, "VALID")])
@pytest.mark.parametrize("table", [ZPLUS, LRP_ORIGINAL], ids=["ZPLUS", "LRP_ORIGINAL"])
@pytest.mark.parametrize("entries", [("conv", "linear"), ("pixel_conv", "pixels")], ids=lambda pair: pair[0])
def test_rules_of_a_convolution_are_those_of_the_matrix_that_it_multiplies_by(table, entries, side, stride, padding):
    x, kernel, bias, relevance, matrix, how = small_convolution(side, stride, padding)
    convolve, multiply = (getattr(table, entry) for entry in entries)
    result, vjp = jax.vjp(lambda x: convolve(x, kernel, bias, *how), x)
    np.testing.assert_allclose(result, GRADIENT.conv(x, kernel, bias, *how), rtol=1e-12)
    biases = np.broadcast_to(bias, relevance.shape).reshape(-1)
    _, dense_vjp = jax.vjp(lambda x: multiply(x, matrix, biases), x.reshape(-1))
    expected = dense_vjp(relevance.reshape(-1))[0].reshape(x.shape)
    found = vjp(relevance)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_relevance_is_conserved_by_every_layer_of_a_stem():
    x, kernel, bias, relevance, _, how = small_convolution()
    total = relevance.sum()
    for convolve in (ZPLUS.conv, ZPLUS.pixel_conv):
        found = jax.vjp(lambda x, convolve=convolve: convolve(x, kernel, bias, *how), x)[1](relevance)[0]
        np.testing.assert_allclose(found.sum(), total, rtol=1e-6)
    rng = np.random.default_rng(3)
    for function in (
        lambda x: ZPLUS.max_pool(x, "SAME"),
        ZPLUS.avg_pool,
        lambda x: ZPLUS.groupnorm(x, jnp.ones(2), jnp.ones(2), 2, 1e-5),
        lambda x: ZPLUS.activation(x, "relu"),
    ):
        result, vjp = jax.vjp(function, x)
        relevance = rng.normal(size=result.shape)
        np.testing.assert_allclose(vjp(relevance)[0].sum(), relevance.sum(), rtol=1e-5)


def test_the_largest_value_of_a_window_takes_its_relevance():
    x = np.arange(16.0).reshape(4, 4, 1)
    _, vjp = jax.vjp(lambda x: ZPLUS.max_pool(x, "SAME"), x)
    found = np.asarray(vjp(np.array([[1.0, 2.0], [3.0, 4.0]])[:, :, None])[0])[:, :, 0]
    expected = np.zeros((4, 4))
    expected[2, 2], expected[2, 3], expected[3, 2], expected[3, 3] = 1, 2, 3, 4
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("table", [ATTN_LRP, CONSERVATIVE], ids=["ATTN_LRP", "CONSERVATIVE"])
def test_input_times_modified_gradient_is_conserved_by_group_norm_and_relu(table):
    rng = np.random.default_rng(4)
    x, scale = rng.normal(size=(5, 4, 6)), rng.normal(size=6)
    for function in (
        lambda x: table.groupnorm(x, scale, jnp.zeros(6), 3, 1e-5),
        lambda x: table.activation(x, "relu"),
        lambda x: table.max_pool(x, "SAME"),
        table.avg_pool,
    ):
        result, vjp = jax.vjp(function, x)
        cotangent = rng.normal(size=result.shape)
        np.testing.assert_allclose((x * vjp(cotangent)[0]).sum(), (result * cotangent).sum(), rtol=1e-10)


def test_group_norm_under_a_modified_gradient_holds_the_standard_deviation_constant():
    """By hand: x = (1, 3) in one group has mean 2 and variance 1; a cotangent (1, 0) goes back as (1/2, -1/2) / std."""
    x = np.array([1.0, 3.0]).reshape(1, 1, 2)
    for table, expected in ((ATTN_LRP, [0.5, -0.5]), (GRADIENT, [0.0, 0.0])):
        _, vjp = jax.vjp(lambda x, table=table: table.groupnorm(x, jnp.ones(2), jnp.zeros(2), 1, 0.0), x)
        np.testing.assert_allclose(vjp(np.array([1.0, 0.0]).reshape(1, 1, 2))[0].ravel(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "swin", "channels": (4,)}, "stem kind must be one of|must have the fields"),
        ({"kind": "bit", "channels": (4, 4)}, "needs 1 channels"),
        ({"kind": "bit", "channels": (4,)}, "not a multiple of its groups 32"),
        ({"kind": "resnetd", "channels": (4, 0, 4)}, "stem channels must be integers of at least 1"),
        ({"kind": "convs", "channels": (4,), "sides": (2,), "depths": (1,)}, "has no stages"),
        ({"kind": "resnetd", "channels": (4, 4, 4), "sides": (2,)}, "sides must be"),
        ({"kind": "bit", "channels": (32,), "groups": 0}, "stem groups must be"),
        ({"kind": "bit", "channels": [[32]]}, "stem channels must be|must have the fields"),
        ({"kind": "bit", "width": 4}, "must have the fields of a Stem"),
        ([1], "must have the fields of a Stem"),
    ],
)
def test_invalid_stems_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        Stem.from_fields(fields)


def test_a_stem_must_fit_the_patches():
    sizes = {"width": 24, "depth": 1, "heads": 1, "mlp_dim": 8, "stem": Stem("bit", (32,), (1, 1))}
    assert ViTConfig(**sizes, patch_size=16, image_size=(32, 48)).grid == (2, 3)
    for wrong in ({"patch_size": 12, "image_size": (48, 48)}, {"patch_size": 8, "drop_remainder": True}):
        with pytest.raises(ConfigError, match="a stem of stride 8"):
            ViTConfig(**sizes, **wrong)
    with pytest.raises(ConfigError, match="stem must be a Stem"):
        check_fields({**sizes, "stem": "bit"})


def test_sizes_of_stems():
    """Of timm's hybrids: stride and channels of the feature map."""
    found = {
        Stem("bit", (64,)): (4, 64),
        Stem("bit", (64,), (2, 2, 2, 2)): (32, 2048),
        Stem("resnetd", (32, 32, 64), (3, 4, 6)): (16, 1024),
        Stem("convs", (192, 192), sides=(4, 2)): (8, 192),
    }
    for stem, sizes in found.items():
        assert (stem.stride, stem.features) == sizes
    kinds = [stem.without_sizes() for stem in found]
    assert all(first != second for first, second in itertools.combinations(kinds, 2))
    assert Stem("bit", (64,), (3, 4, 9)).without_sizes() == kinds[1]
