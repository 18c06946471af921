"""Sensitivity: how much the map changes under small perturbations of the image."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.errors import ConfigError
from vitjax.maps import is_degenerate
from vitjax.methods.options import Count, Positive
from vitjax.metrics.checks import checks_options, floats, floats_as_given, same_shape
from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.shapes import Array, Image, Scalar, at_least_float32


@checks_options
def sensitivity(
    explain: Callable[[Array], Array], image: Image, raw: Array, *, n: Count = 10, radius: Positive = 0.02, key: Array
) -> Scalar:
    """Max-sensitivity: max over n draws of ‖Φ(x + δ) - Φ(x)‖ / ‖Φ(x)‖ with δ ~ U(-radius, radius) at each value.

    Args:
        explain: image [H, W, 3] -> raw map Φ, for one class.
        image: x, [H, W, 3] normalised.
        raw: Φ(x), any shape.
        n: number of draws, at least 1. Their maximum is a lower bound of the largest change within the radius, so
            compare only results of equal n.
        radius: in normalised units, above 0; 0.02 is about one grey level.
        key: PRNG key of the draws.

    Returns:
        Float >= 0, lower is better; NaN if Φ(x) is constant or not finite, or if a Φ(x + δ) is not finite.

    Raises:
        ConfigError: n below 1, radius not above 0, or maps of different shapes.

    Source: Yeh et al. 2019. Differs from reference: nothing; radius and n are Captum's defaults.

    Cost: n explanations, one after the other.

    Example:
        >>> raw = jnp.array([[1.0, 0.6], [0.4, 0.0]])
        >>> explain = lambda image: raw  # whatever the image, so nothing changes
        >>> float(vitjax.metrics.sensitivity(explain, jnp.zeros((2, 2, 3)), raw, key=jax.random.key(0)))
        0.0
    """
    raw, image = floats(raw, "raw"), floats_as_given(image, "image")
    norm = jnp.sqrt(jnp.sum(jnp.square(raw)))

    def change(draw: Array) -> Array:
        noise = jax.random.uniform(jax.random.fold_in(key, draw), image.shape, jnp.float32, -radius, radius)
        perturbed = at_least_float32(explain(image + noise.astype(image.dtype)))
        same_shape(perturbed, raw, "explain(image) and raw")
        return jnp.sqrt(jnp.sum(jnp.square(perturbed - raw)))

    largest = lax.map(change, jnp.arange(n)).max()
    return jnp.where(is_degenerate(raw) | ~jnp.isfinite(largest), jnp.nan, largest / norm)


def _record(case: Case, *, n: Count = 10, radius: Positive = 0.02) -> Columns:
    explain, params, target = case.explain, case.params, case.target
    if explain is None:
        raise ConfigError("sensitivity computes further explanations, but the case has no explainer")
    key = case.key_for("sensitivity")
    value = sensitivity(lambda image: explain(params, image, target), case.image, case.raw, n=n, radius=radius, key=key)
    return {"value": value}


SENSITIVITY = Metric(
    title="Max-sensitivity",
    cite="Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations",
    family="robustness",
    cost="10E",
    function=sensitivity,
    record=_record,
    figures=lambda options: {"": Statistic(("value",), better="lower", percent=False)},
    needs=frozenset({"explainer"}),
    use_when="it matters whether a map stays the same when the image changes by a little noise",
)
