"""The commands evaluate, status, report and metrics, with the bundled model on procedural scenes."""

import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib.path import Path

from vitjax.cli.main import main
from vitjax.data.loader import load_chunks
from vitjax.evaluating.run import Run

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
    assert "difference to Attention rollout" in (tmp_path / "again" / "table.md").read_text()
    assert "rollout" in capsys.readouterr().out


def test_report_of_chosen_columns_prints_the_paths_it_wrote(finished, tmp_path, capsys):
    chosen = ["--columns", "mean_iou object", "deletion", "--digits", "2", "--no-ci"]
    main(["report", str(finished), "-o", str(tmp_path / "few"), "--no-pictures", *chosen])
    paths = [line for line in capsys.readouterr().out.splitlines() if line.startswith(str(tmp_path))]
    assert sorted(paths) == sorted(map(str, (tmp_path / "few").iterdir()))
    source = (tmp_path / "few" / "table.tex").read_text()
    assert re.findall(r"\\label{(.*)}", source) == ["tab:localisation", "tab:faithfulness"]
    assert "Object" in source and "Deletion" in source and "Energy" not in source and "images/s" not in source
    assert re.search(r"GMAR \(norm=l2\) & \S*?\d+\.\d\d\S* \\\\", source)
    with pytest.raises(SystemExit):
        main(["report", str(finished), "-o", str(tmp_path / "none"), "--columns", "deletoin"])
    assert "did you mean 'deletion'" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_pictures_of_a_report_have_the_contours_of_the_masks(finished):
    """The centres of exactly the pixels of the object lie inside of the contours."""
    run = Run(finished)
    model, source = run._model_and_source()
    pictures = run._overlays()(source.ids[:3], "random")
    samples = next(iter(load_chunks(source, model.preprocessing, [range(3)], workers=0)))
    height, width = samples.masks.shape[1:]
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1).reshape(-1, 2)
    for name, mask in zip(samples.ids, samples.masks, strict=True):
        inside = np.zeros(len(centres), bool)
        for line in pictures[name].contours:
            inside ^= Path(line).contains_points(centres)  # a hole lies inside of two lines
        np.testing.assert_array_equal(inside.reshape(mask.shape), mask == 255)
        assert pictures[name].image.size == (width, height) and "%" in pictures[name].caption


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
