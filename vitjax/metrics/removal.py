"""Perturbation curves: the model's outputs while one image is replaced by another, pixel by pixel, in a map's order.

Every faithfulness metric is computed from such curves. Metrics of one map share a curve with equal parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vitjax.errors import ConfigError
from vitjax.images.mask_values import IGNORE
from vitjax.layerwise.probability import log_probabilities
from vitjax.layerwise.target import is_class
from vitjax.maps import is_degenerate
from vitjax.metrics.blur import blurred
from vitjax.metrics.checks import class_number, floats_as_given, one_map
from vitjax.metrics.contract import Case, Columns, Metric
from vitjax.shapes import Array, Float, Image, Int, at_least_float32

Endpoint = Literal["image", "mean", "black", "blur", "blur_reflect"]
"""Name of an image that a curve starts or ends with; see `endpoint_image`."""
Fill = Literal["mean", "black", "blur"]
Order = Literal["highest", "lowest"]
Ties = Literal["random", "first"]


class CurveOutputs(NamedTuple):
    """The model's outputs for each image of a curve, all [images].

    Attributes:
        target: log-probability of the explained class, float32 or float64; NaN where the target is not a class.
        predicted: log-probability of the class predicted for the unperturbed image.
        label: log-probability of the true class; of class 0 if the label is unknown.
        top: the most probable class, int.
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
    """The `Case` of a metric that is called as a plain function.

    Args:
        heatmap: [H, W], also taken as the raw map.
        image: [H, W, 3] normalised.
        forward: images [s, H, W, 3] -> logits [s, k].
        target: the explained class.
        label: the true class; -1 if unknown.
        key: PRNG key of the image; None takes `jax.random.key(0)`.
        black: [3], a black pixel in normalised space; None if the metric does not use it.

    Raises:
        ConfigError: map and image differ in size, one of them holds no floats, or a class is none of the model's.

    Cost: 1F, for the logits of the image.
    """
    heatmap, image = one_map(heatmap, unit=False), floats_as_given(image, "image")
    if image.shape != (*heatmap.shape, 3):
        raise ConfigError(
            f"heatmap {list(heatmap.shape)} and image {list(image.shape)}: must be [height, width] and [height, width, "
            "3]; vitjax.maps.to_pixels upsamples a map"
        )
    outputs = forward(image[None])
    if outputs.ndim != 2 or len(outputs) != 1:
        raise ConfigError(f"forward: returns {list(outputs.shape)} for one image, must return logits [1, classes]")
    if black is not None and np.shape(black) != (3,):
        raise ConfigError(f"black {list(np.shape(black))}: must be [3], a black pixel in normalised space")
    return Case(
        raw=heatmap,
        heatmap=heatmap,
        mask=jnp.full(heatmap.shape, IGNORE, jnp.uint8),
        image=image,
        logits=at_least_float32(outputs[0]),
        target=class_number(target, outputs.shape[1], "target"),
        label=class_number(label, outputs.shape[1], "label", unknown=True),
        grid=(heatmap.shape[0], heatmap.shape[1]),
        key=jax.random.key(0) if key is None else key,
        black=np.full(3, np.nan) if black is None else jnp.asarray(black),
        forward=forward,
    )


def check_black(fill: Fill, black: Any) -> None:
    """Raises: ConfigError if curves to black are asked for without the black pixel."""
    if fill == "black" and black is None:
        raise ConfigError("fill='black' needs black, the [3] values of a black pixel in normalised space")


def endpoint_image(name: str, image: Image, black: Any) -> Image:
    """The image that a curve starts or ends with.

    Args:
        name: "image" (unchanged), "mean" (0, the mean colour), "black", "blur" (blurred with zero padding) or
            "blur_reflect" (blurred with reflected borders).
        image: [H, W, 3] normalised.
        black: [3], a black pixel in normalised space; used for "black" only.

    Returns:
        [H, W, 3].
    """
    if name == "image":
        return image
    if name in ("blur", "blur_reflect"):
        return blurred(image, "zeros" if name == "blur" else "reflect")
    return jnp.broadcast_to(0 if name == "mean" else jnp.asarray(black, image.dtype), image.shape).astype(image.dtype)


def wanted_ends(metrics: Iterable[tuple[Metric, Mapping[str, Any]]]) -> tuple[str, ...]:
    """Names of the endpoint images that these metrics need, sorted, as input to `ends_of`.

    Args:
        metrics: pairs (metric, options with defaults filled in).

    Example:
        >>> metrics = [vitjax.METRICS[name] for name in ("iou", "deletion", "insertion")]
        >>> vitjax.metrics.wanted_ends([(metric, metric.options) for metric in metrics])
        ('blur', 'mean')
    """
    return tuple(sorted({name for metric, options in metrics for name in metric.ends(options)}))


