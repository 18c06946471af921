"""The command line, run in this process: files written, text printed, errors."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SHARED, needs_shared
from vitjax.cli.arguments import parse_target, parse_targets
from vitjax.cli.main import main
from vitjax.data.scenes import scene
from vitjax.errors import ConfigError
from vitjax.explaining.requests import request
from vitjax.methods import METHODS
from vitjax.methods.options import parse
from vitjax.models import families
from vitjax.models.load import names as model_names

QUICK = [name for name, method in METHODS.items() if not method.slow]
"""The methods of `--methods all`."""


@pytest.fixture
def image_files(tmp_path):
    paths = []
    for index in range(3):
        path = tmp_path / "images" / f"scene{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(scene(index, seed=5).image).save(path)
        paths.append(str(path))
    return paths


def error_of(capsys, *arguments):
    """Standard error of a command that must fail."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    assert exit_.value.code not in (0, None)
    return capsys.readouterr().err


def test_explain_writes_strips_maps_predictions_and_manifest(image_files, tmp_path, capsys):
    out = tmp_path / "out"
    main(["explain", *image_files, "--methods", "rollout", "rollout:head_fusion=max", "-o", str(out), "--sheets"])
    names = {path.name for path in out.iterdir()}
    assert {"manifest.json", "predictions.csv", "rollout.npz", "scene0_rollout.png"} <= names
    assert {"scene2_rollout_head_fusion-max.png", "scene2_attention.png"} <= names
    printed = capsys.readouterr()
    assert str(out) in printed.out and "scene0: " in printed.out
    assert "3/3" in printed.err
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["model"]["weights"]["sha256"] and manifest["versions"]["jax"]
    assert manifest["methods"]["rollout(head_fusion=max)"]["head_fusion"] == "max"
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert [row["image"] for row in rows] == ["scene0", "scene1", "scene2"]
    assert rows[0]["predicted"] == rows[0]["target"]


