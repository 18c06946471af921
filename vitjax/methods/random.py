"""Random: a baseline that knows nothing."""

import jax
import jax.numpy as jnp

from vitjax.methods.contract import Method
from vitjax.nn.network import Config
from vitjax.shapes import Array, Image, Params, Target


def random(config: Config, params: Params, image: Image, target: Target, *, key: Array) -> Array:
    """map ~ U(0, 1) per patch (or position of a ResNet's last stage), drawn from the seed and the image's id alone.

    Returns values in [0, 1), another map for every image. What any metric says of it is that metric's chance level.

    Cost: none.

    Example: `vitjax.explain(model, "cat.jpg", method="random", seed=1)`
    """
    del params, target
    return jax.random.uniform(key, config.grid, jnp.promote_types(image.dtype, jnp.float32))


METHOD = Method(
    title="Random",
    cite="baseline: uniform noise",
    cost="0",
    explain=random,
    cnn=random,
    class_specific=False,
)
