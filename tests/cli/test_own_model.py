"""A fine-tuned model with classes of its own, from the command line: every command is given the file alone."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.timm_peers import build, torch
from vitjax.cli.main import main
from vitjax.cli.model_arguments import parse_preprocess
from vitjax.errors import ConfigError, LabelError
from vitjax.models.class_names import read_class_names

pytestmark = pytest.mark.unoptimised
NAMES = ["asp", "bee", "cow", "dog", "eel", "fox", "gnu", "hen", "ibex", "jay"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint of ten classes as a training script leaves it, and photos in folders of the classes."""
    path = tmp_path_factory.mktemp("own")
    module = build(embed_dim=64, num_heads=1, depth=2)
    torch.save({"model": module.state_dict(), "class_to_idx": {n: i for i, n in enumerate(NAMES)}}, path / "best.pth")
    torch.save(module.state_dict(), path / "bare.pth")
    (path / "names.txt").write_text("\n".join(NAMES) + "\n")
    rng = np.random.default_rng(0)
    for name in ("bee", "hen"):
        (path / "photos" / name).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(path / "photos" / name / f"{name}.png")
    return path


@pytest.fixture(params=["best.pth", "bare.pth"])
def model(request, folder):
    names = [] if request.param == "best.pth" else ["--class-names", str(folder / "names.txt")]
    return ["--model", str(folder / request.param), *names]


def predictions(out):
    with (out / "predictions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_explain_and_compare(folder, model, tmp_path, capsys):
    photos = [str(path) for path in sorted((folder / "photos").rglob("*.png"))]
    main(["explain", *photos, *model, "-o", str(tmp_path / "e"), "--target", "cow", "--methods", "rollout"])
    rows = predictions(tmp_path / "e")
    assert [row["target_name"] for row in rows] == ["cow", "cow"] and rows[0]["predicted_name"] in NAMES
    record = json.loads((tmp_path / "e" / "manifest.json").read_text())["model"]
    assert "timm keys: width 64, depth 2" in record["weights"]["inferred"]
    assert record["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    main(["compare", *photos, *model, "-o", str(tmp_path / "c"), "--methods", "rollout", "raw_attention", "saliency"])
    page = (tmp_path / "c" / "index.html").read_text()
    assert any(name in page for name in NAMES) and "class 1" not in page
    capsys.readouterr()


def test_evaluate_and_report(folder, model, tmp_path, capsys):
    data = shutil.copytree(folder / "photos", tmp_path / "photos")
    out = tmp_path / "run"
    settings = ["--data", f"folder:{data}", "--methods", "rollout", "--metrics", "deletion", "--target", "bee"]
    preprocess = ["--preprocess", "mean=0.5,0.5,0.5,std=0.25,crop_pct=1.0"]
    main(["evaluate", *model, *preprocess, *settings, "--workers", "0", "--no-profile", "-o", str(out)])
    assert "2 evaluated" in capsys.readouterr().out
    shutil.rmtree(out / "report")
    main(["report", str(out)])  # opens the model again: the same file, names and preprocessing
    said = capsys.readouterr().err
    assert "contains no overlays" not in said
    page = (out / "report" / "report.html").read_text()
    assert "bee" in page and "class 1" not in page


def test_class_names_files(tmp_path):
    for name, text in (
        ("n.txt", "a\nb c\n\n"),
        ("l.json", '["a", "b c"]'),
        ("d.json", '{"1": "b c", "0": "a"}'),
        ("r.json", '{"b c": 1, "a": 0}'),
    ):
        (tmp_path / name).write_text(text)
        assert read_class_names(tmp_path / name) == ("a", "b c")
    for text, cause in (
        ("", "contains no class names"),
        ("a\n\nb", "a class name is empty"),
        ('{"0": "a", "2": "b"}', "must be 0 to 1, each once"),
        ('{"a": 0, "b": 0}', "must be 0 to 1, each once"),
        ("[1, 2]", "must be a list of texts"),
        ("[", "no class names"),
    ):
        (tmp_path / "bad.txt").write_text(text)
        with pytest.raises(LabelError, match=cause):
            read_class_names(tmp_path / "bad.txt")
    with pytest.raises(LabelError, match=r"missing.txt: the class names cannot be read: No such file or directory$"):
        read_class_names(tmp_path / "missing.txt")


@pytest.mark.parametrize("text", ["0.5", "mean", "mean=0.5,mean=0.4", "mean=", "mean=0.5,,std=1"])
def test_preprocess_of_another_form_is_refused(text):
    with pytest.raises(ConfigError, match="--preprocess"):
        parse_preprocess(text)
