"""Meaningful perturbation: the smallest blurred region that removes the explained class."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.errors import ConfigError
from vitjax.layerwise.score import image_gradient
from vitjax.layerwise.target import Score
from vitjax.methods.contract import Method
from vitjax.methods.options import Count, NonNegative, Positive
from vitjax.nn.network import Config
from vitjax.shapes import Array, Image, Params, Target, ceil_div


def meaningful_perturbation(
    config: Config,
    params: Params,
    image: Image,
    target: Target,
    *,
    key: Array,
    steps: Count = 200,
    learning_rate: Positive = 0.1,
    area: NonNegative = 0.05,
    smoothness: NonNegative = 0.2,
    cell: Count = 8,
    blur: Positive = 10.0,
    score: Score = "probability",
) -> Array:
    """Mask of the smallest region whose blurring removes the class (Fong & Vedaldi 2017, eqs. 3-6).

    map = 1 - M, where the mask M minimises s(M x + (1 - M) x_blurred) + area · mean|1 - M| + smoothness · TV(M) over
    M in [0, 1], by Adam from M = 1.

    Args:
        steps: number of steps of Adam, at least 1.
        learning_rate: learning rate of Adam.
        area: weight of the deleted share of the image.
        smoothness: weight of TV(M), the sum over both axes of |differences|^3 divided by the number of cells of M.
        cell: side of a cell of the mask [pixels], at least 1; the mask is upsampled bilinearly.
        blur: standard deviation of the Gaussian [pixels], above 0.
        score: s is the probability or the logit of the explained class.

    Returns:
        Map [H, W] over pixels; values in [0, 1], where 1 is deleted.

    Raises:
        ConfigError: `steps`, `cell` or `blur` is out of range.

    Cost: two forwards and one backward per step.

    Differs from reference: without jitter and noise, so the result does not depend on the seed.

    Example:
        >>> maps = vitjax.explain(model, image, method="meaningful_perturbation", steps=20, area=0.02).maps
        >>> maps.shape, bool(maps.min() >= 0), bool(maps.max() <= 1)
        ((1, 64, 64), True, True)
    """
    import optax  # here, because it takes half a second to import and no other method needs it

    del key
    for option, pixels in (("cell", cell), ("blur", blur)):
        if pixels > min(config.image_size):
            raise ConfigError(
                f"{option}={pixels}: must not exceed the image, {config.image_size} (height, width) pixels"
            )
    mask_size = tuple(ceil_div(side, cell) for side in config.image_size)
    blurred = gaussian_blur(image, blur)
    optimiser = optax.adam(learning_rate)

    def upsample(mask: Array) -> Array:
        return jax.image.resize(mask, config.image_size, "linear")[..., None]

    def perturbed(mask: Array) -> Array:
        kept = upsample(mask).astype(image.dtype)
        return kept * image + (1 - kept) * blurred

    def penalty(mask: Array) -> Array:
        variation = sum((jnp.abs(jnp.diff(mask, axis=axis)) ** 3).sum() for axis in (0, 1))
        return area * jnp.abs(1 - mask).mean() + smoothness * variation / mask.size

    def step(carry: Any, _: Any) -> Any:
        mask, optimiser_state = carry
        score_gradient = image_gradient(config, params, perturbed(mask), target, score)
        gradient = jax.grad(lambda m: (score_gradient * perturbed(m)).sum() + penalty(m))(mask)
        updates, optimiser_state = optimiser.update(gradient, optimiser_state)
        return (jnp.clip(mask + updates, 0, 1), optimiser_state), None

    mask = jnp.ones(mask_size, jnp.promote_types(image.dtype, jnp.float32))
    (mask, _), _ = lax.scan(step, (mask, optimiser.init(mask)), length=steps)
    return 1 - upsample(mask)[..., 0]


def gaussian_blur(image: Image, sigma: float) -> Image:
    """Image [H, W, 3] convolved with a Gaussian along both axes; the border pixels are repeated.

    Args:
        sigma: standard deviation [pixels]; the kernel ends at 3 sigma.
    """
    radius = max(1, round(3 * sigma))
    offsets = jnp.arange(-radius, radius + 1)
    kernel = jnp.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(image.dtype)
    for axis in (0, 1):
        indices = jnp.clip(jnp.arange(image.shape[axis])[:, None] + offsets, 0, image.shape[axis] - 1)
        image = jnp.tensordot(jnp.take(image, indices, axis=axis), kernel, axes=(axis + 1, 0))
    return image


METHOD = Method(
    title="Meaningful perturbation",
    cite="Fong & Vedaldi 2017, Interpretable Explanations of Black Boxes by Meaningful Perturbation",
    cost="200 x (2F + 1B)",
    explain=meaningful_perturbation,
    cnn=meaningful_perturbation,
    level="pixel",
    needs=frozenset({"head"}),
    slow=True,
    use_when="the smallest region is wanted whose blurring removes the class; it has weights to tune",
)
