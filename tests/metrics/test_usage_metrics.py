"""`vitjax.metrics` in use: a metric as a function of arrays, and a metric of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.metrics.helpers import case, compiled, mask_of, tie_free
from tests.report.synthetic import one_metric
from vitjax import metrics
from vitjax.metrics import METRICS, Metric, Statistic, register
from vitjax.metrics.masks import is_undefined, split_mask
from vitjax.report import summarise

HEATMAP = np.asarray([[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]], np.float32)
MASK = np.asarray([[0, 0, 255], [128, 255, 255]], np.uint8)  # one pixel is ignored


def test_a_metric_is_a_function_of_a_map_and_a_mask():
    @compiled
    def measure(heatmap, mask):
        return {
            "iou": metrics.iou(heatmap, mask, threshold=0.5),
            "pixel_accuracy": metrics.pixel_accuracy(heatmap, mask, threshold=0.3),
            "energy": metrics.energy_pointing_game(heatmap, mask),
            "peaks": jax.vmap(metrics.pointing_game, (0, None))(jnp.stack([heatmap, 1 - heatmap]), mask),
        }

    found = jax.device_get(measure(HEATMAP, MASK))
    assert found["iou"] == pytest.approx(2 / 3) and found["pixel_accuracy"] == 1
    assert found["energy"] == pytest.approx(2.2 / 2.4) and found["peaks"].tolist() == [1, 0]
    without_object = jax.device_get(measure(HEATMAP, np.zeros_like(MASK)))
    assert all(np.isnan(values).all() for values in without_object.values())


def object_rank(heatmap, mask):
    """Share of the background that the best pixel of the object outranks."""
    regions = split_mask(mask)
    best = jnp.where(regions.object, heatmap, -jnp.inf).max()
    share = jnp.sum(regions.background & (heatmap < best)) / regions.background.sum()
    return jnp.where(is_undefined(heatmap, mask), jnp.nan, share)


def record_object_rank(case, *, invert: bool = False):
    return {"value": object_rank(1 - case.heatmap if invert else case.heatmap, case.mask)}


OBJECT_RANK = Metric(
    title="Object rank",
    cite="nobody",
    family="localisation",
    cost="0",
    function=object_rank,
    record=record_object_rank,
    figures=lambda options: {
        "": Statistic(("value",)),
        "worst": Statistic(("value",), lambda values: values.min(axis=-1)),
    },
    needs=frozenset({"mask"}),
)


def test_own_metric_records_columns_and_says_how_a_data_set_aggregates_them():
    record = compiled(lambda heatmap, mask: OBJECT_RANK.record(case(heatmap, mask=mask))["value"])
    heatmaps, masks = zip(*((tie_free(seed), mask_of(seed, ignore=True)) for seed in range(3)), strict=True)
    values = [float(record(heatmap, mask)) for heatmap, mask in zip(heatmaps, masks, strict=True)]
    for value, heatmap, mask in zip(values, heatmaps, masks, strict=True):
        assert value == pytest.approx((heatmap[mask == 0] < heatmap[mask == 255].max()).mean())

    register("object_rank", OBJECT_RANK)
    try:
        config, records = one_metric([[0.5], [0.9], [0.7]], label="object_rank")
        rows = summarise(config, records).rows
    finally:
        del METRICS["object_rank"]
    assert rows["m0", "object_rank"].estimate.value == pytest.approx(0.7)
    assert rows["m0", "object_rank worst"].estimate.value == 0.5
