"""Does the map point at the object? Its peak, and its mass."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from vitjax.metrics.contract import Case, Columns, Metric, Statistic
from vitjax.metrics.masks import marked, undefined
from vitjax.shapes import Array, Float, Scalar


def pointing_game(heatmap: Float[Array, "height width"], mask: Array, *, tolerance: int = 0) -> Scalar:
    """1 if the peak of the map lies on the object, else 0.

    Args:
        heat: map at pixel size, [0, 1]. The peak is taken over the pixels that count; ties go to the first in row
            order.
        mask: [H, W] bool, or 0 / 128 (counts nowhere) / 255.
        tolerance: pixels by which the peak may miss (Euclidean); 15 is the classic protocol.

    Returns a float; NaN where the map is constant or not finite, or the mask all object or all background.

    Source: Zhang et al. 2016. Differs from reference: there one peak a class of an image is scored over the data set
    and accuracies are averaged over classes; here every image counts once.

    Example: `pointing_game(explanation.pixels()[0], mask)`
    """
    each = marked(mask)
    height, width = heatmap.shape
    peak = jnp.argmax(jnp.where(each.counts, heatmap, -jnp.inf))
    row, column = peak // width, peak % width
    away = jnp.square(jnp.arange(height) - row)[:, None] + jnp.square(jnp.arange(width) - column)[None]
    hit = (each.object & (away <= tolerance**2)).any()
    return jnp.where(undefined(heatmap, mask), jnp.nan, hit.astype(heatmap.dtype))


class Energy(NamedTuple):
    """The map's mass and the object: see `energy_scores`."""

    precision: Array
    recall: Array
    f1: Array


def energy_pointing_game(
    heatmap: Float[Array, "height width"], mask: Array, *, binarise: float | None = None
) -> Float[Array, ""]:
    """Share of the map's mass that lies on the object: Σ H·M / Σ H.

    Args:
        heat: map H at pixel size, [0, 1].
        mask: [H, W] bool, or 0 / 128 (counts nowhere) / 255.
        binarise: take [H > binarise · max H] for H, as the code of Transition Attention Maps does with 0.3.

    Returns a float in [0, 1]; a map without information scores the object's share of the area on average. NaN
    where the map is constant or not finite, or the mask all object or all background.

    Source: Wang et al. 2020, Score-CAM. Differs from reference: masks, not only boxes.

    Example: `energy_pointing_game(explanation.pixels()[0], mask)`
    """
    return energy_scores(heatmap, mask, binarise=binarise).precision


def energy_scores(heatmap: Float[Array, "height width"], mask: Array, *, binarise: float | None = None) -> Energy:
    """Precision P = Σ H·M / Σ H, recall R = Σ H·M / Σ M and F1 = 2PR / (P + R + 1e-6).

    Args, NaN: as `energy_pointing_game`.

    Source: the evaluation code of Transition Attention Maps (Yuan et al. 2021).

    Example: `energy_scores(explanation.pixels()[0], mask, binarise=0.3).f1`
    """
    each = marked(mask)
    bad = undefined(heatmap, mask)
    if binarise is not None:
        heatmap = (heatmap > binarise * jnp.where(each.counts, heatmap, -jnp.inf).max()).astype(heatmap.dtype)
    inside, mass = jnp.sum(heatmap * each.object), jnp.sum(heatmap * each.counts)
    precision, recall = inside / mass, inside / each.object.sum()
    f1 = 2 * precision * recall / (precision + recall + 1e-6)
    return Energy(*(jnp.where(bad, jnp.nan, value) for value in (precision, recall, f1)))


def _record_peak(case: Case, *, tolerance: int = 0) -> Columns:
    return {"value": pointing_game(case.heatmap, case.mask, tolerance=tolerance)}


def _record_energy(case: Case, *, binarise: float | None = None) -> Columns:
    found = energy_scores(case.heatmap, case.mask, binarise=binarise)
    return {"value": found.precision, "recall": found.recall, "f1": found.f1}


POINTING_GAME = Metric(
    title="Pointing game",
    cite="Zhang et al. 2016, Top-down Neural Attention by Excitation Backprop",
    family="localisation",
    cost="0",
    function=pointing_game,
    record=_record_peak,
    figures=lambda options: {"": Statistic(("value",))},
    needs=frozenset({"mask"}),
)
ENERGY_POINTING_GAME = Metric(
    title="Energy-based pointing game",
    cite="Wang et al. 2020, Score-CAM",
    family="localisation",
    cost="0",
    function=energy_pointing_game,
    record=_record_energy,
    figures=lambda options: {"": Statistic(("value",)), "recall": Statistic(("recall",)), "f1": Statistic(("f1",))},
    needs=frozenset({"mask"}),
)
