"""Deletion and insertion: the probability of the explained class while pixels go, or come, a few at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.metrics.blur import Padding
from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.metrics.removal import Fill, Picture, Ties, case_of, curve, only_of_a_map
from vitjax.shapes import Array, Float, Image, Scalar, ceil_div

Start = Literal["blur", "zeros"]
Heatmap = Float[Array, "height width"]
Forward = Callable[[Array], Array]


def deletion(
    heatmap: Heatmap,
    image: Image,
    forward: Forward,
    target: Any,
    *,
    step: int = 224,
    steps: int | None = None,
    fill: Fill = "mean",
    ties: Ties = "random",
    key: Array | None = None,
    black: Any = None,
    chunk: int = 1,
) -> Scalar:
    """AUC = (Σ_i s_i - s_0/2 - s_n/2) / n of s_i = p(y | the i · step most relevant pixels are removed).

    Args:
        heat: map H at pixel size, [0, 1].
        image: [H, W, 3] normalised.
        forward: images [s, H, W, 3] -> logits [s, k], such as `model.logits`.
        target: y, the explained class.
        step: pixels a step; 1792 in Transition Attention Maps' code, 501 (with steps=100) in TSW's.
        steps: n; None: until every pixel is removed. The last step may be a smaller one.
        fill: what removed pixels become: "mean", 0 in normalised space; "black", 0 before normalising; "blur".
        ties: order of equal relevance; see `removal.ranks`.
        key: PRNG key of the random ties.
        black: [3], a black pixel in normalised space; for fill="black".
        chunk: masked images that go through the model together.

    Returns a float in [0, 1], lower is better; NaN where the map is constant or not finite.

    Source: Petsiuk et al. 2018, RISE. Differs from reference: ties are random and the same for all methods.

    Cost: one forward a step, 223 at 224 x 224 pixels.

    Example: `deletion(explanation.pixels()[0], explanation.images.x[0], model.logits, explanation.target[0])`
    """
    if fill == "black" and black is None:
        raise ConfigError("fill='black' needs black, a black pixel in normalised space")
    case = case_of(heatmap, image, forward, target=target, key=key, black=black)
    return _record_deletion(case, step=step, steps=steps, fill=fill, ties=ties, chunk=chunk)["value"]


def insertion(
    heatmap: Heatmap,
    image: Image,
    forward: Forward,
    target: Any,
    *,
    step: int = 224,
    steps: int | None = None,
    start: Start = "blur",
    blur_padding: Padding = "zeros",
    ties: Ties = "random",
    key: Array | None = None,
    chunk: int = 1,
) -> Scalar:
    """AUC = (Σ_i s_i - s_0/2 - s_n/2) / n of s_i = p(y | the i · step most relevant pixels are put in).

    Args:
        start: what they are put into: a "blur"red copy of the image (Gaussian, 11 x 11 pixels, sigma 5), or "zeros",
            the mean colour.
        blur_padding: what lies beyond the image's border when it is blurred: "zeros" (RISE's code and Transition
            Attention Maps') or "reflect".
        the others: as `deletion`.

    Returns a float in [0, 1], higher is better; NaN where the map is constant or not finite.

    Source: Petsiuk et al. 2018, RISE. Differs from reference: ties are random and the same for all methods.

    Cost: one forward a step, 223 at 224 x 224 pixels, and one for the blurred image, which all methods share.

    Example: `insertion(explanation.pixels()[0], explanation.images.x[0], model.logits, explanation.target[0])`
    """
    case = case_of(heatmap, image, forward, target=target, key=key)
    options: dict[str, Any] = {"start": start, "blur_padding": blur_padding, "ties": ties, "chunk": chunk}
    return _record_insertion(case, step=step, steps=steps, **options)["value"]


def step_counts(pixels: int, step: int, steps: int | None) -> tuple[int, ...]:
    """0, step, 2 · step ... pixels, or the first `steps` of these steps. Raises ConfigError."""
    if step < 1 or (steps is not None and steps < 1):
        raise ConfigError(f"step={step}, steps={steps}: must be at least 1")
    needed = ceil_div(pixels, step)
    taken = needed if steps is None else min(steps, needed)
    return tuple(min(number * step, pixels) for number in range(taken + 1))


def _area(case: Case, log_p: Float[Array, " n"]) -> Columns:
    scores = jnp.exp(log_p)
    area = (scores.sum() - scores[0] / 2 - scores[-1] / 2) / (len(scores) - 1)
    return only_of_a_map(case, {"value": area, "curve": scores})


def _record_deletion(
    case: Case,
    *,
    step: int = 224,
    steps: int | None = None,
    fill: Fill = "mean",
    ties: Ties = "random",
    chunk: int = 1,
) -> Columns:
    counts = step_counts(case.heatmap.size, step, steps)
    return _area(case, curve(case, counts, end=fill, ties=ties, chunk=chunk).target)


def _record_insertion(
    case: Case,
    *,
    step: int = 224,
    steps: int | None = None,
    start: Start = "blur",
    blur_padding: Padding = "zeros",
    ties: Ties = "random",
    chunk: int = 1,
) -> Columns:
    counts = step_counts(case.heatmap.size, step, steps)
    return _area(
        case, curve(case, counts, start=_first(start, blur_padding), end="image", ties=ties, chunk=chunk).target
    )


def _first(start: Start, blur_padding: Padding) -> Picture:
    if start == "zeros":
        return "mean"
    return "blur" if blur_padding == "zeros" else "blur_reflect"


_rise: Callable[..., Metric] = partial(
    Metric,
    cite="Petsiuk, Das & Saenko 2018, RISE: Randomized Input Sampling for Explanation of Black-box Models",
    family="faithfulness",
    cost="223F",
    curves=lambda options: {"curve": None},
)

DELETION = _rise(
    title="Deletion",
    function=deletion,
    record=_record_deletion,
    figures=lambda options: {"": Statistic(("value",), better="lower")},
    ends=lambda options: frozenset({options["fill"]} if options["steps"] is None else ()),
)
INSERTION = _rise(
    title="Insertion",
    function=insertion,
    record=_record_insertion,
    figures=lambda options: {"": Statistic(("value",))},
    ends=lambda options: frozenset({_first(options["start"], options["blur_padding"])}),
)
