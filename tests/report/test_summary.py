"""Statistics, exclusions by reason, and differences to a baseline."""

import numpy as np
import pyarrow as pa
import pytest

from tests.report.synthetic import METRICS, base, one_metric, profile_of, settings, whole_run
from vitjax.errors import UnknownNameError
from vitjax.report import summarise

nan = np.nan


def test_mean_over_usable_images():
    config, table = one_metric([[0.2, 0.4], [0.6, nan], [nan, 0.8]])
    rows = summarise(config, table, metrics=METRICS).rows
    assert rows["m0", "iou"].estimate.value == pytest.approx(0.4) and rows["m0", "iou"].estimate.n == 2
    assert rows["m1", "iou"].estimate.value == pytest.approx(0.6)
    assert rows["m0", "iou"].excluded == {"undefined": 1}


def test_each_image_has_one_reason():
    """Status comes before mask state, mask state before NaN; infinity is a reason of its own, zero is none."""
    config, table = one_metric(
        [[nan], [nan], [nan], [nan], [np.inf], [0.0], [0.7]],
        status=["degenerate", "ok", "ok", "ok", "ok", "ok", "missing"],
        mask_state=["all_background", "all_foreground", "none", "object", "object", "object", "object"],
    )
    row = summarise(config, table, metrics=METRICS).rows["m0", "iou"]
    assert row.estimate.n == 1 and row.estimate.value == 0
    assert row.excluded == {
        "all_foreground": 1,
        "degenerate": 1,
        "infinite": 1,
        "missing": 1,
        "no mask": 1,
        "undefined": 1,
    }


def test_mask_state_does_not_matter_to_a_metric_without_mask():
    config, table = one_metric([[nan], [1.0]], label="entropy", mask_state=["none", "none"])
    row = summarise(config, table, metrics=METRICS).rows["m0", "entropy"]
    assert row.excluded == {"undefined": 1} and row.estimate.n == 1


def test_used_and_excluded_add_up_to_listed():
    config, table = whole_run(["random", "a", "b"], 80)
    for row in summarise(config, table, metrics=METRICS, resamples=50).rows.values():
        assert row.estimate.n + sum(row.excluded.values()) == 80


def test_null_is_undefined():
    config = settings(["m0"], ["iou"], 2)
    table = base(["m0"], 2).append_column("iou.value", pa.array([None, 0.5], pa.float64()))
    assert summarise(config, table, metrics=METRICS).rows["m0", "iou"].excluded == {"undefined": 1}


def test_column_that_is_undefined_everywhere():
    config, table = one_metric([[nan, 0.1], [nan, 0.2]], methods=["random", "a"])
    rows = summarise(config, table, metrics=METRICS).rows
    assert np.isnan(rows["random", "iou"].estimate.value) and rows["random", "iou"].estimate.n == 0
    assert rows["a", "iou"].difference.n == 0 and np.isnan(rows["a", "iou"].difference.value)


def test_single_image():
    config, table = one_metric([[0.2, 0.5]], methods=["random", "a"])
    row = summarise(config, table, metrics=METRICS).rows["a", "iou"]
    assert row.estimate.value == 0.5 and np.isnan(row.estimate.low)
    assert row.difference.value == pytest.approx(0.3) and np.isnan(row.difference.low)


def test_ratio_of_sums_is_not_the_mean_of_ratios():
    table = base(["m0"], 2)
    table = table.append_column("mean_iou.hit", pa.array([1.0, 9.0])).append_column(
        "mean_iou.union", pa.array([10.0, 10.0])
    )
    config = settings(["m0"], ["mean_iou"], 2)
    assert summarise(config, table, metrics=METRICS).rows["m0", "mean_iou"].estimate.value == 0.5


def test_options_come_from_the_run_and_labels_distinguish_metrics():
    config = settings(["m0"], ["iou", "iou(threshold=0.7)"], 1)
    config["metrics"][1]["options"] = {"threshold": 0.7}
    table = base(["m0"], 1)
    for label, value in (("iou", 0.1), ("iou(threshold=0.7)", 0.2)):
        table = table.append_column(f"{label}.value", pa.array([value]))
    rows = summarise(config, table, metrics=METRICS).rows
    assert [row.estimate.value for row in rows.values()] == [0.1, 0.2]
    with pytest.raises(UnknownNameError, match="treshold"):
        config["metrics"][1]["options"] = {"treshold": 0.7}
        summarise(config, table, metrics=METRICS)


def test_names_of_statistics():
    config, table = whole_run(["m0"], 5)
    names = list(summarise(config, table, metrics=METRICS, resamples=20).figures)
    assert names == ["iou", "mean_iou", "pointing", "removal positive", "removal negative", "entropy"]


class TestBaseline:
    @pytest.mark.parametrize(
        "methods, expected",
        [(["a", "centre", "random"], "random"), (["centre", "a"], "centre"), (["a", "b"], None)],
    )
    def test_default(self, methods, expected):
        config, table = one_metric(np.ones((3, len(methods))), methods=methods)
        summary = summarise(config, table, metrics=METRICS)
        assert summary.baseline == expected
        differences = {method: summary.rows[method, "iou"].difference for method in methods}
        assert [method for method, difference in differences.items() if difference is None] == (
            [expected] if expected else methods
        )

    def test_default_is_found_by_method_name(self):
        config, table = one_metric(np.ones((3, 2)), methods=["a", "random(kind=normal)"])
        config["methods"][1]["method"] = "random"
        assert summarise(config, table, metrics=METRICS).baseline == "random(kind=normal)"

    def test_chosen(self):
        config, table = one_metric([[0.1, 0.2], [0.1, 0.4]], methods=["random", "a"])
        summary = summarise(config, table, metrics=METRICS, baseline="a")
        assert summary.rows["random", "iou"].difference.value == pytest.approx(-0.2)

    def test_unknown(self):
        config, table = one_metric(np.ones((3, 2)), methods=["random", "rollout"])
        with pytest.raises(UnknownNameError, match="did you mean 'rollout'"):
            summarise(config, table, metrics=METRICS, baseline="rolout")

    def test_only_images_that_both_have(self):
        config, table = one_metric([[0.0, 1.0], [nan, 1.0], [0.5, nan], [0.5, 0.7]], methods=["random", "a"])
        difference = summarise(config, table, metrics=METRICS).rows["a", "iou"].difference
        assert difference.n == 2 and difference.value == pytest.approx(0.6)


def test_profile_of_methods_outside_the_run_is_omitted():
    config, table = one_metric(np.ones((2, 1)))
    summary = summarise(config, table, profile_of(["m0", "old"]), metrics=METRICS)
    assert list(summary.profile) == ["m0"] and summary.device == "cpu"


def test_registered_metrics_are_the_default():
    config, table = one_metric([[0.5], [0.7]])
    assert summarise(config, table).rows["m0", "iou"].estimate.value == pytest.approx(0.6)
    config["metrics"][0]["metric"] = "iuo"
    with pytest.raises(UnknownNameError, match="did you mean 'iou'"):
        summarise(config, table)
