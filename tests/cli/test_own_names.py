"""Methods and metrics of one's own by module:name, in every command; which model is explained if none is named."""

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image

from vitjax.cli.main import main
from vitjax.data.scenes import scene
from vitjax.methods import METHODS
from vitjax.metrics import METRICS

SOURCE = '''
import jax.numpy as jnp
import vitjax
from vitjax.metrics.contract import Metric, Statistic

def brightness(config, params, image, target, *, key, power: float = 1.0):
    """map = |mean(x)|^power.

    Args:
        power: the exponent.
    """
    return jnp.abs(image).mean(axis=-1) ** power

METHOD = vitjax.Method("Brightness", "test", "0", explain=brightness, level="pixel", class_specific=False)
METRIC = Metric("Spread", "test", "complexity", "0", lambda heatmap: heatmap.std(),
                lambda case: {"value": case.heatmap.std()}, lambda options: {"": Statistic(("value",))})
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A working directory with a module of a method and a metric, as a new process finds it."""
    (tmp_path / "own_things.py").write_text(SOURCE)
    (tmp_path / "broken_things.py").write_text("import jax\nMETHOD = jax.no_such_thing\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def forget():
        for name in ("own_things", "broken_things"):
            sys.modules.pop(name, None)
        for table in (METHODS, METRICS):
            for name in [name for name in table if ":" in name]:
                del table[name]

    yield forget
    forget()


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(scene(3).image).save(tmp_path / "scene.png")
    return "scene.png"


def error_of(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    assert exit_.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("vitjax: error: ") and error.count("\n") == 1, error
    return error


def test_a_method_of_ones_own_is_explained_and_described(own, picture, tmp_path, capsys):
    methods = ["own_things:METHOD:power=2", "rollout"]
    main(["explain", picture, "--methods", *methods, "--target", "striped star", "--target", "top2", "-o", "out"])
    assert {path.name for path in (tmp_path / "out").glob("own*")} == {"own_things.METHOD_power-2.0.npz"}
    mean = np.load("out/own_things.METHOD_power-2.0.npz")["maps"]
    assert mean.shape == (2, 64, 64)
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    assert [row["target_name"] for row in rows] == ["striped star", "plain ring"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["methods"]["own_things:METHOD(power=2.0)"] == {"power": 2.0}
    capsys.readouterr()
    main(["methods", "own_things:METHOD"])
    assert "power=a number; default 1.0\n      the exponent." in capsys.readouterr().out


def test_own_methods_and_metrics_are_evaluated_and_reported_by_another_process(own, tmp_path, capsys):
    requested = ["--methods", "own_things:METHOD", "random", "--metrics", "own_things:METRIC", "complexity"]
    command = ["evaluate", "--data", "scenes:2", *requested, "--no-profile", "--no-report", "-o", "run"]
    main(command)
    own()
    main(["report", "run", "--no-pictures"])
    page = (tmp_path / "run" / "report" / "report.html").read_text()
    assert "Brightness" in page and "Spread" in page
    assert "own_things:METRIC" in capsys.readouterr().out
    own()
    (tmp_path / "own_things.py").write_text(SOURCE.replace("** power", "** (power + 1)"))
    with pytest.raises(SystemExit, match="1"):
        main(command)
    assert "methods[0].source" in capsys.readouterr().err  # rows of two programs would stand in one run
    own()
    (tmp_path / "own_things.py").unlink()
    assert "own_things:METRIC: cannot be imported: there is no module 'own_things'" in error_of(capsys, "report", "run")


def test_what_is_wrong_with_a_name_of_ones_own_is_said_in_one_line(own, picture, capsys):
    for name, cause in (
        ("own_things:NOTHING", "own_things.py: has no NOTHING"),
        ("own_things:METRIC", "METRIC is not a vitjax.Method"),
        ("no_such_module:METHOD", "there is no module 'no_such_module'"),
        ("no_such_module:METHOD", "run the command where no_such_module.py lies"),
        ("own_things.py:METHOD", "write own_things:METHOD"),
        ("broken_things:METHOD", "broken_things.py, line 2"),
        ("rollout:max", "'max' is not of the form name=value"),
    ):
        assert cause in error_of(capsys, "explain", picture, "--methods", name, "-o", "out")


def test_a_photograph_needs_a_model_and_a_scene_is_explained_by_the_bundled_one(own, picture, tmp_path, capsys):
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save("photo.png")
    for command in ("explain", "compare"):
        error = error_of(capsys, command, picture, "photo.png", "-o", "out")
        assert error.startswith("vitjax: error: photo.png: name the model to explain, as in --model ")
    assert not (tmp_path / "out").exists()
    main(["explain", picture, "-o", "out"])
    assert "no --model given: this is vitjax_scenes" in capsys.readouterr().err
    main(["explain", "photo.png", "--model", "vitjax_scenes", "-o", "named"])
    assert "no --model given" not in capsys.readouterr().err
    (tmp_path / "folder").mkdir()
    Image.fromarray(scene(1).image).save("folder/a.png")
    options = ["--methods", "centre", "--metrics", "complexity", "--no-profile", "--no-report"]
    main(["evaluate", "--data", "folder:folder", *options, "-o", "run"])
    assert "no --model given" in capsys.readouterr().err
    main(["evaluate", "--data", "scenes:1", *options, "-o", "scenes"])
    assert "no --model given" not in capsys.readouterr().err


def test_images_after_a_list_option_are_not_taken_silently(own, picture, capsys):
    for option in ("--methods", "--target"):
        error = error_of(capsys, "explain", option, "rollout", picture, "-o", "out")
        assert f"scene.png was read as a value of {option}; put images before options" in error
    assert "no images given: name image files" in error_of(capsys, "explain", "-o", "out")


def test_maps_without_relevance_come_with_advice(own, picture, capsys):
    main(["explain", picture, "--methods", "grad_cam", "--target", "plain ring", "-o", "out"])
    error = capsys.readouterr().err
    assert "grad_cam: 1 of 1 maps are degenerate" in error and "grad_cam:relu=false shows the negative values" in error
