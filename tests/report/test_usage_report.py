"""`vitjax.report` in use: records become statistics, and statistics become tables."""

import csv
import io

import numpy as np
import pytest

from tests.report.synthetic import METRICS, one_metric, whole_run
from vitjax.report import csv_text, markdown, summarise, text, write_report

VALUES = [[0.30, 0.50], [0.20, 0.60], [0.40, np.nan], [0.10, 0.40]]


@pytest.fixture(scope="module")
def summary():
    config, records = one_metric(VALUES, methods=["random", "rollout"])
    return summarise(config, records, metrics=METRICS)


def test_records_become_means_with_intervals_and_paired_differences(summary):
    random, rollout = (summary.rows[method, "iou"] for method in ("random", "rollout"))
    assert random.estimate.value == pytest.approx(0.25) and random.estimate.n == 4
    assert rollout.estimate.value == pytest.approx(0.5) and rollout.excluded == {"undefined": 1}
    assert 0.4 <= rollout.estimate.low < 0.5 < rollout.estimate.high <= 0.6
    assert summary.baseline == "random" and random.difference is None
    assert rollout.difference.value == pytest.approx(0.3) and rollout.difference.n == 3  # images that both have


def test_a_summary_is_a_table_for_people_and_one_for_programs(summary):
    low, high = (f"{100 * bound:.1f}" for bound in summary.rows["rollout", "iou"].estimate[1:3])
    assert f"| Attention rollout | **50.0** [{low}, {high}] |" in markdown(summary)
    assert "rollout: excluded 1 undefined" in text(summary)
    rows = list(csv.DictReader(io.StringIO(csv_text(summary))))
    assert [(row["method"], float(row["value"]), int(row["n"])) for row in rows] == [
        ("random", pytest.approx(0.25), 4),
        ("rollout", pytest.approx(0.5), 3),
    ]
    assert rows[1]["excluded_by_reason"] == "undefined=1" and float(rows[1]["difference"]) == pytest.approx(0.3)


def test_a_report_is_written_from_records_alone(tmp_path):
    config, records = whole_run(["random", "a"], 20, metrics=["iou", "pointing", "entropy"])
    written = write_report(
        tmp_path, tmp_path / "out", config=config, records=records, profile={}, metrics=METRICS, resamples=100
    )
    assert [path.name for path in written] == ["summary.csv", "table.md", "table.tex", "table.txt", "report.html"]
    expected = summarise(config, records, metrics=METRICS, resamples=100)
    assert (tmp_path / "out" / "summary.csv").read_text() == csv_text(expected)
    page = written[-1].read_text()
    assert page.startswith("<!doctype html>") and f"{100 * expected.rows['a', 'iou'].estimate.value:.1f}" in page
