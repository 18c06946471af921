"""Bottleneck ResNets such as ResNet-50, the CNN baseline of the papers, for ONE image; batch with `jax.vmap`.

The stride of a bottleneck block is on its 3x3 convolution, as in torchvision's and timm's resnet50 ("v1.5"); He et al.
2016 (arXiv:1512.03385) have it on the first 1x1 convolution. Inference only: batch norm uses its running statistics,
which are stored as parameters. Parameters have torchvision's names (`conv1`, `bn1`, `layer1.0.downsample.0`, `fc`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
from flax import linen as nn

from vitjax.errors import ConfigError
from vitjax.nn.layers import sow_intermediate
from vitjax.shapes import Array, Float, Image, Logits, ceil_div

EXPANSION = 4
"""Output channels of a block divided by its inner channels."""

MIN_SIDE = 32
"""Smallest height and width of an image in pixels, the total stride of the network."""

LAYERS = ("layer1", "layer2", "layer3", "layer4")
"""Names of the stages."""

STATISTICS = ("mean", "var")
"""Parameters of a batch norm that are running statistics; the other parameters are trained."""

Features = Float[Array, "down across c"]
NewFeatures = Float[Array, "new_down new_across new_c"]  # after a stride, which also changes the channels


@dataclass(frozen=True)
class ResNetConfig:
    """Architecture of a bottleneck ResNet; hashable, so that it can be a static argument of compiled functions.

    depths: number of blocks in layer1 to layer4, each at least 1.
    width: inner channels of layer1; they double from stage to stage.
    num_classes: number of classes; 0 for a model without a head, whose logits are the pooled features.
    image_size: (height, width) in pixels, each at least 32. No parameter depends on it.
    norm_eps: epsilon of the batch norms.

    Raises:
        ConfigError: `depths` or `image_size` is out of range.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    num_classes: int = 1000
    image_size: tuple[int, int] = (224, 224)
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if len(self.depths) != 4 or min(self.depths) < 1:
            raise ConfigError(f"depths {self.depths} are not four numbers of blocks, each at least 1")
        for side, name in zip(self.image_size, ("height", "width"), strict=True):
            if side < MIN_SIDE:
                raise ConfigError(f"image {name} {side} is below the {MIN_SIDE} pixels that a ResNet needs")

    def grid_of(self, stage: int) -> tuple[int, int]:
        """Grid (height, width) of the output of stage 0..3; every stride rounds odd sizes up."""
        height, width = self.image_size
        pixels = 4 << stage
        return ceil_div(height, pixels), ceil_div(width, pixels)

    @property
    def grid(self) -> tuple[int, int]:
        """Grid (height, width) of the last stage, on which maps are defined that do not belong to another stage."""
        return self.grid_of(3)

    @property
    def covered(self) -> tuple[int, int]:
        """(height, width) in pixels that a grid stands for: the whole image, as every pixel is read."""
        return self.image_size

    @property
    def features(self) -> int:
        """Number of channels of the last stage."""
        return EXPANSION * self.width << 3

    def at_size(self, image_size: Sequence[int]) -> ResNetConfig:
        """The same architecture at another image size, (height, width) in pixels.

        Raises:
            ConfigError: a side is below 32 pixels.
        """
        return replace(self, image_size=(image_size[0], image_size[1]))


class BatchNorm(nn.Module):
    """Batch norm of inference: (x - mean) / sqrt(var + eps) · scale + bias per channel, with running statistics."""

    eps: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        shape = (x.shape[-1],)
        scale, bias = self.param("scale", ones, shape), self.param("bias", zeros, shape)
        mean, var = self.param("mean", zeros, shape), self.param("var", ones, shape)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        normed = (x.astype(wide) - mean.astype(wide)) / jnp.sqrt(var.astype(wide) + self.eps)
        return normed.astype(x.dtype) * scale + bias


class Downsample(nn.Module):
    """Skip connection of a stage's first block: a strided 1x1 convolution and a batch norm."""

    features: int
    stride: int
    eps: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return BatchNorm(self.eps, name="1")(_conv(self.features, 1, self.stride, name="0")(x))


