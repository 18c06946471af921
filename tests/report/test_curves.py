"""Curves: which records are averaged, which methods are named, and that the figure is readable and reproducible."""

import numpy as np
import pyarrow as pa
import pytest

from tests.report.synthetic import LEVELS, METRICS, base, metric, settings, whole_run
from vitjax.metrics.contract import Statistic
from vitjax.plots import save
from vitjax.plots.curves import MOST, Line, Panel, _styles, curves, prominent
from vitjax.report import summarise
from vitjax.report.curves import panels
from vitjax.report.records import Records


def panels_of(config, table, metrics=METRICS, **options):
    records = Records(table, [method["label"] for method in config["methods"]])
    summary = summarise(config, records, metrics=metrics, resamples=100, **options)
    return panels(config, records, summary, metrics)


def one_curve(lists, x, family="faithfulness", **columns):
    metrics = {"c": metric({"": Statistic(("value",))}, family=family, curves={"curve": x})}
    count = len(lists)
    table = base(["random"], count, **columns).append_column("c.value", pa.array([0.5] * count))
    table = table.append_column("c.curve", pa.array(lists, pa.list_(pa.float64())))
    return panels_of(settings(["random"], ["c"], count), table, metrics)


def test_one_panel_for_each_curve_column():
    drawn = panels_of(*whole_run(["random", "a", "b"], 40))
    assert [panel.title for panel in drawn] == ["removal: positive", "removal: negative"]
    assert list(drawn[0].lines) == ["random", "a", "b"] and not drawn[0].others
    for panel in drawn:
        np.testing.assert_array_equal(panel.x, LEVELS)  # given for "positive", derived from the length for "negative"
        for line in panel.lines.values():
            assert (line.low <= line.mean + 1e-12).all() and (line.mean <= line.high + 1e-12).all()


def test_incomplete_curves_and_degenerate_maps_are_excluded():
    lists = [[1.0, 0.0], [np.nan, 1.0], None, [0.5], [0.0, 1.0], [1.0, 1.0]]
    (panel,) = one_curve(lists, np.array([0.0, 1.0]), status=["ok"] * 4 + ["degenerate", "ok"])
    np.testing.assert_allclose(panel.lines["random"].mean, [1.0, 0.5])
    np.testing.assert_array_equal(panel.x, [0, 100])  # shares become percent


def test_a_column_without_curves_has_no_panel():
    assert one_curve([None, [np.nan, 1.0]], np.array([0.0, 100.0])) == []
    assert one_curve([None, None], None) == []


def test_single_image_has_no_band():
    (panel,) = one_curve([[1.0, 0.0]], None)
    assert np.isnan(panel.lines["random"].low).all()
    curves([panel])


def test_cuts_are_not_percentages_and_are_sorted():
    (panel,) = one_curve([[0.1, 0.9]], np.array([12.0, 0.0]), family="randomisation")
    assert panel.x_label == "cut"
    np.testing.assert_array_equal(panel.x, [0, 12])
    np.testing.assert_array_equal(panel.lines["random"].mean, [0.9, 0.1])


MEANS = {f"m{i:02d}": np.full(3, float(i)) for i in range(20)}


class TestProminent:
    def test_all_of_few_curves_are_named(self):
        few = dict(list(MEANS.items())[:MOST])
        assert prominent(few) == list(few)

    def test_of_many_curves_the_highest_the_lowest_and_the_baseline_are_named(self):
        assert prominent(MEANS, ["m10"]) == ["m00", "m01", "m02", "m10", "m16", "m17", "m18", "m19"]

    def test_undefined_curves_are_not_chosen(self):
        assert "none" not in prominent({**MEANS, "none": np.full(3, np.nan)})


def lines(labels, shift=0.0):
    x = np.linspace(0, 1, 5)
    return {label: Line(x + i + shift, x + i - 0.1, x + i + 0.1) for i, label in enumerate(labels)}


def test_styles_differ_within_a_panel_and_agree_between_panels():
    x = np.arange(5.0)
    first = Panel("a", x, "x", lines([f"m{i}" for i in range(8)]))
    second = Panel("b", x, "x", lines([f"m{i}" for i in range(4, 12)]))
    one, two = _styles([first, second])
    assert len({style["color"] for style in one.values()}) == len({style["color"] for style in two.values()}) == 8
    assert all(one[label] == two[label] for label in ("m4", "m5", "m6", "m7"))


def test_legend_follows_the_height_of_the_lines():
    figure = curves([Panel("t", np.arange(5.0), "x", lines(["low", "mid", "high"]), {"other": np.zeros(5)})])
    sheet = figure.axes[0]
    shown = {text.get_text(): text.get_position()[1] for text in sheet.texts}
    assert shown["high"] < shown["mid"] < shown["low"] < shown["1 others"]  # y runs down the page


def test_equal_curves_give_equal_bytes(tmp_path):
    panel = Panel("$a_b <x>$", np.arange(5.0), "x", lines(["<script>", "50% & $"]))
    written = [save(curves([panel], note="partial"), tmp_path / name, pdf=True) for name in ("one", "two")]
    assert [path.read_bytes() for path in written[0]] == [path.read_bytes() for path in written[1]]


def test_no_panels_is_an_error():
    with pytest.raises(ValueError, match="at least one panel"):
        curves([])
