"""RISE: random masks, weighted by the probability that survives them."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.errors import ConfigError
from vitjax.execution.map_reduce import MapReduce
from vitjax.execution.plan import active_plan
from vitjax.layerwise.fold import Score
from vitjax.layerwise.score import score_of
from vitjax.methods.contract import Method
from vitjax.nn.network import Config
from vitjax.shapes import Array, Image, Params, Target, ceil_div


def rise(
    config: Config,
    params: Params,
    image: Image,
    target: Target,
    *,
    key: Array,
    n: int = 1000,
    cells: int = 7,
    keep: float = 0.5,
    score: Score = "probability",
) -> MapReduce:
    """map = 1/(n · keep) Σ_i s(x ∘ M_i) M_i over random masks M_i (Petsiuk et al. 2018, eq. 6).

    A mask is a cells x cells grid of ones (with probability keep) and zeros, upsampled bilinearly to (cells + 1)
    cells, and cut out at a random offset within one cell.

    Args:
        n: masks; they depend on the seed and the image's id alone.
        cells: cells of the grid along each side.
        keep: probability of a one.
        score: s is the probability or the logit of the explained class.

    Returns values >= 0 at pixels [H, W] (for a probability).

    Cost: n forwards. Differs from reference: 1000 masks where the authors use 4000 to 8000.

    Example: `vitjax.explain(model, "cat.jpg", method="rise", n=4000)`
    """
    if n < 1 or cells < 1:
        raise ConfigError(f"n={n}, cells={cells}: must be at least 1")
    if not 0 < keep <= 1:
        raise ConfigError(f"keep={keep}: must be in (0, 1]")
    dtype = jnp.promote_types(image.dtype, jnp.float32)

    def one(number):
        mask = random_mask(jax.random.fold_in(key, number), config.image_size, cells, keep, dtype)
        return score_of(config, params, image * mask[..., None].astype(image.dtype), target, score) * mask

    return MapReduce(n, one, lambda total: total / (n * keep), together=active_plan(config).queries(backward=False))


def random_mask(key: Array, size: tuple[int, int], cells: int, keep: float, dtype: Any = jnp.float32) -> Array:
    """A soft mask [H, W] in [0, 1]."""
    of_grid, of_offset = jax.random.split(key)
    cell = [ceil_div(side, cells) for side in size]
    grid = jax.random.bernoulli(of_grid, keep, (cells, cells)).astype(dtype)
    large = jax.image.resize(grid, [(cells + 1) * side for side in cell], "linear")
    offset = jax.random.randint(of_offset, (2,), 0, jnp.asarray(cell))
    return lax.dynamic_slice(large, (offset[0], offset[1]), size)


METHOD = Method(
    title="RISE",
    cite="Petsiuk, Das & Saenko 2018, RISE: Randomized Input Sampling for Explanation of Black-box Models",
    cost="1000F",
    explain=rise,
    cnn=rise,
    level="pixel",
    needs=frozenset({"head"}),
    slow=True,
)
