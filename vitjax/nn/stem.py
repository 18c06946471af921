"""Convolutional stems: the layers of a hybrid ViT between the pixels and the patches, for ONE image."""

from __future__ import annotations

from flax import linen as nn

from vitjax.nn.layers import sow
from vitjax.nn.ops import Ops, Padding
from vitjax.nn.stem_config import EXPANSION, Stem
from vitjax.shapes import Array, Float, Image, Tokens

Features = Float[Array, "down across c"]

NORM_EPS = 1e-5
"""Epsilon of the GroupNorms."""


class Conv(nn.Module):
    """A convolution with square kernels [side, side, i, o]."""

    features: int
    side: int
    stride: int
    padding: Padding
    ops: Ops
    use_bias: bool
    reads_pixels: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.side, self.side, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        convolve = self.ops.pixel_conv if self.reads_pixels else self.ops.conv
        return convolve(x, kernel, bias, self.stride, self.padding)


class Projection(nn.Module):
    """Patches [side, side, i] of a feature map [h, w, i] in row-major order -> tokens [n, c].

    Sows its `result` into the collection "results" and opens it to perturbation, as `Linear` does.
    """

    features: int
    side: int
    ops: Ops
    use_bias: bool

    @nn.compact
    def __call__(self, x: Array) -> Tokens:
        shape = (self.side, self.side, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        result = self.ops.conv(x, kernel, bias, self.side, "VALID").reshape(-1, self.features)
        sow(self, "results", "result", result)
        return self.perturb("result", result)


class GroupNorm(nn.Module):
    """GroupNorm of a feature map, with scale and bias for each channel."""

    groups: int
    ops: Ops

    @nn.compact
    def __call__(self, x: Features) -> Features:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return self.ops.groupnorm(x, scale, bias, self.groups, NORM_EPS)


class Bottleneck(nn.Module):
    """Bottleneck block: 1x1, 3x3 (strided) and 1x1 convolutions, and a skip connection."""

    config: Stem
    ops: Ops
    width: int
    stride: int
    resampled: bool  # whether the skip connection changes the channels or the resolution

    @nn.compact
    def __call__(self, x: Array) -> Array:
        stem, ops, features = self.config, self.ops, EXPANSION * self.width
        skip, y = ops.fork(x)
        y = ops.activation(_convolved(stem, ops, y, "1", self.width, 1), "relu")
        y = ops.activation(_convolved(stem, ops, y, "2", self.width, 3, self.stride), "relu")
        y = _convolved(stem, ops, y, "3", features, 1)
        if self.resampled:
            averaged = stem.kind == "resnetd" and self.stride > 1
            skip = ops.avg_pool(skip) if averaged else skip
            skip = _convolved(stem, ops, skip, "_skip", features, 1, 1 if averaged else self.stride)
        return ops.activation(ops.add(y, skip), "relu")


class Stage(nn.Module):
    """Bottleneck blocks of one resolution."""

    config: Stem
    ops: Ops
    number: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for block in range(self.config.depths[self.number]):
            stride = 2 if block == 0 and self.number else 1
            width = self.config.channels[-1] << self.number
            x = Bottleneck(self.config, self.ops, width, stride, block == 0, name=f"block{block}")(x)
        return x


class ConvStem(nn.Module):
    """The stem: image [H, W, 3] -> feature map [H / stride, W / stride, features]."""

    config: Stem
    ops: Ops

    @nn.compact
    def __call__(self, image: Image) -> Array:
        stem, ops = self.config, self.ops
        fixed = {"bit": ((7, 2),), "resnetd": ((3, 2), (3, 1), (3, 1))}
        layers = tuple((side, side) for side in stem.sides) if stem.kind == "convs" else fixed[stem.kind]
        x: Array = image
        for number, (features, (side, stride)) in enumerate(zip(stem.channels, layers, strict=True)):
            x = _convolved(stem, ops, x, str(number), features, side, stride, reads_pixels=number == 0)
            x = ops.activation(x, "gelu" if stem.kind == "convs" else "relu")
        if stem.kind == "convs":
            return x
        x = ops.max_pool(x, padding_of(stem, 3))
        for number in range(len(stem.depths)):
            x = Stage(stem, ops, number, name=f"stage{number}")(x)
        return x


def padding_of(stem: Stem, side: int) -> Padding:
    """Padding of a convolution or pooling with this side."""
    if stem.kind == "resnetd":
        return ((side // 2, side // 2), (side // 2, side // 2))
    return "SAME" if stem.kind == "bit" else "VALID"


def _convolved(
    stem: Stem,
    ops: Ops,
    x: Array,
    name: str,
    features: int,
    side: int,
    stride: int = 1,
    reads_pixels: bool = False,
) -> Array:
    """A convolution `conv{name}`, and the norm `norm{name}` after it; other norms are folded into the convolution."""
    normed = stem.kind == "bit"
    conv = Conv(features, side, stride, padding_of(stem, side), ops, not normed, reads_pixels, name=f"conv{name}")
    return GroupNorm(stem.groups, ops, name=f"norm{name}")(conv(x)) if normed else conv(x)
