"""Saliency: the largest absolute gradient over the channels of each pixel."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold
from vitjax.layerwise.score import image_gradient
from vitjax.layerwise.target import Score
from vitjax.methods.building_blocks import boundary_fold
from vitjax.methods.contract import Method
from vitjax.nn.network import Config
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target


def saliency(config: ViTConfig, *, score: Score = "logit") -> Fold:
    """Largest absolute gradient over channels (Simonyan et al. 2014).

    map = max over channels of |∂s/∂x|, where x is the normalised image.

    Args:
        score: s is the logit or the probability of the explained class.

    Returns:
        A `Fold` whose result is a map [H, W] over pixels; values >= 0.

    Cost: two forwards and one backward (2F + 1B).

    Differs from reference: nothing.

    Example:
        >>> maps = vitjax.explain(model, image, method="saliency").maps
        >>> maps.shape, bool((maps >= 0).all())
        ((1, 64, 64), True)
    """
    del config
    return boundary_fold(lambda boundary: _largest_magnitude(boundary.image_grad), gradient=score)


def on_cnn(
    config: Config, params: Params, image: Image, target: Target, *, key: Array, score: Score = "logit"
) -> Array:
    """`saliency` for a ResNet or a function."""
    del key
    return _largest_magnitude(image_gradient(config, params, image, target, score))


def _largest_magnitude(gradient: Image) -> Array:
    return jnp.abs(gradient).max(axis=-1)


METHOD = Method(
    title="Saliency",
    cite="Simonyan, Vedaldi & Zisserman 2014, Deep Inside Convolutional Networks",
    cost="2F + 1B",
    fold=saliency,
    cnn=on_cnn,
    level="pixel",
    needs=frozenset({"head"}),
    use_when="the size of the gradient at each pixel is wanted, on any differentiable model; maps are noisy",
)
