"""The commands evaluate, status, report and metrics, with the bundled model on procedural scenes."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from vitjax.cli.main import main

COMMAND = [
    *("evaluate", "--data", "scenes:6", "--methods", "rollout", "gmar:norm=l2", "random", "--chunk-size", "4"),
    *("--metrics", "energy_pointing_game", "mean_iou:threshold=0.5", "deletion:step=1024"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "scenes"
    main([*COMMAND, "-o", str(out)])
    return out


def test_evaluate_ends_with_a_report(finished):
    written = {path.name for path in (finished / "report").iterdir()}
    assert written >= {"summary.csv", "table.md", "table.tex", "report.html", "curves.png"}
    page = (finished / "report" / "report.html").read_text()
    assert "gmar(norm=l2)" in page and "data:image/" in page and "http://" not in page.replace("http://www.w3.org", "")
    profile = json.loads((finished / "profile.json").read_text())
    assert set(profile["methods"]) == {"rollout", "gmar(norm=l2)", "random"}
    assert all(entry["images_per_second"] > 0 and entry["gflop"] > 0 for entry in profile["methods"].values())


def test_records_are_plain_parquet_files(finished):
    files = sorted((finished / "records").iterdir())
    records = [record for path in files for record in pq.read_table(path).to_pylist()]
    assert len(records) == 18 and {record["status"] for record in records} == {"ok"}
    assert all(np.isfinite(record["mean_iou(threshold=0.5).object_union"]) for record in records)


def test_status_and_report_commands(finished, tmp_path, capsys):
    main(["status", str(finished)])
    assert "2 of 2 chunks done, 0 left" in capsys.readouterr().out
    main(["report", str(finished), "-o", str(tmp_path / "again"), "--no-pictures", "--baseline", "rollout"])
    assert "difference to rollout" in (tmp_path / "again" / "table.md").read_text()
    assert "rollout" in capsys.readouterr().out


def test_unfinished_run_is_reported_only_with_partial(finished, tmp_path, capsys):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(finished, unfinished)
    sorted((unfinished / "records").iterdir())[-1].unlink()
    with pytest.raises(SystemExit):
        main(["report", str(unfinished), "--no-pictures"])
    assert "of 6" in capsys.readouterr().err
    main(["report", str(unfinished), "--no-pictures", "--partial"])
    assert "partial: 4 of 6 images" in capsys.readouterr().out


@pytest.mark.slow
def test_dry_run_prints_an_estimate_and_writes_nothing(tmp_path, capsys):
    main([*COMMAND, "-o", str(tmp_path / "never"), "--dry-run"])
    output = capsys.readouterr().out
    assert "6 images x 3 methods x 3 metrics" in output and "TFLOP" in output
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "scene:6"], "scene"),
        (["--data", "folder:/nowhere"], "/nowhere"),
        (["--data", "scenes:6", "--metrics", "iuo"], "did you mean 'iou'"),
        (["--data", "scenes:6", "--metrics", "iou:threshhold=0.5"], "threshold"),
        (["--data", "scenes:6", "--process", "2/2"], "the numbers of 2 processes are 0 to 1"),
    ],
)
def test_errors_are_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "-o", str(tmp_path / "run"), *arguments])
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("vitjax: error:") and message in lines[0]


def test_metrics_command_lists_every_metric(capsys):
    from vitjax.metrics import METRICS

    main(["metrics"])
    output = capsys.readouterr().out
    assert all(f"{name}\n" in output for name in METRICS) and "families" in output
