"""Occlusion: the decrease of the score when a window of the image is set to the mean colour."""

import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.execution.map_reduce import MapReduce
from vitjax.execution.plan import active_plan
from vitjax.layerwise.score import score_of
from vitjax.layerwise.target import Score
from vitjax.methods.contract import Method
from vitjax.methods.options import Count
from vitjax.nn.network import Config
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target

CNN_WINDOW = 16
"""Default side of the window [pixels] on a model without patches."""


def occlusion(
    config: Config,
    params: Params,
    image: Image,
    target: Target,
    *,
    key: Array,
    window: Count | None = None,
    stride: Count | None = None,
    score: Score = "logit",
) -> MapReduce:
    """Mean decrease of the score over the occluding windows that cover each pixel (Zeiler & Fergus 2014).

    value of a window = s(x) - s(x with the window set to 0, the mean colour); map = mean of the values of the windows
    that cover a pixel.

    Args:
        window: side of the square window [pixels], at most the image's shorter side; None is the patch size, or 16 on a
            model without patches.
        stride: distance between windows [pixels], 1 to `window`; None is `window`. The last windows may extend beyond
            the image.
        score: s is the logit or the probability of the explained class.

    Returns:
        A `MapReduce` whose result is a map [H, W] over pixels; signed values, positive where occlusion decreases the
        score.

    Raises:
        ConfigError: `window` or `stride` is out of range.

    Cost: one forward per window and one for the image: 197F for a 224-pixel image with patches of 16 pixels.

    Differs from reference: nothing.

    Example:
        >>> e = vitjax.explain(model, image, method="occlusion", window=16, stride=8)
        >>> e.maps.shape, e.signed
        ((1, 64, 64), True)
    """
    del key
    if window is None:
        window = config.patch_size if isinstance(config, ViTConfig) else CNN_WINDOW
    stride = window if stride is None else stride
    if not 0 < stride <= window:
        raise ConfigError(f"window={window}, stride={stride}: stride must be in 1..window")
    if window > min(config.image_size):
        raise ConfigError(f"window={window}: must not exceed the image, {config.image_size} (height, width) pixels")
    row_masks, column_masks = (_window_masks(size, window, stride) for size in config.image_size)
    across = len(column_masks)
    windows = len(row_masks) * across

    def occluded_score(number: Array) -> Array:
        """Score with window `number` occluded; with the whole image where `number` equals `windows`."""
        occluded = row_masks[number // across][:, None] * column_masks[number % across] * (number < windows)
        return score_of(config, params, image * (1 - occluded)[..., None].astype(image.dtype), target, score)

    def finish(scores: Array) -> Array:
        values = (scores[-1] - scores[:-1]).reshape(len(row_masks), across)
        return (row_masks.T @ values @ column_masks) / (row_masks.sum(axis=0)[:, None] * column_masks.sum(axis=0))

    together = active_plan(config).queries(backward=False)
    return MapReduce(windows + 1, occluded_score, finish, together=together, kept=True)


def _window_masks(size: int, window: int, stride: int) -> Array:
    """Windows along one axis, [windows, pixels]: 1 at the pixels of a window, 0 elsewhere."""
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
    use_when="a causal answer is wanted that anyone understands: how far the score falls without a window",
)
