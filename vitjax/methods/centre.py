"""Centre: a baseline map that is highest in the middle of the image, where photographers place their subject."""

import jax.numpy as jnp

from vitjax.layerwise.fold import Fold
from vitjax.methods.building_blocks import boundary_fold
from vitjax.methods.contract import Method
from vitjax.nn.network import Config
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target


def centre(config: ViTConfig) -> Fold:
    """Closeness of each patch to the centre of the image.

    map = 1 - d/d_max, where d is the distance between the centres of a patch and of the image, in units of half the
    image's width and half its height.

    A localisation score that is not above that of this baseline says nothing about a method.

    Returns:
        A `Fold` whose result is a map [h, w] over the patches; values in [0, 1], the same for every image, 0 in the
        corners.

    Cost: none of its own.

    Example:
        >>> vitjax.explain(model, image, method="centre").maps[0, 3].round(1)
        array([0.3, 0.5, 0.7, 0.9, 0.9, 0.7, 0.5, 0.3], dtype=float32)
    """
    return boundary_fold(lambda boundary: centre_map(config))


def on_cnn(config: Config, params: Params, image: Image, target: Target, *, key: Array) -> Array:
    """`centre` for a ResNet or a function: the same map on the positions of the last feature map."""
    del params, image, target, key
    return centre_map(config)


def centre_map(config: Config) -> Array:
    """1 - d/d_max on the grid [h, w] of a model: largest in the middle, 0 in the corners."""
    y, x = ((jnp.arange(cells) + 0.5) / cells * 2 - 1 for cells in config.grid)
    distance = jnp.hypot(y[:, None], x)
    return jnp.maximum(1 - distance / jnp.maximum(distance.max(), 1e-6), 0)


METHOD = Method(
    title="Centre",
    cite="baseline: distance to the centre (Tatler 2007, The central fixation bias in scene viewing)",
    cost="0",
    fold=centre,
    cnn=on_cnn,
    class_specific=False,
    use_when="a baseline is needed: what a method must beat on data sets whose objects are in the middle",
)
