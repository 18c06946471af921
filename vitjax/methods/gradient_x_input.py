"""Gradient x input."""

from typing import Literal

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import Fold, Score, wide
from vitjax.layerwise.score import image_gradient
from vitjax.methods.building_blocks import at_the_end, times_input
from vitjax.methods.contract import Method
from vitjax.nn.resnet import ResNetConfig
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target

At = Literal["pixels", "tokens"]


def gradient_x_input(config: ViTConfig, *, at: At = "pixels", score: Score = "logit") -> Fold:
    """map = Σ_channels x ∘ ∂s/∂x (Shrikumar et al. 2016).

    Args:
        at: x is the normalised image, "pixels" [H, W], or the "tokens" entering block 0 on patches [h, w]
            (ViTs).
        score: s is the logit or the probability of the explained class.

    Returns signed values.

    Cost: two forwards and one backward. Differs from reference: nothing.

    Example: `vitjax.explain(model, "cat.jpg", method="gradient_x_input", at="tokens")`
    """
    return at_the_end(times_input(config, at, "grad"), gradient=score)


def on_cnn(
    config: ResNetConfig,
    params: Params,
    image: Image,
    target: Target,
    *,
    key: Array,
    at: At = "pixels",
    score: Score = "logit",
) -> Array:
    """The same of a ResNet, at pixels."""
    del key
    if at != "pixels":
        raise ConfigError(f"method 'gradient_x_input': at={at!r} needs a transformer; a ResNet has pixels only")
    return (wide(image) * image_gradient(config, params, image, target, score)).sum(axis=-1)


METHOD = Method(
    title="Gradient x input",
    cite="Shrikumar et al. 2016, Not Just a Black Box: Learning Important Features Through Propagating Activation "
    "Differences",
    cost="2F + 1B",
    fold=gradient_x_input,
    cnn=on_cnn,
    level="pixel",
    needs=frozenset({"head"}),
)
