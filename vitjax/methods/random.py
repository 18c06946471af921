"""Random: a baseline map of uniform noise."""

import jax
import jax.numpy as jnp

from vitjax.methods.contract import Method
from vitjax.nn.network import Config
from vitjax.shapes import Array, Image, Params, Target


def random(config: Config, params: Params, image: Image, target: Target, *, key: Array) -> Array:
    """Uniform noise: map ~ U(0, 1), independent for each patch or position of a ResNet's last stage.

    The value of any metric on this map is the chance level of that metric.

    Returns:
        Map [h, w] over the patches; values in [0, 1), which depend only on the seed and the image's id.

    Cost: none.

    Example:
        >>> first, again, other = (vitjax.explain(model, image, method="random", seed=seed).maps for seed in (0, 0, 1))
        >>> bool((first == again).all()), bool((first == other).any())
        (True, False)
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
    use_when="a baseline is needed: what every method must beat",
)
