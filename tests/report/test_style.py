"""What tables show: chosen columns, decimals, intervals, equal statistics once; titles of methods and statistics."""

import re

import numpy as np
import pytest

from tests.report.synthetic import METRICS, one_metric, settings, whole_run
from vitjax.errors import ConfigError, UnknownNameError
from vitjax.metrics import METRICS as BUILT_IN
from vitjax.metrics.contract import Statistic
from vitjax.report import csv_text, latex, markdown, summarise, text
from vitjax.report.layout import blocks
from vitjax.report.shown import method_titles, shown_figures
from vitjax.report.style import TableStyle, check_style, selection

METHODS = ["random", "transformer_mm", "rollout(head_fusion=max)"]
SPREAD = np.linspace(0.1, 0.9, 12).reshape(6, 2)


def whole():
    return summarise(*whole_run(METHODS, 30), metrics=METRICS, resamples=50)


def names(summary, *columns):
    return [shown.name for shown in selection(summary, columns).figures]


def two_columns(first, second):
    """A run of two metrics that differ in nothing but their numbers [images, methods]."""
    _, table = one_metric(first, methods=["a", "b"])
    table = table.append_column("jaccard.value", [np.asarray(second, float).ravel()])
    metrics = {"iou": METRICS["iou"], "jaccard": METRICS["iou"]._replace(title="Jaccard")}
    return summarise(settings(["a", "b"], ["iou", "jaccard"], len(first)), table, metrics=metrics, resamples=50)


class TestColumns:
    def test_names_labels_and_families_in_the_given_order(self):
        summary = whole()
        assert names(summary, "entropy", "removal negative", "iou") == ["entropy", "removal negative", "iou"]
        assert names(summary, "removal", "removal positive") == ["removal positive", "removal negative"]
        assert names(summary, "faithfulness") == ["removal positive", "removal negative"]

    def test_options_of_a_metric_may_be_omitted(self):
        label = "removal(steps=3)"
        _, table = whole_run(METHODS, 12)
        for name in ("positive", "negative"):
            table = table.append_column(f"{label}.{name}", table[f"removal.{name}"])
        metrics = {"iou": METRICS["iou"], "removal": METRICS["removal"]._replace(curves=lambda options: {})}
        summary = summarise(settings(METHODS, ["iou", label], 12), table, metrics=metrics, resamples=5)
        assert names(summary, "removal") == [f"{label} positive", f"{label} negative"]
        assert names(summary, "removal negative", "iou") == [f"{label} negative", "iou"]

    @pytest.mark.parametrize("make", [markdown, latex, text])
    def test_other_columns_are_not_in_the_tables(self, make):
        made = make(whole(), TableStyle(("pointing",)))
        assert "ointing" in made and not re.search("removal|iou|entropy", made, re.IGNORECASE)

    def test_an_unknown_column_is_an_error_that_suggests(self):
        with pytest.raises(UnknownNameError, match=r"column of this run 'pointin'.*pointing"):
            selection(whole(), ["pointin"])


class TestEqualStatistics:
    def test_are_shown_once_and_named(self):
        summary = two_columns(SPREAD, SPREAD + 1e-8)
        assert names(summary) == ["iou"] and names(summary, "jaccard") == ["jaccard"]
        for made in (markdown(summary), latex(summary), text(summary)):
            assert "Equal in this run and shown once: IoU = Jaccard." in made
        assert csv_text(summary).count("jaccard") == 4  # metric and figure of two methods

    def test_numbers_that_differ_for_one_method_are_both_shown(self):
        assert names(two_columns(SPREAD, SPREAD + np.array([0, 1e-3]))) == ["iou", "jaccard"]

    def test_zeros_and_ones_prove_nothing(self):
        assert names(two_columns(np.ones((3, 2)), np.ones((3, 2)))) == ["iou", "jaccard"]


def test_statistics_without_a_value_are_left_out_and_named():
    summary = two_columns(SPREAD, np.full((6, 2), np.nan))
    assert names(summary) == ["iou"] and names(summary, "jaccard") == ["jaccard"]
    assert "Without a value in this run: Jaccard." in markdown(summary)
    nothing = two_columns(np.full((6, 2), np.nan), np.full((6, 2), np.nan))
    assert names(nothing) == ["iou", "jaccard"]


def test_digits_and_no_intervals():
    summary = two_columns(SPREAD, SPREAD**2)
    for make in (markdown, latex, text):
        made = make(summary, TableStyle(digits=3, intervals=False))
        assert "46.364" in made and "[" not in re.sub(r"\[[tb]", "", made) and "ntervals" not in made
    assert "46 [" in text(summary, TableStyle(digits=0))
    with pytest.raises(ConfigError, match="digits=10"):
        check_style(TableStyle(digits=10))


def test_tables_show_titles_and_text_shows_names():
    summary = whole()
    for made in (markdown(summary), latex(summary)):
        assert "Transformer-MM" in made and "Attention rollout" in made and "transformer" not in made
    assert "transformer_mm " in text(summary) and "rollout(head_fusion=max) " in text(summary)
    (rows,) = {tuple(row.title for row in block.rows) for block in blocks(summary) if block.kind == "scores"}
    assert rows == ("Random", "Transformer-MM", "Attention rollout (head_fusion=max)")


def test_titles_are_distinct():
    config = settings(["a"], ["iou", "iou(threshold=0.2)", "other"], 1)
    titled = Statistic(("value",), title="IoU")
    other = METRICS["iou"]._replace(figures=lambda options: {"": titled, "own_name": Statistic(("value",))})
    figures = shown_figures(config, {**METRICS, "other": other})
    assert {name: shown.title for name, shown in figures.items()} == {
        "iou": "iou",
        "iou(threshold=0.2)": "IoU (threshold=0.2)",
        "other": "other",
        "other own_name": "IoU, own name",
    }
    assert method_titles(["rollout", "<b>"]) == {"rollout": "Attention rollout", "<b>": "<b>"}


def test_every_metric_of_the_library_has_short_titles_and_axes():
    figures = shown_figures({"metrics": [{"label": name} for name in BUILT_IN]})
    titles = [shown.title for shown in figures.values()]
    assert len(set(titles)) == len(titles) == len(figures) and max(map(len, titles)) <= 30
    for metric in BUILT_IN.values():
        for column in metric.curves(metric.options):
            assert "level" not in metric.axes(column, metric.options)
