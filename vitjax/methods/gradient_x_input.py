"""Gradient x input: the elementwise product of the input and its gradient, summed over channels."""

from typing import Literal

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import Fold
from vitjax.layerwise.score import image_gradient
from vitjax.layerwise.target import Score
from vitjax.methods.building_blocks import boundary_fold, input_times_cotangent
from vitjax.methods.contract import Method
from vitjax.nn.network import Config
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target, at_least_float32

At = Literal["pixels", "tokens"]


def gradient_x_input(config: ViTConfig, *, at: At = "pixels", score: Score = "logit") -> Fold:
    """Input times gradient, summed over channels (Shrikumar et al. 2016).

    map = Σ_channels x ∘ ∂s/∂x.

    Args:
        at: "pixels": x is the normalised image, the map is [H, W]; "tokens": x are the tokens that enter block 0, the
            map is [h, w] over the patches (ViTs only).
        score: s is the logit or the probability of the explained class.

    Returns:
        A `Fold` whose result is a map of signed values.

    Raises:
        ConfigError: at="tokens" on a model that is no ViT.

    Cost: two forwards and one backward (2F + 1B).

    Differs from reference: nothing.

    Example:
        >>> e = vitjax.explain(model, image, method="gradient_x_input", at="tokens")
        >>> e.maps.shape, e.signed
        ((1, 8, 8), True)
    """
    return boundary_fold(input_times_cotangent(config, at, "grad"), gradient=score)


def on_cnn(
    config: Config,
    params: Params,
    image: Image,
    target: Target,
    *,
    key: Array,
    at: At = "pixels",
    score: Score = "logit",
) -> Array:
    """`gradient_x_input` for a ResNet or a function, at pixels only."""
    del key
    if at != "pixels":
        raise ConfigError(f"method 'gradient_x_input': at={at!r} needs a transformer; other models have pixels only")
    return (at_least_float32(image) * image_gradient(config, params, image, target, score)).sum(axis=-1)


METHOD = Method(
    title="Gradient × input",
    cite="Shrikumar et al. 2016, Not Just a Black Box: Learning Important Features Through Propagating Activation "
    "Differences",
    cost="2F + 1B",
    fold=gradient_x_input,
    cnn=on_cnn,
    level="pixel",
    needs=frozenset({"head"}),
    use_when="signed contributions to first order are wanted, on any differentiable model; maps are noisy",
)
