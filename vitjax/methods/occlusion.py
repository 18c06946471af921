"""Occlusion: what the score loses when a window is greyed out."""

import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.execution.map_reduce import MapReduce
from vitjax.execution.plan import active_plan
from vitjax.layerwise.fold import Score
from vitjax.layerwise.score import score_of
from vitjax.methods.contract import Method
from vitjax.nn.network import Config
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target

WINDOW = 16
"""Pixels, where there are no patches."""


def occlusion(
    config: Config,
    params: Params,
    image: Image,
    target: Target,
    *,
    key: Array,
    window: int | None = None,
    stride: int | None = None,
    score: Score = "logit",
) -> MapReduce:
    """value of a window = s(x) - s(x with the window set to 0, the mean colour); map = mean of the values of the
    windows that cover a pixel (Zeiler & Fergus 2014).

    Args:
        window: side of the square window [pixels]; None is the patch size, 16 on a ResNet.
        stride: between windows [pixels]; None is the window. The last ones may stick out of the image.
        score: s is the logit or the probability of the explained class.

    Returns signed values at pixels [H, W].

    Cost: one forward per window, 196 for a 224-pixel image with patches of 16. Differs from reference: nothing.

    Example: `vitjax.explain(model, "cat.jpg", method="occlusion", window=32, stride=16)`
    """
    del key
    if window is None:
        window = config.patch_size if isinstance(config, ViTConfig) else WINDOW
    stride = window if stride is None else stride
    if not 0 < stride <= window:
        raise ConfigError(f"window={window}, stride={stride}: stride must be 1 to the window's size")
    if window > min(config.image_size):
        raise ConfigError(f"window={window} is larger than the image, {config.image_size}")
    # Per axis [windows, pixels]: 1 where the window lies.
    down, across = (_covered(size, window, stride) for size in config.image_size)

    windows = len(down) * len(across)

    def one(number):
        """The score without that window; the last is that of the whole image."""
        covered = down[number // len(across)][:, None] * across[number % len(across)] * (number < windows)
        return score_of(config, params, image * (1 - covered)[..., None].astype(image.dtype), target, score)

    def finish(scores):
        values = (scores[-1] - scores[:-1]).reshape(len(down), len(across))
        return (down.T @ values @ across) / (down.sum(axis=0)[:, None] * across.sum(axis=0))

    return MapReduce(windows + 1, one, finish, together=active_plan(config).queries(backward=False), kept=True)


def _covered(size: int, window: int, stride: int) -> Array:
    starts = jnp.arange(0, size - window + stride, stride)[:, None]
    pixels = jnp.arange(size)
    return ((pixels >= starts) & (pixels < starts + window)).astype(jnp.float32)


METHOD = Method(
    title="Occlusion",
    cite="Zeiler & Fergus 2014, Visualizing and Understanding Convolutional Networks",
    cost="197F",
    explain=occlusion,
    cnn=occlusion,
    level="pixel",
    needs=frozenset({"head"}),
    slow=True,
)
