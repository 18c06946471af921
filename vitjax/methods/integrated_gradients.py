"""Integrated gradients along the line from the mean colour to the image."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import lax

from vitjax.errors import ConfigError
from vitjax.fold import Score
from vitjax.methods.base import Method
from vitjax.network import Config
from vitjax.score import image_gradient
from vitjax.shapes import Array, Image, Params, Target

Quadrature = Literal["gausslegendre", "riemann_trapezoid", "riemann_middle"]


def integrated_gradients(
    config: Config,
    params: Params,
    image: Image,
    target: Target,
    *,
    key: Array,
    steps: int = 50,
    quadrature: Quadrature = "gausslegendre",
    score: Score = "logit",
) -> Array:
    """map = Σ_channels x ∘ Σ_k w_k ∂s/∂x(α_k x), x the normalised image, baseline 0 (Sundararajan et al. 2017, eq. 3).

    Args:
        steps: points of the integral.
        quadrature: "gausslegendre"; "riemann_trapezoid", α = linspace(0, 1, steps), weights 1/steps with halved ends,
            as captum has it (they sum to 1 - 1/steps); "riemann_middle", the midpoints.
        score: s is the logit or the probability of the explained class.

    Returns signed values at pixels [H, W]. They sum to s(x) - s(0) up to the quadrature;
    `Explanation.completeness_gap()` says how far they are from it.

    Cost: per step two forwards and one backward, one after the other: memory does not grow with steps. Differs from
    reference: nothing.

    Example: `vitjax.explain(model, "cat.jpg", method="integrated_gradients", steps=64)`
    """
    del key
    alphas, weights = nodes(quadrature, steps)
    dtype = jnp.promote_types(image.dtype, jnp.float32)

    def step(total, node):
        alpha, weight = node
        return total + weight * image_gradient(config, params, alpha * image, target, score), None

    zero = jnp.zeros(image.shape, dtype)
    total, _ = lax.scan(step, zero, (jnp.asarray(alphas, dtype), jnp.asarray(weights, dtype)))
    return (image * total).sum(axis=-1)


def nodes(quadrature: Quadrature, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in [0, 1] and their weights, float64 [steps]."""
    if steps < 1:
        raise ConfigError(f"steps={steps}: must be at least 1")
    if quadrature == "gausslegendre":
        points, weights = np.polynomial.legendre.leggauss(steps)
        return (1 + points) / 2, weights / 2
    weights = np.full(steps, 1 / steps)
    if quadrature == "riemann_middle":
        return (np.arange(steps) + 0.5) / steps, weights
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


METHOD = Method(
    title="Integrated gradients",
    cite="Sundararajan, Taly & Yan 2017, Axiomatic Attribution for Deep Networks",
    cost="50 x (2F + 1B)",
    explain=integrated_gradients,
    cnn=integrated_gradients,
    level="pixel",
    complete=True,
    needs=frozenset({"head"}),
    slow=True,
)
