"""What the model says while one picture turns into another, pixel by pixel, in the order of a map.

Every faithfulness metric is a number made of such curves. Metrics of one map that ask for the same curve share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import wide
from vitjax.maps import is_degenerate
from vitjax.metrics.blur import blurred
from vitjax.metrics.contract import Case, Columns, Metric
from vitjax.shapes import Array, Float, Image, Int

Picture = Literal["image", "mean", "black", "blur", "blur_reflect"]
Fill = Literal["mean", "black", "blur"]
Order = Literal["highest", "lowest"]
Ties = Literal["random", "first"]


class Answers(NamedTuple):
    """What the model says of each picture of a curve, [pictures], float32 at least.

    target, predicted, label: log-probability of the class explained, of the one predicted for the whole image, and of
    the true one (class 0 where there is none). top: the most probable class.
    """

    target: Array
    predicted: Array
    label: Array
    top: Array


def case_of(
    heatmap: Float[Array, "height width"],
    image: Image,
    forward: Callable[[Array], Array],
    *,
    target: Any = 0,
    label: Any = -1,
    key: Array | None = None,
    black: Any = None,
) -> Case:
    """A `Case` for a metric that is called by hand: `forward` takes images [s, H, W, 3] to logits [s, k]."""
    image = jnp.asarray(image)
    return Case(
        raw=heatmap,
        heatmap=heatmap,
        mask=jnp.full(heatmap.shape, 128, jnp.uint8),
        image=image,
        logits=wide(forward(image[None])[0]),
        target=jnp.asarray(target),
        label=jnp.asarray(label),
        grid=(heatmap.shape[0], heatmap.shape[1]),
        key=jax.random.key(0) if key is None else key,
        black=jnp.full(3, jnp.nan) if black is None else jnp.asarray(black),
        forward=forward,
    )


def picture(name: str, image: Image, black: Any) -> Image:
    """The image itself, or what is left when all of it is removed: mean colour (0), black, or a blurred copy."""
    if name == "image":
        return image
    if name in ("blur", "blur_reflect"):
        return blurred(image, "zeros" if name == "blur" else "reflect")
    return jnp.broadcast_to(0 if name == "mean" else jnp.asarray(black, image.dtype), image.shape).astype(image.dtype)


def wanted_ends(metrics: Iterable[tuple[Metric, Mapping[str, Any]]]) -> tuple[str, ...]:
    """Names of the pictures that curves of these (metric, options) end with: what to give to `ends_of`."""
    return tuple(sorted({name for metric, options in metrics for name in metric.ends(options)}))


def ends_of(
    forward: Callable[[Array], Array], image: Image, black: Any, wanted: Iterable[str]
) -> dict[str, Float[Array, " k"]]:
    """Logits of the pictures that all curves of ONE image end with, for `Case.ends`.

    Args:
        forward: images [s, H, W, 3] -> logits [s, k].
        image: [H, W, 3], as the model takes it.
        black: [3], a black pixel in normalised space.
        wanted: names from `wanted_ends`.

    Returns {name: [k]}, float32 at least. Cost: one forward for each name; under `jax.vmap` over images still only one
    for "mean" and for "black", which do not depend on the image.
    """
    return {name: wide(forward(picture(name, image, black)[None])[0]) for name in wanted}


def ranks(case: Case, order: Order = "highest", ties: Ties = "random") -> Int[Array, "height width"]:
    """The place of each pixel in the order of removal, from 0.

    Args:
        order: "highest" relevance first or "lowest" first.
        ties: pixels of equal relevance (upsampling clamps at the border and makes many) in "random" order, drawn from
            the image's key alone and the same for all methods, or the "first" in row order first.
    """
    key = ("ranks", order, ties)
    if order == "lowest" and ties == "random":
        return case.once(key, lambda: case.heatmap.size - 1 - ranks(case, "highest", ties))

    def sort():
        heatmap = case.heatmap.reshape(-1) * (-1 if order == "highest" else 1)
        place = jnp.arange(heatmap.size)
        among_equals = jax.random.bits(case.key_for("ties"), place.shape) if ties == "random" else place
        *_, pixel = lax.sort((heatmap, among_equals, place), num_keys=2)
        return jnp.zeros_like(place).at[pixel].set(place, unique_indices=True).reshape(case.heatmap.shape)

    return case.once(key, sort)


def curve(
    case: Case,
    counts: Sequence[int],
    *,
    start: Picture = "image",
    end: Picture = "mean",
    order: Order = "highest",
    ties: Ties = "random",
    chunk: int = 1,
) -> Answers:
    """The model's answers while `counts` pixels of `start` are replaced by those of `end`.

    Args:
        counts: increasing numbers of pixels, 0 to all.
        chunk: pictures of this image that go through the model together. Memory grows with it, numbers do not change.

    Cost: one forward for each count that is neither 0 nor all; these two are `case.logits` or in `case.ends`.
    """
    if chunk < 1:
        raise ConfigError(f"chunk={chunk}: must be at least 1")
    key = ("curve", tuple(counts), start, end, order, ties)
    return case.once(key, lambda: _curve(case, tuple(counts), start, end, ranks(case, order, ties), chunk))


def _curve(case: Case, counts: tuple[int, ...], start: Picture, end: Picture, rank: Array, chunk: int) -> Answers:
    before, after = (picture(name, case.image, case.black) for name in (start, end))

    def replaced(some):
        pictures = jnp.where((rank < some[:, None, None])[..., None], after, before)
        return _answers(case, wide(case.forward(pictures)))

    between = jnp.asarray([count for count in counts if 0 < count < rank.size], rank.dtype)
    whole = len(between) // chunk * chunk
    parts = []
    if counts[0] == 0:
        parts.append(_answers(case, _logits_of(case, start)[None]))
    if whole:
        chunks = lax.map(replaced, between[:whole].reshape(-1, chunk))
        parts.append(jax.tree.map(lambda each: each.reshape(-1), chunks))
    if whole < len(between):
        parts.append(replaced(between[whole:]))
    if counts[-1] == rank.size:
        parts.append(_answers(case, _logits_of(case, end)[None]))
    return jax.tree.map(lambda *each: jnp.concatenate(each), *parts)


def only_of_a_map(case: Case, columns: Columns) -> Columns:
    """The columns, NaN where the map is constant or not finite.

    For finished columns: XLA's CPU backend (JAX 0.10) makes garbage of exp(where(flat, nan, x)).
    """
    flat = is_degenerate(case.heatmap)
    return {name: jnp.where(flat, jnp.nan, values) for name, values in columns.items()}


def _logits_of(case: Case, name: Picture) -> Array:
    if name == "image":
        return wide(case.logits)
    if name in case.ends:
        return wide(case.ends[name])
    made = picture(name, case.image, case.black)
    return case.once(("end", name), lambda: wide(case.forward(made[None])[0]))


def _answers(case: Case, logits: Float[Array, "s k"]) -> Answers:
    log_p = jax.nn.log_softmax(logits)
    return Answers(
        target=log_p[:, case.target],
        predicted=log_p[:, jnp.argmax(case.logits)],
        label=log_p[:, jnp.maximum(case.label, 0)],
        top=jnp.argmax(logits, axis=-1),
    )
