"""Sensitivity: how far the map moves when the image hardly does."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import wide
from vitjax.maps import is_degenerate
from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.shapes import Array, Image, Scalar


def sensitivity(
    explain: Callable[[Array], Array], image: Image, raw: Array, *, n: int = 10, radius: float = 0.02, key: Array
) -> Scalar:
    """Max-sensitivity: max over n draws of ‖Φ(x + δ) - Φ(x)‖ / ‖Φ(x)‖, δ ~ U(-radius, radius) at each value.

    Args:
        explain: image [H, W, 3] -> raw map Φ, of one class.
        image: x, [H, W, 3] normalised.
        raw: Φ(x), any shape.
        n: draws; a lower bound of the largest change within the radius, so compare equal n alone.
        radius: in normalised units; 0.02 is about one grey level.
        key: PRNG key of the draws.

    Returns a float >= 0, lower is better; NaN where Φ(x) is constant or not finite, or Φ(x + δ) not finite.

    Source: Yeh et al. 2019. Differs from reference: nothing; radius and n are Captum's defaults.

    Cost: n explanations, one after the other.

    Example: `sensitivity(explain, image, explain(image), key=jax.random.key(0))`
    """
    if n < 1 or radius <= 0:
        raise ConfigError(f"n={n}, radius={radius}: must be at least 1 and above 0")
    norm = jnp.sqrt(jnp.sum(jnp.square(wide(raw))))

    def change(number):
        noise = jax.random.uniform(jax.random.fold_in(key, number), image.shape, jnp.float32, -radius, radius)
        moved = explain(image + noise.astype(image.dtype))
        return jnp.sqrt(jnp.sum(jnp.square(wide(moved) - wide(raw))))

    largest = lax.map(change, jnp.arange(n)).max()
    return jnp.where(is_degenerate(raw), jnp.nan, largest / norm)


def _record(case: Case, *, n: int = 10, radius: float = 0.02) -> Columns:
    explain, params, target = case.explain, case.params, case.target
    if explain is None:
        raise ConfigError("sensitivity explains images anew: the case has no explainer")
    key = case.key_for("sensitivity")
    found = sensitivity(lambda image: explain(params, image, target), case.image, case.raw, n=n, radius=radius, key=key)
    return {"value": found}


SENSITIVITY = Metric(
    title="Max-sensitivity",
    cite="Yeh et al. 2019, On the (In)fidelity and Sensitivity of Explanations",
    family="robustness",
    cost="10E",
    function=sensitivity,
    record=_record,
    figures=lambda options: {"": Statistic(("value",), better="lower", percent=False)},
    needs=frozenset({"explainer"}),
)
