"""Perturbation: how the answer changes as the most (or least) relevant pixels are removed, level by level."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError
from vitjax.layerwise.fold import wide
from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.metrics.removal import Answers, Fill, Order, Ties, case_of, curve, only_of_a_map
from vitjax.shapes import Array, Float, Image, Scalar

LEVELS = tuple(range(0, 101, 5))
"""Percent of the pixels that are removed."""
Levels = tuple[float, ...]
Measure = Literal["accuracy", "probability"]
Heatmap = Float[Array, "height width"]
Forward = Callable[[Array], Array]


class PerturbationAuc(NamedTuple):
    """In percent; lower is better for the positive ones, higher for the negative ones."""

    positive: Array
    negative: Array
    positive_label: Array
    negative_label: Array


def perturbation_auc(
    heatmap: Heatmap,
    image: Image,
    forward: Forward,
    *,
    label: Any = -1,
    levels: Levels = LEVELS,
    fill: Fill = "mean",
    measure: Measure = "accuracy",
    ties: Ties = "random",
    key: Array | None = None,
    black: Any = None,
    chunk: int = 1,
) -> PerturbationAuc:
    """Area under the curve of top-1 correctness while pixels are removed, by the trapezoid rule, in percent.

    AUC = 100 Σ_i (l_(i+1) - l_i) (c_i + c_(i+1)) / 2 / (l_n - l_0), c_i = [argmax of what is left at level l_i is the
    predicted class] (`positive`, `negative`) or the true one (`..._label`). Positive removes the pixels of the highest
    relevance first, negative those of the lowest.

    Args:
        heat: map H at pixel size, [0, 1].
        image: [H, W, 3] normalised.
        forward: images [s, H, W, 3] -> logits [s, k], such as `model.logits`.
        label: the true class; -1: there is none.
        levels: percent of the pixels removed, increasing, 0 to 100; 0, 5 ... 100 or, as Transformer-Explainability's
            code has it, 10, 20 ... 90. int(pixels · level / 100) are removed, all channels together.
        fill: what removed pixels become: "mean", 0 in normalised space; "black", 0 before normalising (that code);
            "blur", the blurred image.
        measure: c_i is correctness, or the "probability" of the class.
        ties: order of equal relevance; see `removal.ranks`.
        key: PRNG key of the random ties.
        black: [3], a black pixel in normalised space; for fill="black".
        chunk: masked images that go through the model together.

    Returns four floats in [0, 100]; NaN where the map is constant or not finite, and by label where there is none.

    Source: Chefer et al. 2021; AUC over 0 to 100 %: paper 003. Differs from reference: ties are random and the same
    for all methods; torch.topk leaves them open.

    Cost: two forwards for each level between 0 and 100.

    Example: `perturbation_auc(explanation.pixels()[0], explanation.images.x[0], model.logits).positive`
    """
    _check_black(fill, black)
    case = case_of(heatmap, image, forward, label=label, key=key, black=black)
    found = _record_auc(case, levels=levels, fill=fill, measure=measure, ties=ties, chunk=chunk)
    return PerturbationAuc(**{name: found[name] for name in PerturbationAuc._fields})


def aopc(
    heatmap: Heatmap,
    image: Image,
    forward: Forward,
    target: Any,
    *,
    levels: Levels = LEVELS,
    fill: Fill = "mean",
    absolute: bool = False,
    ties: Ties = "random",
    key: Array | None = None,
    black: Any = None,
    chunk: int = 1,
) -> Scalar:
    """AOPC = mean over levels of p(y|x) - p(y|x_l), the most relevant pixels removed; y the explained class.

    Args:
        target: y.
        absolute: mean of |p(y|x) - p(y|x_l)|, as AttCAT's code has it (with levels 10, 20 ... 90).
        the others: as `perturbation_auc`.

    Returns a float in [-1, 1], higher is better; NaN where the map is constant or not finite.

    Source: Samek et al. 2017; paper 003, eq. 21. Differs from reference: nothing.

    Cost: one forward for each level between 0 and 100, none beside `perturbation_auc` of the same levels.

    Example: `aopc(explanation.pixels()[0], explanation.images.x[0], model.logits, explanation.target[0])`
    """
    _check_black(fill, black)
    case = case_of(heatmap, image, forward, target=target, key=key, black=black)
    return _record_aopc(case, levels=levels, fill=fill, absolute=absolute, ties=ties, chunk=chunk)["value"]


def log_odds(
    heatmap: Heatmap,
    image: Image,
    forward: Forward,
    target: Any,
    *,
    levels: Levels = LEVELS,
    fill: Fill = "mean",
    ties: Ties = "random",
    key: Array | None = None,
    black: Any = None,
    chunk: int = 1,
) -> Scalar:
    """LOdds = mean over levels of log(p(y|x_l) / p(y|x)), the most relevant pixels removed; y the explained class.

    Args: as `aopc`.

    Returns a float, lower is better; NaN where the map is constant or not finite. From log_softmax: a probability that
    underflows is no infinity.

    Source: Shrikumar et al. 2017; paper 003, eq. 22. Differs from reference: nothing.

    Cost: as `aopc`.

    Example: `log_odds(explanation.pixels()[0], explanation.images.x[0], model.logits, explanation.target[0])`
    """
    _check_black(fill, black)
    case = case_of(heatmap, image, forward, target=target, key=key, black=black)
    return _record_log_odds(case, levels=levels, fill=fill, ties=ties, chunk=chunk)["value"]


def checked_levels(levels: Levels) -> Levels:
    """The levels. Raises ConfigError where they are not at least two increasing percentages."""
    inside = len(levels) > 1 and levels[0] >= 0 and levels[-1] <= 100
    if not inside or any(low >= high for low, high in pairwise(levels)):
        raise ConfigError(f"levels={levels}: at least two increasing percentages from 0 to 100")
    return levels


def trapezoid(values: Float[Array, " levels"], levels: Levels) -> Scalar:
    """Area under a curve over the span of its levels: the mean height."""
    steps = np.diff(levels) / (levels[-1] - levels[0])
    return ((values[:-1] + values[1:]) / 2 * jnp.asarray(steps, values.dtype)).sum()


def _levels_curve(case: Case, levels: Levels, fill: Fill, order: Order, ties: Ties, chunk: int) -> Answers:
    counts = [int(case.heatmap.size * level / 100) for level in checked_levels(levels)]
    return curve(case, counts, end=fill, order=order, ties=ties, chunk=chunk)


def _record_auc(
    case: Case,
    *,
    levels: Levels = LEVELS,
    fill: Fill = "mean",
    measure: Measure = "accuracy",
    ties: Ties = "random",
    chunk: int = 1,
) -> Columns:
    columns = {}
    orders: tuple[tuple[str, Order], ...] = (("positive", "highest"), ("negative", "lowest"))
    for name, order in orders:
        found = _levels_curve(case, levels, fill, order, ties, chunk)
        by_class = {name: (found.predicted, jnp.argmax(case.logits)), f"{name}_label": (found.label, case.label)}
        for column, (log_p, wanted) in by_class.items():
            right = (found.top == wanted).astype(log_p.dtype)
            values = 100 * (jnp.exp(log_p) if measure == "probability" else right)
            known = wanted >= 0
            columns[column] = jnp.where(known, trapezoid(values, levels), jnp.nan)
            columns[f"{column}_curve"] = jnp.where(known, values, jnp.nan)
    return only_of_a_map(case, columns)


def _record_aopc(
    case: Case,
    *,
    levels: Levels = LEVELS,
    fill: Fill = "mean",
    absolute: bool = False,
    ties: Ties = "random",
    chunk: int = 1,
) -> Columns:
    found = _levels_curve(case, levels, fill, "highest", ties, chunk)
    drop = jnp.exp(_clean(case)) - jnp.exp(found.target)
    drop = jnp.abs(drop) if absolute else drop
    return only_of_a_map(case, {"value": drop.mean(), "curve": drop})


def _record_log_odds(
    case: Case, *, levels: Levels = LEVELS, fill: Fill = "mean", ties: Ties = "random", chunk: int = 1
) -> Columns:
    change = _levels_curve(case, levels, fill, "highest", ties, chunk).target - _clean(case)
    return only_of_a_map(case, {"value": change.mean(), "curve": change})


def _clean(case: Case) -> Scalar:
    """log p of the explained class in the whole image."""
    return jax.nn.log_softmax(wide(case.logits))[case.target]


def _check_black(fill: Fill, black: Any) -> None:
    if fill == "black" and black is None:
        raise ConfigError("fill='black' needs black, a black pixel in normalised space")


def _ends(options: Mapping[str, Any]) -> frozenset[str]:
    return frozenset({options["fill"]} if checked_levels(options["levels"])[-1] == 100 else ())


def _x_of(*columns: str) -> Callable[[Mapping[str, Any]], Mapping[str, np.ndarray | None]]:
    return lambda options: dict.fromkeys(columns, np.asarray(checked_levels(options["levels"]), np.float64))


_faithfulness: Callable[..., Metric] = partial(Metric, family="faithfulness", ends=_ends)

PERTURBATION_AUC = _faithfulness(
    title="Perturbation AUC",
    cite="Chefer, Gur & Wolf 2021, Transformer Interpretability Beyond Attention Visualization",
    cost="38F",
    function=perturbation_auc,
    record=_record_auc,
    figures=lambda options: {
        name: Statistic((name,), better="lower" if name.startswith("positive") else "higher", percent=False)
        for name in PerturbationAuc._fields
    },
    curves=_x_of(*(f"{name}_curve" for name in PerturbationAuc._fields)),
)
AOPC = _faithfulness(
    title="AOPC",
    cite="Samek et al. 2017, Evaluating the Visualization of What a Deep Neural Network Has Learned",
    cost="19F, shared with the perturbation AUC",
    function=aopc,
    record=_record_aopc,
    figures=lambda options: {"": Statistic(("value",))},
    curves=_x_of("curve"),
)
LOG_ODDS = _faithfulness(
    title="Log-odds",
    cite="Shrikumar et al. 2017, Learning Important Features Through Propagating Activation Differences",
    cost="19F, shared with the perturbation AUC",
    function=log_odds,
    record=_record_log_odds,
    figures=lambda options: {"": Statistic(("value",), better="lower", percent=False)},
    curves=_x_of("curve"),
)
