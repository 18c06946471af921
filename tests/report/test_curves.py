"""Curves: which records are averaged, which methods are named, and that the figure is readable and reproducible."""

import numpy as np
import pyarrow as pa
import pytest

from tests.report.synthetic import LEVELS, METRICS, base, metric, settings, whole_run
from vitjax.metrics.contract import Statistic
from vitjax.plots import save
from vitjax.plots.curves import MOST, Line, Panel, curves
from vitjax.report import summarise
from vitjax.report.curves import Means, named, panels
from vitjax.report.records import Records


def panels_of(config, table, metrics=METRICS, **options):
    records = Records(table, [method["label"] for method in config["methods"]])
    summary = summarise(config, records, metrics=metrics, resamples=100, **options)
    return panels(config, records, summary, metrics)


def one_curve(lists, x, axes=None, **columns):
    metrics = {"c": metric({"": Statistic(("value",))}, curves={"curve": x}, axes=axes)}
    count = len(lists)
    table = base(["random"], count, **columns).append_column("c.value", pa.array([0.5] * count))
    table = table.append_column("c.curve", pa.array(lists, pa.list_(pa.float64())))
    return panels_of(settings(["random"], ["c"], count), table, metrics)


def test_one_panel_for_each_curve_column():
    drawn = panels_of(*whole_run(["random", "a", "b"], 40))
    assert [panel.title for panel in drawn] == ["Removal, positive", "Removal, negative"]
    assert list(drawn[0].lines) == ["Random", "a", "b"] and not drawn[0].others
    for panel in drawn:
        np.testing.assert_array_equal(panel.x, LEVELS)  # given for "positive", derived from the length for "negative"
        for line in panel.lines.values():
            assert (line.low <= line.mean + 1e-12).all() and (line.mean <= line.high + 1e-12).all()


def test_incomplete_curves_and_degenerate_maps_are_excluded():
    lists = [[1.0, 0.0], [np.nan, 1.0], None, [0.5], [0.0, 1.0], [1.0, 1.0]]
    (panel,) = one_curve(lists, np.array([0.0, 1.0]), status=["ok"] * 4 + ["degenerate", "ok"])
    np.testing.assert_allclose(panel.lines["Random"].mean, [1.0, 0.5])
    np.testing.assert_array_equal(panel.x, [0, 1])


def test_a_column_without_curves_has_no_panel():
    assert one_curve([None, [np.nan, 1.0]], np.array([0.0, 100.0])) == []
    assert one_curve([None, None], None) == []


def test_single_image_has_no_band():
    (panel,) = one_curve([[1.0, 0.0]], None)
    assert np.isnan(panel.lines["Random"].low).all()
    curves([panel])


def test_axes_are_those_of_the_metric_and_x_is_sorted():
    def axes(column, options):
        return "blocks", f"height of {column}"

    (panel,) = one_curve([[0.1, 0.9]], np.array([12.0, 0.0]), axes=axes)
    assert panel.axes == ("blocks", "height of curve")
    np.testing.assert_array_equal(panel.x, [0, 12])
    np.testing.assert_array_equal(panel.lines["Random"].mean, [0.9, 0.1])


def test_equal_steps_of_a_title_in_percent_end_at_100():
    (panel,) = one_curve([[1.0, 0.5, 0.0]], None, axes=lambda column, options: ("pixels removed (%)", "p"))
    np.testing.assert_array_equal(panel.x, [0, 50, 100])


def test_only_curves_of_the_chosen_statistics_are_drawn():
    config, table = whole_run(["random", "a"], 20)
    records = Records(table, ["random", "a"])
    summary = summarise(config, records, metrics=METRICS, resamples=10)
    (panel,) = panels(config, records, summary, METRICS, ["iou", "removal negative"])
    assert panel.title == "Removal, negative"


def means(sign, **heights):
    curves = {method: np.full(3, float(height)) for method, height in heights.items()}
    return Means("c", "C", np.arange(3.0), ("x", "y"), sign, curves)


class TestNamed:
    def summary(self, methods):
        return summarise(*whole_run(methods, 12), metrics=METRICS, resamples=5)

    def test_few_methods_are_all_named_in_the_order_of_the_run(self):
        assert named(self.summary(["b", "random", "a"]), [means(1, a=1, b=2, random=3)]) == ["b", "random", "a"]

    def test_of_many_the_baselines_and_the_best_by_mean_rank(self):
        methods = ["a", "random", "b", "c", "centre"]
        higher = means(1, a=5, b=4, c=1, random=9, centre=9)
        lower = means(-1, a=3, b=1, c=2, random=0, centre=0)
        unknown = means(0, a=0, b=0, c=9, random=0, centre=0)
        assert named(self.summary(methods), [higher, lower, unknown], most=3) == ["random", "b", "centre"]


def lines(labels, shift=0.0):
    x = np.linspace(0, 1, 5)
    return {label: Line(x + i + shift, x + i - 0.1, x + i + 0.1) for i, label in enumerate(labels)}


def panel(labels, y="y", shift=0.0, others=()):
    return Panel("t", np.arange(5.0), ("x", y), lines(labels, shift), others)


def test_one_legend_in_the_order_of_the_lines_and_equal_styles_in_all_panels():
    figure = curves([panel(["high", "low"], others=[np.zeros(5)]), panel(["low"])])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["high", "low", "1 other method"]
    assert not any(axes.get_legend() for axes in figure.axes)
    colours = [{line.get_color() for line in axes.lines} for axes in figure.axes]
    assert colours[1] < colours[0] and len(colours[0]) == 3


def test_panels_of_one_quantity_share_a_scale_and_all_axes_have_titles():
    figure = curves([panel(["a"]), panel(["a"], shift=5.0), panel(["a"], y="other")])
    one, two, other = figure.axes
    assert one.get_ylim() == two.get_ylim() != other.get_ylim()
    assert [axes.get_ylabel() for axes in figure.axes] == ["y", "y", "other"] and one.get_xlabel() == "x"


@pytest.mark.parametrize("count", [1, 7])
def test_nothing_is_cut_or_overlaps(count):
    """Long titles, eight long names: everything lies inside the figure, and the legend below the panels."""
    names = [f"Integrated gradients number {i} (quadrature=riemann_trapezoid, steps=64)" for i in range(MOST)]
    figure = curves([panel(names)._replace(title="A title that is long " * 4)] * count, note="note " * 60)
    figure.draw_without_rendering()
    renderer, (width, height) = figure.canvas.get_renderer(), figure.canvas.get_width_height()
    legend = figure.legends[0].get_window_extent(renderer)
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert box.x0 >= 0 and box.x1 <= width and box.y1 <= height and box.y0 >= legend.y1
    assert legend.x0 >= 0 and legend.x1 <= width and legend.y0 >= 0
    assert figure.texts[0].get_window_extent(renderer).x1 <= width


def test_equal_curves_give_equal_bytes(tmp_path):
    drawn = panel(["<script>", "50% & $a_b <x>$"])._replace(title="$a_b <x>$")
    written = [save(curves([drawn], note="partial"), tmp_path / name, pdf=True) for name in ("one", "two")]
    assert [path.read_bytes() for path in written[0]] == [path.read_bytes() for path in written[1]]


def test_no_panels_and_too_many_names_are_errors():
    with pytest.raises(ValueError, match="at least one panel"):
        curves([])
    with pytest.raises(ValueError, match="at most 8 named"):
        curves([panel([str(i) for i in range(MOST + 1)])])