class Bottleneck(nn.Module):
    """Bottleneck block: 1x1, 3x3 (strided) and 1x1 convolutions, and a skip connection."""

    width: int
    stride: int
    resampled: bool  # whether the skip connection changes the channels or the resolution
    eps: float

    @nn.compact
    def __call__(self, x: Features) -> NewFeatures:
        features = EXPANSION * self.width
        y = nn.relu(BatchNorm(self.eps, name="bn1")(_conv(self.width, 1, name="conv1")(x)))
        y = nn.relu(BatchNorm(self.eps, name="bn2")(_conv(self.width, 3, self.stride, name="conv2")(y)))
        y = BatchNorm(self.eps, name="bn3")(_conv(features, 1, name="conv3")(y))
        skip = Downsample(features, self.stride, self.eps, name="downsample")(x) if self.resampled else x
        return nn.relu(y + skip)


class Stage(nn.Module):
    """Blocks "0", "1", ... of one resolution. Sows `output`, the features after the last ReLU."""

    config: ResNetConfig
    number: int

    @nn.compact
    def __call__(self, x: Features) -> NewFeatures:
        for block in range(self.config.depths[self.number]):
            first = block == 0
            stride = 2 if first and self.number else 1
            width = self.config.width << self.number
            x = Bottleneck(width, stride, first, self.config.norm_eps, name=str(block))(x)
        sow_intermediate(self, "output", x)
        return x


class ResNet(nn.Module):
    """The whole model: image -> stem -> four stages -> mean over positions -> logits.

    Sows `layer1.output` to `layer4.output`. Takes any image of at least 32 x 32 pixels; for an image of
    `config.image_size`, the output of a stage has the grid `config.grid_of(stage)`.

    `stages` and `from_stage` are called by `apply(..., method=...)`. They split the network after any stage, so that a
    logit can be differentiated by that stage's output::

        features = net.apply(variables, image, method="stages")[3]
        gradient = jax.grad(lambda f: net.apply(variables, 3, f, method="from_stage")[target])(features)
    """

    config: ResNetConfig

    def setup(self) -> None:
        cfg = self.config
        self.conv1, self.bn1 = _conv(cfg.width, 7, 2), BatchNorm(cfg.norm_eps)
        self.layers = [Stage(cfg, number, name=name) for number, name in enumerate(LAYERS)]
        if cfg.num_classes:
            self.fc = nn.Dense(cfg.num_classes)

    def __call__(self, image: Image) -> Logits:
        """Logits [k] of a normalised image [H, W, 3]; the pooled features [32 · width] if the model has no head."""
        return self.from_stage(3, self.stages(image)[3])

    def stages(self, image: Image) -> tuple[Array, Array, Array, Array]:
        """Outputs [h, w, c] >= 0 of layer1 to layer4, after their last ReLU.

        They have 4, 8, 16 and 32 · width channels and 1/4, 1/8, 1/16 and 1/32 of the image's resolution, rounded up.
        """
        x = nn.relu(self.bn1(self.conv1(image)))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        first, second, third, fourth = outputs
        return first, second, third, fourth

    def from_stage(self, stage: int, features: Features) -> Logits:
        """Logits [k] from the output [h, w, c] of a stage, 0 (layer1) to 3 (layer4).

        Raises:
            ConfigError: the stage is not in 0..3.
        """
        if stage not in range(4):
            raise ConfigError(f"stage {stage} is not one of 0 (layer1), 1, 2, 3 (layer4)")
        for layer in self.layers[stage + 1 :]:
            features = layer(features)
        pooled = features.mean(axis=(0, 1))
        return self.fc(pooled) if self.config.num_classes else pooled


def _conv(features: int, side: int, stride: int = 1, name: str | None = None) -> nn.Conv:
    """Convolution without bias, padded by side // 2 on all four sides as in PyTorch.

    flax's "SAME" differs: with a stride, it pads an image with an even side by unequal amounts.
    """
    padding = (side // 2, side // 2)
    init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
    return nn.Conv(
        features,
        (side, side),
        (stride, stride),
        padding=(padding, padding),
        use_bias=False,
        kernel_init=init,
        name=name,
    )