def ends_of(
    forward: Callable[[Array], Array], image: Image, black: Any, wanted: Iterable[str]
) -> dict[str, Float[Array, " k"]]:
    """Logits of the endpoint images of ONE image, for `Case.ends`.

    Args:
        forward: images [s, H, W, 3] -> logits [s, k].
        image: [H, W, 3], normalised, the model's input.
        black: [3], a black pixel in normalised space.
        wanted: names from `wanted_ends`.

    Returns:
        {name: [k]}, float32 or float64.

    Cost: 1F for each name. Under `jax.vmap` over images, "mean" and "black" cost 1F for the whole batch, because they
    do not depend on the image.

    Example:
        >>> forward = lambda images: images.sum((1, 2))
        >>> ends = vitjax.metrics.ends_of(forward, jnp.ones((2, 2, 3)), None, ["image", "mean"])
        >>> {name: logits.tolist() for name, logits in ends.items()}
        {'image': [4.0, 4.0, 4.0], 'mean': [0.0, 0.0, 0.0]}
    """
    return {name: at_least_float32(forward(endpoint_image(name, image, black)[None])[0]) for name in wanted}


def ranks(case: Case, order: Order = "highest", ties: Ties = "random") -> Int[Array, "height width"]:
    """The position of each pixel in the order of removal, from 0.

    Args:
        order: "highest" relevance first or "lowest" relevance first.
        ties: order of pixels of equal relevance, of which upsampling creates many, because it clamps at the border.
            "random": drawn from the image's key, therefore equal for all methods. "first": row-major order.

    Returns:
        int [H, W], a permutation of 0 ... H·W - 1.

    Cost: one sort of the pixels, shared by all curves of the map.
    """
    key = ("ranks", order, ties)
    if order == "lowest" and ties == "random":
        return case.once(key, lambda: case.heatmap.size - 1 - ranks(case, "highest", ties))

    def sort() -> Array:
        heatmap = case.heatmap.reshape(-1) * (-1 if order == "highest" else 1)
        index = jnp.arange(heatmap.size, dtype=jnp.int32)
        tie_break = jax.random.bits(case.key_for("ties"), index.shape, jnp.uint32) if ties == "random" else index
        *_, sorted_pixels = lax.sort((heatmap, tie_break, index), num_keys=2)
        return jnp.zeros_like(index).at[sorted_pixels].set(index, unique_indices=True).reshape(case.heatmap.shape)

    return case.once(key, sort)


def curve(
    case: Case,
    counts: Sequence[int],
    *,
    start: Endpoint = "image",
    end: Endpoint = "mean",
    order: Order = "highest",
    ties: Ties = "random",
    chunk: int = 1,
) -> CurveOutputs:
    """The model's outputs for images in which `counts` pixels of `start` are replaced by those of `end`.

    Args:
        counts: increasing numbers of replaced pixels, 0 to H·W.
        start, end: names of the two images.
        order, ties: order of replacement; see `ranks`.
        chunk: images per forward pass. Memory grows with it; the results do not change.

    Returns:
        Outputs [len(counts)].

    Raises:
        ConfigError: chunk is below 1.

    Cost: 1F for each count other than 0 and H·W. The logits for these two are `case.logits` or in `case.ends`.
    """
    if chunk < 1:
        raise ConfigError(f"chunk={chunk}: must be at least 1")
    key = ("curve", tuple(counts), start, end, order, ties)
    return case.once(key, lambda: _curve(case, tuple(counts), start, end, ranks(case, order, ties), chunk))


def _curve(
    case: Case, counts: tuple[int, ...], start: Endpoint, end: Endpoint, rank: Array, chunk: int
) -> CurveOutputs:
    before, after = (endpoint_image(name, case.image, case.black) for name in (start, end))

    def outputs_at(chunk_counts: Array) -> CurveOutputs:
        images = jnp.where((rank < chunk_counts[:, None, None])[..., None], after, before)
        return _outputs(case, at_least_float32(case.forward(images)))

    inner = jnp.asarray([count for count in counts if 0 < count < rank.size], rank.dtype)
    in_full_chunks = len(inner) // chunk * chunk
    parts = []
    if counts[0] == 0:
        parts.append(_outputs(case, _endpoint_logits(case, start)[None]))
    if in_full_chunks:
        chunks = lax.map(outputs_at, inner[:in_full_chunks].reshape(-1, chunk))
        parts.append(jax.tree.map(lambda leaf: leaf.reshape(-1), chunks))
    if in_full_chunks < len(inner):
        parts.append(outputs_at(inner[in_full_chunks:]))
    if counts[-1] == rank.size:
        parts.append(_outputs(case, _endpoint_logits(case, end)[None]))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def nan_if_degenerate(case: Case, columns: Columns) -> Columns:
    """`columns`, or NaN throughout if the map is constant or not finite.

    To be applied to the final columns: XLA's CPU backend (JAX 0.10) computes wrong values for
    exp(where(degenerate, nan, x)).
    """
    degenerate = is_degenerate(case.heatmap)
    return {name: jnp.where(degenerate, jnp.nan, values) for name, values in columns.items()}


def _endpoint_logits(case: Case, name: Endpoint) -> Array:
    if name == "image":
        return at_least_float32(case.logits)
    if name in case.ends:
        return at_least_float32(case.ends[name])
    image = endpoint_image(name, case.image, case.black)
    return case.once(("end", name), lambda: at_least_float32(case.forward(image[None])[0]))


def _outputs(case: Case, logits: Float[Array, "s k"]) -> CurveOutputs:
    log_p = log_probabilities(logits)
    return CurveOutputs(
        target=log_p[:, case.target] if is_class(case.target) else jnp.full(len(log_p), jnp.nan),
        predicted=log_p[:, jnp.argmax(case.logits)],
        label=log_p[:, jnp.maximum(case.label, 0)],
        top=jnp.argmax(logits, axis=-1),
    )
