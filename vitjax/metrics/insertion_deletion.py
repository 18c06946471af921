"""Deletion and insertion: the probability of the explained class as the most relevant pixels are removed or added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.methods.options import Count
from vitjax.metrics.blur import Padding
from vitjax.metrics.checks import checks_options
from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.metrics.removal import Endpoint, Fill, Ties, case_of, check_black, curve, nan_if_degenerate
from vitjax.shapes import Array, Float, Image, Scalar, ceil_div

Start = Literal["blur", "zeros"]
Heatmap = Float[Array, "height width"]
Forward = Callable[[Array], Array]


@checks_options
def deletion(
    heatmap: Heatmap,
    image: Image,
    forward: Forward,
    target: Any,
    *,
    step: Count = 224,
    steps: Count | None = None,
    fill: Fill = "mean",
    ties: Ties = "random",
    key: Array | None = None,
    black: Any = None,
    chunk: Count = 1,
) -> Scalar:
    """AUC = (Σ_i s_i - s_0/2 - s_n/2) / n of s_i = p(y | the i · step most relevant pixels are removed).

    Args:
        heatmap: map at pixel size; only the order of its values matters.
        image: [H, W, 3] normalised.
        forward: images [s, H, W, 3] -> logits [s, k], such as `model.logits`.
        target: y, the explained class.
        step: pixels per step; 1792 in the code of Transition Attention Maps, 501 (with steps=100) in that of TSW.
        steps: n; None continues until every pixel is removed. The last step may remove fewer pixels.
        fill: value of removed pixels: "mean" (0 in normalised space), "black" (0 before normalisation) or "blur" (the
            blurred image).
        ties: order of pixels of equal relevance; see `removal.ranks`.
        key: PRNG key for ties="random".
        black: [3], a black pixel in normalised space; required for fill="black".
        chunk: masked images per forward pass; memory grows with it, the result does not change.

    Returns:
        Float in [0, 1], lower is better; NaN if the map is constant or not finite.

    Raises:
        ConfigError: map and image differ in size, step, steps or chunk is below 1, or fill="black" without `black`.

    Source: Petsiuk et al. 2018, RISE. Differs from reference: ties are broken at random, equally for all methods.

    Cost: one forward per step, 223 at 224 x 224 pixels.

    Example:
        >>> heatmap, image = jnp.array([[1.0, 0.6], [0.4, 0.0]]), jnp.zeros((2, 2, 3)).at[0, 0, 0].set(99.0)
        >>> forward = lambda images: images.sum((1, 2))[:, :2]  # class 0, or undecided without the bright pixel
        >>> round(float(vitjax.metrics.deletion(heatmap, image, forward, target=0, step=1)), 4)  # 1 1/2 1/2 1/2 1/2
        0.5625
    """
    check_black(fill, black)
    case = case_of(heatmap, image, forward, target=target, key=key, black=black)
    return _record_deletion(case, step=step, steps=steps, fill=fill, ties=ties, chunk=chunk)["value"]


@checks_options
def insertion(
    heatmap: Heatmap,
    image: Image,
    forward: Forward,
    target: Any,
    *,
    step: Count = 224,
    steps: Count | None = None,
    start: Start = "blur",
    blur_padding: Padding = "zeros",
    ties: Ties = "random",
    key: Array | None = None,
    chunk: Count = 1,
) -> Scalar:
    """AUC = (Σ_i s_i - s_0/2 - s_n/2) / n of s_i = p(y | the i · step most relevant pixels are inserted).

    Args:
        heatmap, image, forward, target, step, steps, ties, key, chunk: as for `deletion`; `step` counts inserted
            pixels.
        start: the image that pixels are inserted into: "blur", the blurred image (Gaussian, 11 x 11 pixels, sigma 5),
            or "zeros", the mean colour.
        blur_padding: padding of the image before it is blurred: "zeros" (the code of RISE and of Transition Attention
            Maps) or "reflect"; see `blur.blurred`.

    Returns:
        Float in [0, 1], higher is better; NaN if the map is constant or not finite.

    Raises:
        ConfigError: map and image differ in size, step, steps or chunk is below 1.

    Source: Petsiuk et al. 2018, RISE. Differs from reference: ties are broken at random, equally for all methods.

    Cost: one forward per step, 223 at 224 x 224 pixels, and one for the blurred image, which all methods share.

    Example:
        >>> heatmap, image = jnp.array([[1.0, 0.6], [0.4, 0.0]]), jnp.zeros((2, 2, 3)).at[0, 0, 0].set(99.0)
        >>> forward = lambda images: images.sum((1, 2))[:, :2]  # class 0, or undecided without the bright pixel
        >>> round(float(vitjax.metrics.insertion(heatmap, image, forward, target=0, step=1, start="zeros")), 4)
        0.9375
    """
    case = case_of(heatmap, image, forward, target=target, key=key)
    options: dict[str, Any] = {"start": start, "blur_padding": blur_padding, "ties": ties, "chunk": chunk}
    return _record_insertion(case, step=step, steps=steps, **options)["value"]


def step_counts(pixels: int, step: int, steps: Count | None) -> tuple[int, ...]:
    """Numbers of replaced pixels along a curve: 0, step, 2 · step ... pixels, cut after `steps` steps.

    Raises:
        ConfigError: map and image differ in size, step or steps is below 1.
    """
    if step < 1 or (steps is not None and steps < 1):
        raise ConfigError(f"step={step}, steps={steps}: must be at least 1")
    needed = ceil_div(pixels, step)
    taken = needed if steps is None else min(steps, needed)
    return tuple(min(number * step, pixels) for number in range(taken + 1))


def _area(case: Case, log_p: Float[Array, " n"]) -> Columns:
    scores = jnp.exp(log_p)
    area = (scores.sum() - scores[0] / 2 - scores[-1] / 2) / (len(scores) - 1)
    return nan_if_degenerate(case, {"value": area, "curve": scores})


def _record_deletion(
    case: Case,
    *,
    step: Count = 224,
    steps: Count | None = None,
    fill: Fill = "mean",
    ties: Ties = "random",
    chunk: Count = 1,
) -> Columns:
    counts = step_counts(case.heatmap.size, step, steps)
    return _area(case, curve(case, counts, end=fill, ties=ties, chunk=chunk).target)


def _record_insertion(
    case: Case,
    *,
    step: Count = 224,
    steps: Count | None = None,
    start: Start = "blur",
    blur_padding: Padding = "zeros",
    ties: Ties = "random",
    chunk: Count = 1,
) -> Columns:
    counts = step_counts(case.heatmap.size, step, steps)
    first = _start_image(start, blur_padding)
    return _area(case, curve(case, counts, start=first, end="image", ties=ties, chunk=chunk).target)


def _start_image(start: Start, blur_padding: Padding) -> Endpoint:
    if start == "zeros":
        return "mean"
    return "blur" if blur_padding == "zeros" else "blur_reflect"


_rise: Callable[..., Metric] = partial(
    Metric,
    cite="Petsiuk, Das & Saenko 2018, RISE: Randomized Input Sampling for Explanation of Black-box Models",
    family="faithfulness",
    needs=frozenset({"head", "class"}),
    cost="223F",
    curves=lambda options: {"curve": None},
)


def _axes(verb: str) -> Callable[[str, Mapping[str, Any]], tuple[str, str]]:
    """Only a curve that ends with all pixels has steps of known percentages."""
    return lambda column, options: (
        f"pixels {verb} (%)" if options["steps"] is None else f"steps of {options['step']} pixels {verb}",
        "probability of the explained class",
    )


DELETION = _rise(
    title="Deletion",
    function=deletion,
    record=_record_deletion,
    figures=lambda options: {"": Statistic(("value",), better="lower", title="Deletion AUC")},
    axes=_axes("removed"),
    ends=lambda options: frozenset({options["fill"]} if options["steps"] is None else ()),
    use_when="results of RISE are to be compared with; removed pixels make images the model has not seen",
)
INSERTION = _rise(
    title="Insertion",
    function=insertion,
    record=_record_insertion,
    figures=lambda options: {"": Statistic(("value",), title="Insertion AUC")},
    axes=_axes("inserted"),
    ends=lambda options: frozenset({_start_image(options["start"], options["blur_padding"])}),
    use_when="deletion is to be complemented: how early the class returns on an empty or blurred image",
)
