"""The options of figures on the command line: the same as those of `vitjax.figure`, checked before any computation."""

import inspect
import json
import re
from dataclasses import fields

import numpy as np
import pytest
from PIL import Image

import vitjax
from tests.cli.test_commands import error_of
from tests.docs_blocks import ROOT
from vitjax.cli.figure_arguments import FigureArguments, GridArguments
from vitjax.cli.main import main
from vitjax.data.scenes import scene
from vitjax.explaining.figure_options import FigureOptions
from vitjax.plots.strip import narrowest

NOT_ON_THE_COMMAND_LINE = {"notes"}
"""Texts under single maps, which only a program knows."""


@pytest.fixture
def photo(tmp_path):
    """An image whose left quarter is the object of its mask."""
    made = scene(3)
    path = tmp_path / "photo.png"
    Image.fromarray(made.image).save(path)
    (tmp_path / "masks").mkdir()
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 8:24] = 255
    Image.fromarray(mask).save(tmp_path / "masks" / "photo.png")
    return path


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), int)


def test_every_option_of_a_figure_is_a_flag_with_the_same_default():
    ours = inspect.signature(vitjax.figure).parameters
    named = {name for name, parameter in ours.items() if parameter.kind is parameter.KEYWORD_ONLY}
    flags = {field.name for field in fields(GridArguments)}
    assert named - NOT_ON_THE_COMMAND_LINE == flags - {"mask_ignore"}
    options = FigureOptions()
    assert {name: ours[name].default for name in (field.name for field in fields(options))} == vars(options)
    assert GridArguments().options() == FigureArguments().options() == options


def test_strips_have_the_width_resolution_colours_and_contours_that_are_asked_for(photo, tmp_path):
    run = ["explain", str(photo), "--model", "vitjax_scenes", "--methods", "gradient_x_input", "-o"]
    size = ["--width-mm", "89", "--dpi", "200"]
    variants = {
        "plain": [],
        "cmap": ["--cmap", "viridis,coolwarm"],
        "alpha": ["--alpha", "0.3"],
        "percentile": ["--percentile", "60"],
        "contours": ["--masks", str(tmp_path / "masks")],
        "type": ["--font-size", "9"],
    }
    drawn = {}
    for name, options in variants.items():
        main([*run, str(tmp_path / name), *size, *options])
        drawn[name] = pixels(tmp_path / name / "photo_gradient_x_input.png")
    assert drawn["plain"].shape[1] == int(200 * 89 / 25.4)
    for name, image in drawn.items():
        assert name == "plain" or image.shape != drawn["plain"].shape or (image != drawn["plain"]).any(), name
    changed = np.abs(drawn["contours"] - drawn["plain"]).sum(axis=-1) > 60
    assert 0.001 < changed.mean() < 0.05  # a thin line
    options = json.loads((tmp_path / "cmap" / "manifest.json").read_text())["options"]["figure"]
    assert (options["cmap"], options["width_mm"], options["masks"]) == ("viridis,coolwarm", 89, None)


def test_the_grid_and_the_page_have_the_options_of_compare(photo, tmp_path):
    run = ["compare", str(photo), "--model", "vitjax_scenes", "--methods", "saliency", "--target", "top2", "-o"]
    options = ["--masks", str(tmp_path / "masks"), "--percentile", "82", "--cmap", "viridis", "--no-colour-bars"]
    main([*run, str(tmp_path / "a")])
    main([*run, str(tmp_path / "b"), *options, "--rows", "methods", "--titles", "id", "--width-mm", "60"])
    before, after = (pixels(tmp_path / name / "grid.png") for name in "ab")
    assert (before.shape[1], after.shape[1]) == (int(300 * 183 / 25.4), int(300 * 60 / 25.4))
    pages = [(tmp_path / name / "index.html").read_text(encoding="utf-8") for name in "ab"]
    assert "82nd percentile" in pages[1] and "red marks" in pages[0] and "red marks" not in pages[1]
    assert [page.count("<svg") for page in pages] == [0, 2]
    embedded = [re.findall(r'src="data:image/png;base64,([^"]+)" data-photo', page) for page in pages]
    assert len(embedded[0]) == 1 and embedded[0] != embedded[1]


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("explain", ["--cmap", "virids"], "unknown colour map 'virids'; did you mean 'viridis'"),
        ("compare", ["--cmap", "viridis,jot"], "unknown colour map 'jot'"),
        ("explain", ["--cmap", "viridis,jet,jet"], "is no colour map of matplotlib"),
        ("explain", ["--alpha", "2"], "alpha=2.0 is not a number from 0 to 1"),
        ("compare", ["--dpi", "5"], "dpi=5.0 is not a number from 50 to 2400"),
        ("explain", ["--percentile", "0"], "percentile=0 must be above 0"),
        ("explain", ["--width-mm", "30"], "width_mm=30 is too narrow for a strip of three images with font_size=6.5"),
        ("compare", ["--width-mm", "3000"], "width_mm=3000.0 is not a number from 20 to 2000"),
        ("compare", ["--rows", "classes"], "rows='classes' is not one of 'images', 'methods'"),
        ("compare", ["--background", "white"], "background='white' is not one of 'input', 'original'"),
        ("compare", ["--titles", "long"], "titles='long' is not one of"),
        ("compare", ["--row-labels", "all"], "row_labels='all' is not one of"),
        ("explain", ["--masks", "nowhere"], "nowhere: mask folder does not exist"),
        ("explain", ["--mask-ignore", "255"], "--mask-ignore needs --masks DIR"),
    ],
)
def test_options_are_checked_before_anything_is_computed(
    photo, tmp_path, capsys, monkeypatch, command, options, message
):
    monkeypatch.setattr("vitjax.cli.model_arguments.ModelArguments.load", lambda *_, **__: pytest.fail("a model"))
    out = tmp_path / "out"
    error = error_of(capsys, command, photo, "--model", "vitjax_scenes", "-o", out, *options)
    assert error.startswith("vitjax: error: ") and error.count("\n") == 1 and message in error, error
    assert not out.exists()


def test_masks_of_the_wrong_shape_or_meaning_are_an_error_before_any_map(photo, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vitjax.cli.explain.explain_many", lambda *_, **__: pytest.fail("computed"))
    mask, out = tmp_path / "masks" / "photo.png", tmp_path / "out"
    run = ["explain", photo, "--model", "vitjax_scenes", "-o", out, "--masks", mask.parent]
    Image.fromarray(np.full((20, 64), 255, np.uint8)).save(mask)
    assert "photo.png" in error_of(capsys, *run)
    values = np.zeros((64, 64), np.uint8)
    values[:32, :32], values[32:, 32:] = 15, 255
    Image.fromarray(values).save(mask)
    assert "--mask-ignore" in error_of(capsys, *run) and not out.exists()


def test_the_page_on_figures_names_every_flag_and_the_narrowest_strip():
    page = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    for field in fields(GridArguments):
        flag = field.name.replace("_", "-")
        assert f"`--{flag} " in page or f"`--{flag}`" in page or f"`--no-{flag}`" in page, flag
    assert f"A strip needs {np.ceil(narrowest(FigureOptions().font_size)):g} mm" in page
