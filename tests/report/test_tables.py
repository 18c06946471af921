"""CSV, Markdown, LaTeX and text tables: content, and escaping of names."""

import csv
import io
import re

import numpy as np
import pytest

from tests.report.synthetic import METRICS, one_metric, profile_of, whole_run
from vitjax.report import csv_text, latex, markdown, summarise, text
from vitjax.report.layout import blocks, decimals_of, minus, ranks, significant
from vitjax.report.statistics import Estimate
from vitjax.report.tables import Table

HOSTILE = ["<script>alert(1)</script>", "a_b & 50%", "c|d`e*f", "[x] \\end{table} $y$ ~^#{", "é\nüber"]


def summary_of(values, methods=None, **options):
    config, table = one_metric(values, methods=methods)
    return summarise(config, table, metrics=METRICS, **options)


def whole(methods=("random", "a", "b"), count=60, **options):
    config, table = whole_run(list(methods), count)
    return summarise(config, table, profile_of(methods), metrics=METRICS, resamples=100, **options)


class TestCsv:
    def rows(self, summary):
        return list(csv.DictReader(io.StringIO(csv_text(summary))))

    def test_long_form_at_full_precision(self):
        summary = whole()
        rows = self.rows(summary)
        assert len(rows) == 3 * 6
        for row in rows:
            estimate = summary.rows[row["method"], row["figure"]].estimate
            assert float(row["value"]) == estimate.value and float(row["high"]) == estimate.high
            assert int(row["n"]) + int(row["excluded"]) == int(row["listed"]) == 60
            assert (row["difference"] == "") == (row["method"] == "random")
        assert rows[0]["images_per_second"] == "1234.5" and rows[0]["display_factor"] == "100"

    def test_reasons_add_up(self):
        for row in self.rows(whole()):
            counts = re.findall(r"=(\d+)", row["excluded_by_reason"])
            assert sum(map(int, counts)) == int(row["excluded"])

    def test_undefined_is_empty(self):
        (row,) = self.rows(summary_of([[np.nan]]))
        assert row["value"] == row["low"] == row["difference"] == "" and row["n"] == "0"


class TestRanks:
    def test_ties_share_a_rank(self):
        assert ranks(["1.0", "1.0", "0.9", "0.8"], [1.01, 1.0, 0.9, 0.8], "higher") == [1, 1, 2, 0]
        assert ranks(["1.0", "1.0", "0.9", "0.9"], [1.01, 1.0, 0.9, 0.91], "lower") == [2, 2, 1, 1]

    def test_no_rank_if_all_are_equal_or_no_direction_is_better(self):
        assert ranks(["1.0", "1.0"], [1, 1], "higher") == [0, 0]
        assert ranks(["1.0", "2.0"], [1, 2], None) == [0, 0]
        assert ranks(["1.0"], [1], "lower") == [0]

    def test_undefined_has_no_rank(self):
        assert ranks(["–", "2.0", "1.0"], [np.nan, 2, 1], "higher") == [0, 1, 2]

    def test_in_every_format(self):
        summary = summary_of([[0.1, 0.5, 0.9, 0.9]] * 2)
        assert "| m2 | **90.0** [90.0, 90.0] |" in markdown(summary)
        assert "| m3 | **90.0** [90.0, 90.0] |" in markdown(summary)
        assert "| m1 | <u>50.0</u>" in markdown(summary)
        assert r"m3 & \textbf{90.0} & {\fontsize{6}{7}\selectfont[90.0, 90.0]} \\" in latex(summary)
        assert r"m1 & \underline{50.0}" in latex(summary)
        assert re.search(r"m3 +90\.0 \[90\.0, 90\.0\]\*", text(summary))


class TestNumbers:
    def test_decimals_depend_on_the_interval(self):
        def of(width, factor=100):
            return decimals_of([Estimate(0.5, 0.5 - width / 2, 0.5 + width / 2, 9)], factor)

        assert [of(0.2), of(0.02), of(0.004), of(1e-9)] == [1, 1, 2, 4]
        assert decimals_of([Estimate(0.5, np.nan, np.nan, 1)], 100) == 1

    def test_no_negative_zero(self):
        assert minus("-0.00") == "0.00" and minus("-0.01") == "−0.01"

    def test_three_significant_digits(self):
        assert [significant(v) for v in (12345.6, 12.345, 0.012345, 0, np.nan)] == ["12346", "12.3", "0.0123", "0", "–"]

    def test_differences_have_a_sign(self):
        summary = summary_of([[0.5, 0.25], [0.5, 0.5]], methods=["random", "a"])
        assert "| a | −12.5 [−25.0, 0.0] |" in markdown(summary)


class TestMarkdown:
    def test_tables_are_rectangular(self):
        for methods in (["random", "a"], HOSTILE):
            for table in re.split(r"\n\n", markdown(whole(methods))):
                if table.startswith("|"):
                    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
                    assert len(bars) == 1, table

    def test_names_are_escaped(self):
        made = markdown(whole(HOSTILE))
        assert "<script" not in made and r"c\|d\`e\*f" in made and r"a\_b &amp; 50%" in made

    def test_excluded_images_are_listed(self):
        summary = summary_of([[np.nan], [0.5]])
        assert "- m0: excluded 1 undefined (all statistics)" in markdown(summary)
        assert "Excluded" not in markdown(summary_of([[0.5], [0.5]]))


class TestText:
    def test_prints_as_a_table(self):
        summary = summary_of([[0.25, 0.75]] * 3, methods=["random", "rollout"])
        assert str(Table(**vars(summary))) == text(summary)
        assert "random   25.0 [25.0, 25.0]'" in text(summary)

    def test_fits_the_width(self):
        lines = text(whole(["random", *(f"m{i}" for i in range(3))]), width=60).splitlines()
        tables = [line for line in lines if line.startswith(("random ", "m0 ")) or line.startswith("method")]
        assert tables and max(map(len, tables)) <= 62


def test_costs_are_a_block_of_their_own_and_not_in_latex():
    summary = whole()
    made = blocks(summary)
    assert [block.title for block in made if block.kind == "scores"] == ["Localisation", "Faithfulness", "Complexity"]
    (costs,) = [block for block in made if block.kind == "costs"]
    assert [heading.title for heading in costs.headings] == ["images/s", "peak MiB"]
    assert "images/s" in markdown(summary) and "images/s" not in latex(summary)
    assert not [block for block in blocks(summary_of([[0.5]])) if block.kind == "costs"]


@pytest.mark.parametrize("make", [csv_text, markdown, latex, text])
def test_partial_run_is_marked_in_every_format(make):
    config, table = whole_run(["random", "a"], 30)
    summary = summarise(config, table.slice(0, 40), metrics=METRICS, resamples=50, partial=True)
    assert "artial: 20 of 30 images" in make(summary)


@pytest.mark.parametrize("make", [csv_text, markdown, latex, text])
def test_column_undefined_everywhere_and_a_single_image(make):
    assert make(summary_of([[np.nan, np.nan]] * 2, methods=["random", "a"]))
    assert make(summary_of([[0.5]]))
