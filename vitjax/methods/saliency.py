"""Saliency: the size of the gradient by each pixel."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold, Score
from vitjax.layerwise.score import image_gradient
from vitjax.methods.building_blocks import at_the_end
from vitjax.methods.contract import Method
from vitjax.nn.resnet import ResNetConfig
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target


def saliency(config: ViTConfig, *, score: Score = "logit") -> Fold:
    """map = max over channels of |∂s/∂x|, x the normalised image (Simonyan et al. 2014).

    Args:
        score: s is the logit or the probability of the explained class.

    Returns values >= 0 at pixels [H, W].

    Cost: two forwards and one backward. Differs from reference: nothing.

    Example: `vitjax.explain(model, "cat.jpg", method="saliency")`
    """
    del config
    return at_the_end(lambda boundary: _largest(boundary.image_grad), gradient=score)


def on_cnn(
    config: ResNetConfig, params: Params, image: Image, target: Target, *, key: Array, score: Score = "logit"
) -> Array:
    """The same of a ResNet."""
    del key
    return _largest(image_gradient(config, params, image, target, score))


def _largest(gradient: Image) -> Array:
    return jnp.abs(gradient).max(axis=-1)


METHOD = Method(
    title="Saliency",
    cite="Simonyan, Vedaldi & Zisserman 2014, Deep Inside Convolutional Networks",
    cost="2F + 1B",
    fold=saliency,
    cnn=on_cnn,
    level="pixel",
    needs=frozenset({"head"}),
)