def test_compare_writes_a_self_contained_page_and_a_grid(image_files, tmp_path):
    out = tmp_path / "out"
    main(["compare", *image_files[:1], "--methods", "all", "--target", "top2", "-o", str(out)])
    page = (out / "index.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    for name in QUICK:
        assert f">{name}<" in page
        assert (out / f"{name}.npz").exists()
    with Image.open(out / "grid.png") as grid:
        assert grid.width > 400
    row = next(csv.DictReader((out / "predictions.csv").open()))
    assert row["predicted"] != row["target"]


@pytest.mark.slow
def test_demo_scores_every_quick_method_against_the_true_masks(tmp_path, capsys):
    out = tmp_path / "out"
    main(["demo", "-o", str(out), "--scenes", "2", "--scored", "4"])
    printed = capsys.readouterr().out
    rows = json.loads((out / "manifest.json").read_text())["scores"]
    assert [row["method"] for row in rows[:-1]] == QUICK
    for name in QUICK:
        assert name in printed
    assert (out / "grid.png").exists() and (out / "index.html").exists()


def test_damaged_images_are_skipped_and_counted(image_files, tmp_path, capsys):
    truncated = tmp_path / "truncated.jpg"
    Image.fromarray(scene(0).image).save(truncated, quality=95)
    truncated.write_bytes(truncated.read_bytes()[: truncated.stat().st_size // 2])
    html = tmp_path / "html.jpg"
    html.write_text("<html><body>404</body></html>")
    out = tmp_path / "out"
    main(["explain", *image_files, str(truncated), str(html), "-o", str(out)])
    printed = capsys.readouterr()
    assert "3 images x 1 method, 2 images skipped" in printed.out
    assert "truncated.jpg" in printed.err and "html.jpg" in printed.err
    skipped = json.loads((out / "manifest.json").read_text())["skipped"]
    assert [Path(record["file"]).name for record in skipped] == ["truncated.jpg", "html.jpg"]


def test_errors_are_one_line_and_precede_any_output(image_files, tmp_path, capsys):
    out = tmp_path / "out"
    cases = [
        (["explain", *image_files, "--methods", "rolout", "-o", out], "did you mean 'rollout'"),
        (["explain", *image_files, "--model", "deit_tinny_patch16_224", "-o", out], "deit_tiny_patch16_224"),
        (["explain", *image_files, "--target", "999", "-o", out], "out of range"),
        (["explain", *image_files, "--target", "a disc with stripes", "-o", out], "a disc with stripes"),
        (["explain", "nowhere.png", "-o", out], "1 of 1 images missing: nowhere.png"),
        (["explain", *image_files, "--weights", tmp_path / "none.safetensors", "-o", out], "none.safetensors"),
        (["explain", __file__, "-o", out], "none of 1 images can be read"),
        (["explain", *image_files, "--methods", "rollout:start_layer=99", "-o", out], "start_layer=99"),
    ]
    for arguments, message in cases:
        error = error_of(capsys, *arguments)
        assert error.startswith("vitjax: error: ") and error.count("\n") == 1, error
        assert message in error
        assert not out.exists()


def test_output_directory_is_checked_before_computation(image_files, tmp_path, capsys):
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    assert "exists and is not empty" in error_of(capsys, "explain", *image_files, "-o", full)
    assert "is a file" in error_of(capsys, "explain", *image_files, "-o", full / "thesis.txt")
    assert "cannot be written" in error_of(capsys, "explain", *image_files, "-o", "/proc/vitjax")
    main(["explain", *image_files, "-o", str(full), "--overwrite"])
    assert (full / "thesis.txt").read_text() == "mine" and (full / "manifest.json").exists()


def test_methods_and_models_list_every_entry(capsys):
    main(["methods"])
    printed = capsys.readouterr().out
    for name, method in METHODS.items():
        assert f"{name}\n" in printed and method.cite in printed
    main(["models"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(model_names())]] == model_names()
    line = next(line for line in lines if line.startswith("deit_tiny_patch16_224 "))
    assert line.split() == ["deit_tiny_patch16_224", "224x224", "5.72", "M", "197", "imagenet", "-", "fb_in1k"]


def test_models_are_filtered_and_refused_ones_say_why(capsys, monkeypatch):
    monkeypatch.setitem(families.table()["models"], "swim_dinov2", {"refused": "it swims", "tags": ["in1k"]})
    main(["models", "small_patch14_dinov2"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("vit_small_patch14_dinov2.lvd142m  518x518     22.06 M    1370")
    assert lines[1].endswith("384 features, crop 1 center bicubic")
    main(["models", "augreg2_in21k_ft_in1k"])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines[0].startswith("vit_base_patch8_224.augreg2_in21k_ft_in1k ") and "1000 ImageNet classes" in lines[0]
    main(["models", "dinov2"])
    assert capsys.readouterr().out.splitlines()[-1] == "swim_dinov2: refused: it swims"
    main(["models", "--refused"])
    lines = capsys.readouterr().out.splitlines()
    assert "swim_dinov2: refused: it swims" in lines and len(lines) == len(families.refused())
    main(["models", "scenes"])
    assert len(capsys.readouterr().out.splitlines()) == 2
    for name, text in (("siglip_224.webli", "SigLIP"), ("clip_quickgelu_224.openai", "CLIP"), ("ft_in12k_in1k", "-")):
        main(["models", name])
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].split()[6] == text and ("text:WORDS" in lines[-1]) == (text != "-")
    assert "no model's name contains 'xyz'" in error_of(capsys, "models", "xyz")


def test_method_options_are_parsed_from_text():
    assert parse("rollout", "method") == {"method": "rollout"}
    assert parse("rollout:head_fusion=max,discard_ratio=0.9,per_head=True", "method") == {
        "method": "rollout",
        "head_fusion": "max",
        "discard_ratio": 0.9,
        "per_head": True,
    }
    assert parse("aopc:levels=[10,50],fill=black", "metric") == {"metric": "aopc", "levels": [10, 50], "fill": "black"}
    assert parse("my.file:OWN:power=2", "method") == {"method": "my.file:OWN", "power": 2}
    for text in ("rollout:max", "rollout:head_fusion=max,0.9"):
        with pytest.raises(ConfigError, match="name=value"):
            request(text)


@pytest.mark.parametrize(
    ("text", "target"), [("281", 281), ("-1", -1), ("--5", "--5"), ("²", "²"), ("tabby", "tabby"), (None, None)]
)
def test_a_target_is_a_class_number_only_if_it_is_written_in_plain_digits(text, target):
    assert parse_target(text) == target


def test_several_targets_give_one_map_each_and_are_named_everywhere(image_files, tmp_path, capsys):
    assert parse_targets(()) is None and parse_targets((("281",),)) == 281
    assert parse_targets((("1", "x"), ("top2",))) == [1, "x", "top2"]
    out = tmp_path / "out"
    targets = ["plain ring", "striped star - plain ring"]
    main(["explain", image_files[0], "--methods", "rollout", "saliency", "--target", *targets, "-o", str(out)])
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert [(row["target"], row["target_name"]) for row in rows] == [("3", targets[0]), ("", targets[1])]
    assert rows[1]["target_probability"] == ""
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["options"]["target"] == targets and len(manifest["images"]) == 1
    names = {path.name for path in out.glob("*_saliency.png")}
    stem = rows[0]["image"]
    assert names == {f"{stem}_plain_ring_saliency.png", f"{stem}_striped_star_-_plain_ring_saliency.png"}
    assert np.load(out / "saliency.npz")["maps"].shape == (2, 64, 64)
    assert [path.name for path in out.glob("*_rollout.png")] == [f"{stem}_rollout.png"]  # class-agnostic: one for both
    assert [bool(np.load(out / f"{name}.npz")["class_agnostic"]) for name in ("rollout", "saliency")] == [True, False]
    written = capsys.readouterr()
    printed = written.out
    assert "1 image x 2 methods, 2 maps each (class-agnostic, one per image: rollout)" in printed
    assert "3/3 strips" in written.err
    assert "explained: plain ring (" in printed and "explained: striped star - plain ring\n" in printed


def test_class_agnostic_methods_alone_are_printed_once_for_all_targets(image_files, tmp_path, capsys):
    main(["explain", *image_files[:2], "--methods", "rollout", "centre", "--target", "top3", "-o", str(tmp_path / "x")])
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(line.endswith("class-agnostic: the same map for every class") for line in lines)
    assert last.startswith("2 images x 2 methods -> ") and len(list((tmp_path / "x").glob("*.png"))) == 4


def test_without_network_the_error_says_how_to_give_weights(image_files, tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
    command = [sys.executable, "-m", "vitjax", "explain", *image_files, "--model", "vit_base_patch16_224"]
    process = subprocess.run([*command, "-o", str(tmp_path / "out")], capture_output=True, text=True, env=environment)
    assert process.returncode == 1
    assert "timm/vit_base_patch16_224" in process.stderr and "weights=" in process.stderr
    assert "Traceback" not in process.stderr


@needs_shared
@pytest.mark.slow
def test_readme_command_on_real_photos(tmp_path):
    out = tmp_path / "out"
    photos = sorted(map(str, (SHARED / "data/dev/images").glob("*.jpg")))
    weights = str(SHARED / "data/deit_tiny_patch16_224.safetensors")
    arguments = ["--model", "deit_tiny_patch16_224", "--weights", weights]
    main(["explain", *photos, *arguments, "--methods", "rollout", "transformer_mm", "-o", str(out)])
    index = {item["id"]: item for item in json.loads((SHARED / "data/dev/index.json").read_text())["items"]}
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert len(rows) == len(index) == 54
    assert sum(int(row["predicted"]) == index[row["image"]]["pred"] for row in rows) >= 53
    assert np.load(out / "transformer_mm.npz")["maps"].shape == (54, 14, 14)


@pytest.mark.parametrize("command", ["demo", "explain", "compare", "verify"])
def test_help_is_printed(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert len(capsys.readouterr().out) > 200
