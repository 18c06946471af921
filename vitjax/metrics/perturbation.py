"""Perturbation: how the prediction changes as the most (or least) relevant pixels are removed, level by level."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from vitjax.layerwise.probability import log_probabilities
from vitjax.methods.options import Count
from vitjax.metrics.checks import checks_options
from vitjax.metrics.contract import Better, Case, Columns, Metric, Statistic
from vitjax.metrics.levels import LEVELS, Levels, checked_levels, levels_curve, trapezoid
from vitjax.metrics.removal import Fill, Order, Ties, case_of, check_black, nan_if_degenerate
from vitjax.shapes import Array, Float, Image, Scalar, at_least_float32

Measure = Literal["accuracy", "probability"]
Heatmap = Float[Array, "height width"]
Forward = Callable[[Array], Array]


class PerturbationAuc(NamedTuple):
    """Areas in percent for the predicted class and for the true class (`..._label`).

    Lower is better for positive perturbation, higher for negative perturbation.
    """

    positive: Array
    negative: Array
    positive_label: Array
    negative_label: Array


@checks_options
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
    chunk: Count = 1,
) -> PerturbationAuc:
    """Area under the curve of top-1 correctness while pixels are removed, by the trapezoidal rule, in percent.

    AUC = 100 Σ_i (l_(i+1) - l_i) (c_i + c_(i+1)) / 2 / (l_n - l_0), where c_i = 1 if the argmax at level l_i is the
    class predicted for the whole image (`positive`, `negative`) or the true class (`..._label`), else 0. Positive
    perturbation removes the pixels of highest relevance first, negative perturbation those of lowest relevance.

    Args:
        heatmap: map at pixel size; only the order of its values matters.
        image: [H, W, 3] normalised.
        forward: images [s, H, W, 3] -> logits [s, k], such as `model.logits`.
        label: the true class; -1 if unknown.
        levels: increasing percentages of removed pixels, 0 to 100; by default 0, 5 ... 100; the code of
            Transformer-Explainability uses 10, 20 ... 90. int(pixels · level / 100) pixels are removed, with all of
            their channels.
        fill: value of removed pixels: "mean" (0 in normalised space), "black" (0 before normalisation, as in
            Transformer-Explainability) or "blur" (the blurred image).
        measure: c_i is top-1 correctness ("accuracy") or the "probability" of the class.
        ties: order of pixels of equal relevance; see `removal.ranks`.
        key: PRNG key for ties="random".
        black: [3], a black pixel in normalised space; required for fill="black".
        chunk: masked images per forward pass; memory grows with it, the result does not change.

    Returns:
        Four floats in [0, 100]; NaN if the map is constant or not finite, and for `..._label` if the label is -1.

    Raises:
        ConfigError: map and image differ in size, invalid levels, chunk below 1, or fill="black" without `black`.

    Source: Chefer et al. 2021; AUC over 0 to 100 %: Wu et al. 2024 (VTranM). Differs from reference: ties are broken
    at random, equally for all methods; the order that torch.topk gives ties is unspecified.

    Cost: two forwards for each level between 0 and 100.

    Example:
        >>> heatmap, image = jnp.array([[1.0, 0.6], [0.4, 0.0]]), jnp.zeros((2, 2, 3)).at[0, 0, 0].set(99.0)
        >>> forward = lambda images: images.sum((1, 2)) + jnp.array([0, 9, 0])  # class 0, or 1 without the pixel
        >>> areas = vitjax.metrics.perturbation_auc(heatmap, image, forward, levels=(0, 25, 50))
        >>> float(areas.positive), float(areas.negative)
        (25.0, 100.0)
    """
    check_black(fill, black)
    case = case_of(heatmap, image, forward, label=label, key=key, black=black)
    columns = _record_auc(case, levels=levels, fill=fill, measure=measure, ties=ties, chunk=chunk)
    return PerturbationAuc(**{name: columns[name] for name in PerturbationAuc._fields})


@checks_options
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
    chunk: Count = 1,
) -> Scalar:
    """AOPC = mean over levels l of p(y|x) - p(y|x_l), where x_l lacks the l % most relevant pixels.

    Args:
        heatmap, image, forward, levels, fill, ties, key, black, chunk: as for `perturbation_auc`.
        target: y, the explained class.
        absolute: average |p(y|x) - p(y|x_l)| instead, as the code of AttCAT does (with levels 10, 20 ... 90).

    Returns:
        Float in [-1, 1], higher is better; NaN if the map is constant or not finite.

    Raises:
        ConfigError: as for `perturbation_auc`.

    Source: Samek et al. 2017; Wu et al. 2024 (VTranM), eq. 21. Differs from reference: nothing.

    Cost: one forward for each level between 0 and 100; no further one if `perturbation_auc` with the same levels is
    recorded for the same map.

    Example:
        >>> heatmap, image = jnp.array([[1.0, 0.6], [0.4, 0.0]]), jnp.zeros((2, 2, 3)).at[0, 0, 0].set(99.0)
        >>> forward = lambda images: images.sum((1, 2))[:, :2]  # class 0, or undecided without the bright pixel
        >>> round(float(vitjax.metrics.aopc(heatmap, image, forward, target=0, levels=(0, 50))), 3)  # (0 + 1/2) / 2
        0.25
    """
    check_black(fill, black)
    case = case_of(heatmap, image, forward, target=target, key=key, black=black)
    return _record_aopc(case, levels=levels, fill=fill, absolute=absolute, ties=ties, chunk=chunk)["value"]


@checks_options
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
    chunk: Count = 1,
) -> Scalar:
    """LOdds = mean over levels l of log(p(y|x_l) / p(y|x)), where x_l lacks the l % most relevant pixels.

    Args: as for `aopc`.

    Returns:
        Float, lower is better; NaN if the map is constant or not finite. Computed from log_softmax, so a probability
        that underflows does not give an infinity.

    Raises:
        ConfigError: as for `perturbation_auc`.

    Source: Shrikumar et al. 2017; Wu et al. 2024 (VTranM), eq. 22. Differs from reference: nothing.

    Cost: as for `aopc`.

    Example:
        >>> heatmap, image = jnp.array([[1.0, 0.6], [0.4, 0.0]]), jnp.zeros((2, 2, 3)).at[0, 0, 0].set(99.0)
        >>> forward = lambda images: images.sum((1, 2))[:, :2]  # class 0, or undecided without the bright pixel
        >>> round(float(vitjax.metrics.log_odds(heatmap, image, forward, target=0, levels=(0, 50))), 3)  # -(log 2) / 2
        -0.347
    """
    check_black(fill, black)
    case = case_of(heatmap, image, forward, target=target, key=key, black=black)
    return _record_log_odds(case, levels=levels, fill=fill, ties=ties, chunk=chunk)["value"]


def _record_auc(
    case: Case,
    *,
    levels: Levels = LEVELS,
    fill: Fill = "mean",
    measure: Measure = "accuracy",
    ties: Ties = "random",
    chunk: Count = 1,
) -> Columns:
    columns = {}
    orders: tuple[tuple[str, Order], ...] = (("positive", "highest"), ("negative", "lowest"))
    for name, order in orders:
        outputs = levels_curve(case, levels, fill, order, ties, chunk)
        by_class = {name: (outputs.predicted, jnp.argmax(case.logits)), f"{name}_label": (outputs.label, case.label)}
        for column, (log_p, reference_class) in by_class.items():
            correct = (outputs.top == reference_class).astype(log_p.dtype)
            values = 100 * (jnp.exp(log_p) if measure == "probability" else correct)
            known = reference_class >= 0
            columns[column] = jnp.where(known, trapezoid(values, levels), jnp.nan)
            columns[f"{column}_curve"] = jnp.where(known, values, jnp.nan)
    return nan_if_degenerate(case, columns)


def _record_aopc(
    case: Case,
    *,
    levels: Levels = LEVELS,
    fill: Fill = "mean",
    absolute: bool = False,
    ties: Ties = "random",
    chunk: Count = 1,
) -> Columns:
    outputs = levels_curve(case, levels, fill, "highest", ties, chunk)
    drop = jnp.exp(_log_p_of_target(case)) - jnp.exp(outputs.target)
    drop = jnp.abs(drop) if absolute else drop
    return nan_if_degenerate(case, {"value": drop.mean(), "curve": drop})


def _record_log_odds(
    case: Case, *, levels: Levels = LEVELS, fill: Fill = "mean", ties: Ties = "random", chunk: Count = 1
) -> Columns:
    change = levels_curve(case, levels, fill, "highest", ties, chunk).target - _log_p_of_target(case)
    return nan_if_degenerate(case, {"value": change.mean(), "curve": change})


def _log_p_of_target(case: Case) -> Scalar:
    """Log-probability of the explained class for the unperturbed image."""
    return log_probabilities(at_least_float32(case.logits))[case.target]


def _ends(options: Mapping[str, Any]) -> frozenset[str]:
    return frozenset({options["fill"]} if checked_levels(options["levels"])[-1] == 100 else ())


def _levels_of(*columns: str) -> Callable[[Mapping[str, Any]], Mapping[str, np.ndarray | None]]:
    return lambda options: dict.fromkeys(columns, np.asarray(checked_levels(options["levels"]), np.float64))


_faithfulness: Callable[..., Metric] = partial(Metric, family="faithfulness", ends=_ends, needs=frozenset({"head"}))

_MOST_RELEVANT, _LEAST_RELEVANT = "most relevant pixels removed (%)", "least relevant pixels removed (%)"
_AUC_TITLES = {
    "positive": "Positive AUC, predicted class",
    "negative": "Negative AUC, predicted class",
    "positive_label": "Positive AUC, true class",
    "negative_label": "Negative AUC, true class",
}


def _auc_statistic(name: str, title: str) -> Statistic:
    better: Better = "lower" if name.startswith("positive") else "higher"
    return Statistic((name,), better=better, percent=False, unit="%", title=title)


def _auc_axes(column: str, options: Mapping[str, Any]) -> tuple[str, str]:
    removed = _MOST_RELEVANT if column.startswith("positive") else _LEAST_RELEVANT
    if options["measure"] == "probability":
        return removed, "probability of the class (%)"
    return removed, "images classified correctly (%)" if "label" in column else "images that keep their class (%)"


PERTURBATION_AUC = _faithfulness(
    title="Perturbation AUC",
    cite="Chefer, Gur & Wolf 2021, Transformer Interpretability Beyond Attention Visualization",
    cost="38F",
    function=perturbation_auc,
    record=_record_auc,
    figures=lambda options: {name: _auc_statistic(name, title) for name, title in _AUC_TITLES.items()},
    curves=_levels_of(*(f"{name}_curve" for name in PerturbationAuc._fields)),
    axes=_auc_axes,
    use_when="faithfulness on ImageNet is to be compared with Chefer et al. 2021, in both orders of removal",
)
_curve: Any = partial(_faithfulness, needs=frozenset({"head", "class"}), cost="19F, shared with the perturbation AUC")
AOPC = _curve(
    curves=_levels_of("curve"),
    title="AOPC",
    cite="Samek et al. 2017, Evaluating the Visualization of What a Deep Neural Network Has Learned",
    function=aopc,
    record=_record_aopc,
    figures=lambda options: {"": Statistic(("value",))},
    axes=lambda column, options: (_MOST_RELEVANT, "drop in probability"),
    use_when="the mean fall of the class's probability is wanted; it shares its forwards with perturbation_auc",
)
LOG_ODDS = _curve(
    curves=_levels_of("curve"),
    title="Log-odds",
    cite="Shrikumar et al. 2017, Learning Important Features Through Propagating Activation Differences",
    function=log_odds,
    record=_record_log_odds,
    figures=lambda options: {"": Statistic(("value",), better="lower", percent=False)},
    axes=lambda column, options: (_MOST_RELEVANT, "log-odds (nats)"),
    use_when="falls of probability near 0 and 1 are to count as they do on the logarithmic scale",
)
