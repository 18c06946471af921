"""Centre: a baseline that knows where photographers put their subject."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import at_the_end
from vitjax.methods.contract import Method
from vitjax.nn.network import Config
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target


def centre(config: ViTConfig) -> Fold:
    """map = 1 - d/d_max, d the distance of a patch's centre to the image's in half-widths and half-heights.

    Returns values in [0, 1], the same for every image; 0 in the corners. A localisation figure that does not beat it
    says nothing about the method.

    Cost: none of its own.

    Example: `vitjax.explain(model, "cat.jpg", method="centre")`
    """
    return at_the_end(lambda boundary: closeness(config))


def on_cnn(config: Config, params: Params, image: Image, target: Target, *, key: Array) -> Array:
    """The same on the last stage's positions."""
    del params, image, target, key
    return closeness(config)


def closeness(config: Config) -> Array:
    """[h, w]: 1 in the middle, 0 in the corners."""
    down, across = ((jnp.arange(cells) + 0.5) / cells * 2 - 1 for cells in config.grid)
    distance = jnp.hypot(down[:, None], across)
    return jnp.maximum(1 - distance / jnp.maximum(distance.max(), 1e-6), 0)


METHOD = Method(
    title="Centre",
    cite="baseline: distance to the centre (Tatler 2007, The central fixation bias in scene viewing)",
    cost="0",
    fold=centre,
    cnn=on_cnn,
    class_specific=False,
)
