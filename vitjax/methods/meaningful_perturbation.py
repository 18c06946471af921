"""Meaningful perturbation: the smallest blur that takes the class away."""

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import Score
from vitjax.layerwise.score import image_gradient
from vitjax.methods.contract import Method
from vitjax.nn.network import Config
from vitjax.shapes import Array, Image, Params, Target, ceil_div


def meaningful_perturbation(
    config: Config,
    params: Params,
    image: Image,
    target: Target,
    *,
    key: Array,
    steps: int = 200,
    learning_rate: float = 0.1,
    area: float = 0.05,
    smoothness: float = 0.2,
    cell: int = 8,
    blur: float = 10.0,
    score: Score = "probability",
) -> Array:
    """map = 1 - M, M minimising s(M x + (1 - M) x_blurred) + area · mean|1 - M| + smoothness · TV(M)
    (Fong & Vedaldi 2017, eqs. 3-6), by Adam from M = 1, M in [0, 1].

    Args:
        steps: of Adam.
        learning_rate: of Adam.
        area: weight of the deleted share of the image.
        smoothness: weight of the total variation, mean of |differences|^3 along both axes times the mask's cells.
        cell: pixels of the image per cell of the mask, which is upsampled bilinearly.
        blur: standard deviation of the Gaussian [pixels].
        score: s is the probability or the logit of the explained class.

    Returns values in [0, 1] at pixels [H, W]; 1 is deleted.

    Cost: per step two forwards and one backward. Differs from reference: no jitter and no noise, so the result does
    not depend on the seed.

    Example: `vitjax.explain(model, "cat.jpg", method="meaningful_perturbation", area=0.02)`
    """
    import optax  # half a second, and no other method needs it

    del key
    if steps < 1 or cell < 1 or not blur > 0:
        raise ConfigError(f"steps={steps} and cell={cell} must be at least 1, blur={blur} above 0")
    size = tuple(ceil_div(side, cell) for side in config.image_size)
    blurred = gaussian_blur(image, blur)
    optimiser = optax.adam(learning_rate)

    def at_pixels(mask):
        return jax.image.resize(mask, config.image_size, "linear")[..., None]

    def perturbed(mask):
        shown = at_pixels(mask).astype(image.dtype)
        return shown * image + (1 - shown) * blurred

    def penalty(mask):
        variation = sum((jnp.abs(jnp.diff(mask, axis=axis)) ** 3).sum() for axis in (0, 1))
        return area * jnp.abs(1 - mask).mean() + smoothness * variation / mask.size

    def step(state, _):
        mask, moments = state
        by_image = image_gradient(config, params, perturbed(mask), target, score)
        gradient = jax.grad(lambda m: (by_image * perturbed(m)).sum() + penalty(m))(mask)
        updates, moments = optimiser.update(gradient, moments)
        return (jnp.clip(mask + updates, 0, 1), moments), None

    mask = jnp.ones(size, jnp.promote_types(image.dtype, jnp.float32))
    (mask, _), _ = lax.scan(step, (mask, optimiser.init(mask)), length=steps)
    return 1 - at_pixels(mask)[..., 0]


def gaussian_blur(image: Image, sigma: float) -> Image:
    """[H, W, 3] smoothed along both axes, cut off at 3 sigma, the border repeated."""
    radius = max(1, round(3 * sigma))
    offsets = jnp.arange(-radius, radius + 1)
    kernel = jnp.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(image.dtype)
    for axis in (0, 1):
        rows = jnp.clip(jnp.arange(image.shape[axis])[:, None] + offsets, 0, image.shape[axis] - 1)
        image = jnp.tensordot(jnp.take(image, rows, axis=axis), kernel, axes=(axis + 1, 0))
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
)
