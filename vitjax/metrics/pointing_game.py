"""Does the map point at the object? Its peak, and its mass."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def pointing_game(
    heat: Float[Array, "height width"], mask: Bool[Array, "height width"], *, tolerance: int = 0
) -> Float[Array, ""]:
    """1 if the peak of the map lies on the object, else 0 (Zhang et al. 2016).

    Args:
        heat: map at pixel size, [0, 1]. Ties go to the first pixel in row order.
        mask: True on the object.
        tolerance: pixels by which the peak may miss (Euclidean); 15 is the classic protocol.

    Returns a float; NaN where the map is constant or the mask is empty or full.

    Example: `pointing_game(explanation.pixels()[0], mask)`
    """
    height, width = heat.shape
    peak = jnp.argmax(heat)
    row, column = peak // width, peak % width
    away = jnp.square(jnp.arange(height) - row)[:, None] + jnp.square(jnp.arange(width) - column)[None]
    hit = (mask & (away <= tolerance**2)).any()
    return jnp.where(_undefined(heat, mask), jnp.nan, hit.astype(heat.dtype))


def energy_pointing_game(heat: Float[Array, "height width"], mask: Bool[Array, "height width"]) -> Float[Array, ""]:
    """Share of the map's mass that lies on the object: sum(H·M) / sum(H) (Wang et al. 2020).

    Args:
        heat: map at pixel size, [0, 1].
        mask: True on the object.

    Returns a float in [0, 1]; a map without information scores the object's share of the area on average. NaN
    where the map is constant or the mask is empty or full.

    Example: `energy_pointing_game(explanation.pixels()[0], mask)`
    """
    share = (heat * mask).sum() / heat.sum()
    return jnp.where(_undefined(heat, mask), jnp.nan, share)


def _undefined(heat, mask):
    return (heat.max() == heat.min()) | ~mask.any() | mask.all()
