"""RISE: random masks weighted by the class's probability in the masked image."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.errors import ConfigError
from vitjax.execution.map_reduce import MapReduce
from vitjax.execution.plan import active_plan
from vitjax.layerwise.score import score_of
from vitjax.layerwise.target import Score
from vitjax.methods.contract import Method
from vitjax.methods.options import Count, Range
from vitjax.nn.network import Config
from vitjax.shapes import Array, Image, Params, Target, ceil_div


def rise(
    config: Config,
    params: Params,
    image: Image,
    target: Target,
    *,
    key: Array,
    n: Count = 1000,
    cells: Count = 7,
    keep: Annotated[float, Range(0, 1, open_low=True)] = 0.5,
    score: Score = "probability",
) -> MapReduce:
    """Mean of random masks weighted by the score of the masked image (Petsiuk et al. 2018, eq. 6).

    map = 1/(n · keep) Σ_i s(x ∘ M_i) M_i over random masks M_i. A mask is a cells x cells grid of ones, with
    probability `keep`, and zeros; the grid is upsampled bilinearly to the size of (cells + 1) cells, and the mask is
    cropped from it at a random offset within one cell.

    Args:
        n: number of masks, at least 1; they depend only on the seed and the image's id.
        cells: number of cells along each side of the grid, at least 1.
        keep: probability of a one, in (0, 1].
        score: s is the probability or the logit of the explained class.

    Returns:
        A `MapReduce` whose result is a map [H, W] over pixels; values >= 0 for score="probability".

    Raises:
        ConfigError: `n`, `cells` or `keep` is out of range.

    Cost: n forwards.

    Differs from reference: the default is 1000 masks; the authors use 4000 to 8000.

    Example:
        >>> maps = vitjax.explain(model, image, method="rise", n=100).maps
        >>> maps.shape, bool((maps >= 0).all())
        ((1, 64, 64), True)
    """
    if cells > min(config.image_size):
        raise ConfigError(f"cells={cells}: must not exceed the image, {config.image_size} (height, width) pixels")
    dtype = jnp.promote_types(image.dtype, jnp.float32)

    def weighted_mask(number: Array) -> Array:
        mask = random_mask(jax.random.fold_in(key, number), config.image_size, cells, keep, dtype)
        return score_of(config, params, image * mask[..., None].astype(image.dtype), target, score) * mask

    together = active_plan(config).queries(backward=False)
    return MapReduce(n, weighted_mask, lambda total: total / (n * keep), together=together)


def random_mask(key: Array, size: tuple[int, int], cells: int, keep: float, dtype: Any = jnp.float32) -> Array:
    """Random mask [H, W] of RISE with values in [0, 1].

    Args:
        key: PRNG key.
        size: (height, width) of the mask in pixels.
        cells: number of cells along each side of the grid.
        keep: probability of a one, in (0, 1].
    """
    grid_key, offset_key = jax.random.split(key)
    cell_size = [ceil_div(side, cells) for side in size]
    grid = jax.random.bernoulli(grid_key, jnp.float32(keep), (cells, cells)).astype(dtype)
    upsampled = jax.image.resize(grid, [(cells + 1) * side for side in cell_size], "linear")
    offset = jax.random.randint(offset_key, (2,), 0, jnp.asarray(cell_size), jnp.int32)
    return lax.dynamic_slice(upsampled, (offset[0], offset[1]), size)


METHOD = Method(
    title="RISE",
    cite="Petsiuk, Das & Saenko 2018, RISE: Randomized Input Sampling for Explanation of Black-box Models",
    cost="1000F",
    explain=rise,
    cnn=rise,
    level="pixel",
    needs=frozenset({"head"}),
    slow=True,
    use_when="the model is a black box, without gradients or attention, and 1000 forwards are affordable",
)
