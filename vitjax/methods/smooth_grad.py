"""SmoothGrad: gradients averaged over noisy copies of the image."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from vitjax.execution.map_reduce import MapReduce
from vitjax.execution.plan import active_plan
from vitjax.layerwise.score import image_gradient
from vitjax.layerwise.target import Score
from vitjax.methods.contract import Method
from vitjax.methods.options import Count, NonNegative
from vitjax.nn.network import Config
from vitjax.shapes import Array, Image, Params, Target


def smooth_grad(
    config: Config,
    params: Params,
    image: Image,
    target: Target,
    *,
    key: Array,
    n: Count = 50,
    stdev: NonNegative = 0.15,
    aggregate: Literal["mean", "absolute", "squared", "variance"] = "mean",
    score: Score = "logit",
) -> MapReduce:
    """Mean gradient over noisy copies of the image (Smilkov et al. 2017).

    map = Σ_channels 1/n Σ_k ∂s/∂x(x + ε_k), ε_k ~ N(0, (stdev · (max x - min x))²), where x is the normalised image.

    Args:
        n: number of noisy copies, at least 1; the draws depend only on the seed and the image's id.
        stdev: standard deviation of the noise, >= 0, as a share of the range max x - min x of the image.
        aggregate: "mean" of the signed gradients, mean of their "absolute" values, mean of the "squared" gradients, or
            their "variance".
        score: s is the logit or the probability of the explained class.

    Returns:
        A `MapReduce` whose result is a map [H, W] over pixels; signed values for "mean", otherwise values >= 0.

    Raises:
        ConfigError: `n` or `stdev` is out of range.

    Cost: two forwards and one backward per copy; memory does not grow with n.

    Differs from reference: nothing.

    Example:
        >>> maps = vitjax.explain(model, image, method="smooth_grad", n=8, aggregate="squared").maps
        >>> maps.shape, bool((maps >= 0).all())
        ((1, 64, 64), True)
    """
    scale = stdev * (image.max() - image.min())

    def gradient_at_noisy_copy(number: Array) -> tuple[Array, Array]:
        noise = scale * jax.random.normal(jax.random.fold_in(key, number), image.shape, image.dtype)
        gradient = image_gradient(config, params, image + noise, target, score)
        return jnp.abs(gradient) if aggregate == "absolute" else gradient, gradient**2

    def finish(sums: Any) -> Array:
        mean, mean_square = (total / n for total in sums)
        statistics = {
            "mean": mean,
            "absolute": mean,
            "squared": mean_square,
            "variance": jnp.maximum(mean_square - mean**2, 0),
        }
        return statistics[aggregate].sum(axis=-1)

    return MapReduce(n, gradient_at_noisy_copy, finish, together=active_plan(config).queries(backward=True))


METHOD = Method(
    title="SmoothGrad",
    cite="Smilkov et al. 2017, SmoothGrad: removing noise by adding noise",
    cost="50 x (2F + 1B)",
    explain=smooth_grad,
    cnn=smooth_grad,
    level="pixel",
    needs=frozenset({"head"}),
    slow=True,
    use_when="maps of the gradient are too noisy, on any differentiable model",
)
