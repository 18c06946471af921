"""What the slider of the page shows: pixels in their order of removal, and the curves of the perturbation metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.evaluating.job import MetricRequest, metric_request
from vitjax.evaluating.programs import curve_ends, metric_columns
from vitjax.execution.plan import active_plan
from vitjax.explaining.batch_runner import batches, take_padded
from vitjax.explaining.explanation import Explanation
from vitjax.images.mask_values import IGNORE
from vitjax.maps import deliberate_nans
from vitjax.metrics.contract import Case, Columns, Metric
from vitjax.metrics.perturbation import LEVELS
from vitjax.metrics.removal import curve, nan_if_degenerate, ranks, wanted_ends
from vitjax.models.model import Model
from vitjax.shapes import accumulation_dtype, ceil_div

MAPS_PER_CALL = 8


class Removal(NamedTuple):
    """Removal of one map's pixels.

    order: uint8 [H, W]: how many of `thresholds` are at most the pixel's rank, 0 for the most relevant pixels.
    curves: by order of removal ("positive": the most relevant pixels first), [levels] each, in percent: "predicted",
        the probability of the class predicted for the whole image; "correct", 100 where it is still the top class;
        "target", the probability of the explained class (only where the target is a class, and only "positive").
    areas: `perturbation_auc` by measure and order, in percent: "probability" and "accuracy".
    """

    order: np.ndarray
    curves: dict[str, dict[str, np.ndarray]]
    areas: dict[str, dict[str, float]]


def thresholds(pixels: int) -> list[int]:
    """Ranks at which a level of LEVELS ends, counted from the most relevant pixel or from the least relevant one."""
    counts = [int(pixels * level / 100) for level in LEVELS]
    return sorted({*counts, *(pixels - count for count in counts)} - {0, pixels})


def removals(
    model: Model,
    chosen: Sequence[tuple[Explanation, int]],
    *,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda count: None,
) -> list[Removal]:
    """The removal of each map; the columns are those of `vitjax.evaluate` with the same seed and image ids.

    Args:
        model: the model of all explanations.
        chosen: maps as (explanation, index), all of images of one size.
        seed: of the order of pixels of equal relevance.
        on_progress: called with the number of maps that are finished.

    Cost: 38 forwards for each map.
    """
    if not chosen:
        return []
    metrics, results = _metrics(model), []
    size = ceil_div(len(chosen), ceil_div(len(chosen), MAPS_PER_CALL))
    for part in batches(np.arange(len(chosen)), size):
        columns = _columns(model, [chosen[index] for index in part], metrics, seed, size)
        for row, index in enumerate(part):
            explanation, number = chosen[index]
            of_map = {name: values[row] for name, values in columns.items()}
            results.append(_removal(of_map, has_target=bool(explanation.target[number] >= 0)))
        on_progress(len(part))
    return results


def _metrics(model: Model) -> tuple[MetricRequest, ...]:
    areas: tuple[str | dict[str, Any], ...] = (
        {"metric": "perturbation_auc", "measure": "probability"},
        "perturbation_auc",
    )
    shown = Metric("Removal", "", "faithfulness", "0", function=_shown, record=_shown, figures=lambda options: {})
    return *(metric_request(area) for area in areas), MetricRequest("shown", "shown", shown, ())


def _shown(case: Case) -> Columns:
    """The order of the pixels, and the curve of the explained class, from the same forwards as `perturbation_auc`."""
    limits = jnp.asarray(thresholds(case.heatmap.size))
    target = curve(case, [int(case.heatmap.size * level / 100) for level in LEVELS]).target
    return {
        "order": jnp.searchsorted(limits, ranks(case), side="right").astype(jnp.uint8),
        **nan_if_degenerate(case, {"target": 100 * jnp.exp(target)}),
    }


@deliberate_nans
def _columns(
    model: Model,
    chosen: Sequence[tuple[Explanation, int]],
    metrics: tuple[MetricRequest, ...],
    seed: int,
    size: int,
) -> dict[str, np.ndarray]:
    """Metric columns of these maps, computed in a batch of `size`."""
    of_maps = [explanation[index] for explanation, index in chosen]
    dtype = accumulation_dtype(model.dtype)
    stacked = {
        "x": np.concatenate([one.images.x for one in of_maps]),
        "heatmap": np.concatenate([one.pixels() for one in of_maps]).astype(dtype),
        "logits": np.concatenate([one.logits for one in of_maps]),
        "target": np.concatenate([one.target for one in of_maps]).astype(np.int32),
        "seeds": np.concatenate([one.images.seeds() for one in of_maps]),
    }
    batch = {name: take_padded(array, np.arange(len(chosen)), size) for name, array in stacked.items()}
    x, heatmap = jnp.asarray(batch["x"], model.dtype), batch["heatmap"]
    plan, preprocessing = active_plan(model.config), model.preprocessing
    names = wanted_ends([(metric.metric, dict(metric.options)) for metric in metrics])
    with model.settings():
        ends = curve_ends(model.config, preprocessing, names, plan)(model.params, x)
        program = metric_columns(model.config, preprocessing, metrics, None, plan)
        columns, *_ = program(
            model.params,
            x,
            heatmap,  # metrics of removal read the heatmap only, so that one program serves maps of every shape
            heatmap,
            np.full(heatmap.shape, IGNORE, np.uint8),
            batch["logits"],
            batch["target"],
            np.full(size, -1, np.int32),
            batch["seeds"],
            np.uint32(seed),
            ends,
        )
        return jax.device_get(columns)


def _removal(row: dict[str, Any], *, has_target: bool) -> Removal:
    by_measure = {"probability": "perturbation_auc(measure=probability)", "accuracy": "perturbation_auc"}
    curves: dict[str, dict[str, np.ndarray]] = {}
    areas: dict[str, dict[str, float]] = {measure: {} for measure in by_measure}
    for order in ("positive", "negative"):
        curves[order] = {
            "predicted": row[f"{by_measure['probability']}.{order}_curve"],
            "correct": row[f"{by_measure['accuracy']}.{order}_curve"],
        }
        for measure, label in by_measure.items():
            areas[measure][order] = float(row[f"{label}.{order}"])
    if has_target:
        curves["positive"]["target"] = row["shown.target"]
    return Removal(row["shown.order"], curves, areas)
