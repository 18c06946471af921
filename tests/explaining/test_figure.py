"""`vitjax.figure`, `Explanation.plot`, and what a notebook shows of each object."""

import io
import re
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image

import vitjax
from tests.plots.test_figures import assert_no_text_overlaps, texts
from vitjax.data.scenes import scene
from vitjax.errors import ConfigError, UnknownNameError
from vitjax.explaining.figure import overview
from vitjax.models import describe

METHODS = ["rollout", "transformer_mm", "gmar:norm=l2", "gradient_x_input"]


@pytest.fixture(scope="module")
def model():
    return vitjax.load("vitjax_scenes")


@pytest.fixture(scope="module")
def es(model):
    return vitjax.explain_many(model, [scene(3).image, scene(4).image], METHODS)


@pytest.fixture(scope="module")
def classes(model):
    """Two classes of the first image, one of the second."""
    images = [scene(3).image, scene(4).image]
    return vitjax.explain_many(model, images, METHODS[:3], [["striped star", "plain ring"], ["checked star"]])


def words(figure):
    return [text.get_text() for text in texts(figure)]


@pytest.mark.parametrize("width", [89, 183])
@pytest.mark.parametrize("rows", ["images", "methods"])
def test_width_resolution_and_titles(es, width, rows):
    figure = vitjax.figure(es, rows=rows, width_mm=width, colour_bars=False)
    assert_no_text_overlaps(figure)
    stream = io.BytesIO()
    figure.savefig(stream)
    with Image.open(stream) as written:
        assert written.size[0] == int(300 * width / 25.4) and written.info["dpi"][0] == pytest.approx(300, abs=0.1)
    joined = " ".join(words(figure))
    assert "Attention rollout†" in joined and "GMAR (norm=l2)" in joined and "gradient_x_input" not in joined
    assert "† Class-agnostic: the map is the same whichever class is explained." in joined
    assert len(figure.axes[0].images) == 2 * (len(METHODS) + 1)


def test_maps_that_no_class_changes_stand_once_beside_the_image(classes):
    figure = vitjax.figure(classes, colour_bars=False)
    shown, found = figure.axes[0].images, {text.get_text(): text.get_window_extent() for text in texts(figure)}
    assert len(shown) == 2 * 2 + 3 * 2  # for each image its input and rollout; two methods for each of three targets
    left = found["Attention rollout†"]
    label = next(box for text, box in found.items() if text.startswith("plain ring"))
    assert left.x1 < label.x0 < found["Transformer-MM"].x0
    turned = vitjax.figure(classes, rows="methods", colour_bars=False)
    below = {text.get_text(): text.get_window_extent() for text in texts(turned)}
    label = next(box for text, box in below.items() if text.startswith("plain ring"))
    assert below["Transformer-MM"].y1 < label.y0 < below["Attention rollout†"].y1
    only = vitjax.figure(classes["rollout"], colour_bars=False)
    assert len(only.axes[0].images) == 4 and not any("ring" in word for word in words(only))


def test_titles_labels_notes_and_colours(es):
    short = {label: es[label] for label in ("rollout", "gmar(norm=l2)")}
    notes = {"rollout": ["IoU 41.7", "IoU 3.2"]}
    found = words(vitjax.figure(short, titles="full", row_labels="image", notes=notes))
    assert {"(Abnar & Zuidema, 2020)", "image1", "IoU 41.7"} <= set(found)
    titles = {"gmar(norm=l2)": "mine", "rollout": "x"}
    assert {"mine", "x†", "a", "b"} <= set(words(vitjax.figure(short, titles=titles, row_labels=["a", "b"])))
    assert {"rollout†", "gmar(norm=l2)"} <= set(words(vitjax.figure(short, titles="id")))

    def pixels(**options):
        return np.asarray(vitjax.figure(short, **options).axes[0].images[2].get_array())

    plain = pixels()
    for options in ({"cmap": "viridis"}, {"cmap": ("viridis", "coolwarm")}, {"alpha": 0.4}, {"percentile": 80}):
        assert (pixels(**options) != plain).any(), options
    assert any("80th percentile" in text for text in words(vitjax.figure(short, percentile=80)))
    signed = words(vitjax.figure(es["gradient_x_input"]))
    assert any(text.startswith("Relevance against (−)") for text in signed) and "−1" in signed


def test_masks_are_outlined_at_either_size(tmp_path, model):
    path = tmp_path / "wide.png"
    Image.fromarray(np.tile(scene(3).image, (1, 2, 1))).save(path)
    e = vitjax.explain(model, path, "transformer_mm")
    half, whole = np.zeros((64, 64), bool), np.zeros((64, 128), bool)
    half[:, :32] = whole[:, :64] = True  # the same half of the picture, whose middle the model sees
    for mask, options in ((half, {}), (whole, {}), (whole, {"background": "original"})):
        lines = vitjax.figure(e, masks=[mask], colour_bars=False, **options).axes[0].lines
        outlines = [line for line in lines if line.get_color() == "white"]
        assert len(outlines) == (4 if options else 2)  # of input and map: the object, and the part that the model sees
    image = vitjax.figure(e, background="original").axes[0].images[0].get_array()
    assert image.shape == (64, 128, 3)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rows": "columns"}, "rows='columns' is not one of 'images', 'methods'"),
        ({"width_mm": 5}, "width_mm=5 is not a number from 20 to 2000"),
        ({"alpha": 2}, "alpha=2 is not a number from 0 to 1"),
        ({"percentile": 0}, "percentile=0 must be above 0"),
        ({"titles": ["a"]}, "1 titles for 4 explanations"),
        ({"titles": {"lrp": "a"}}, "titles name 'lrp'; the explanations are rollout"),
        ({"row_labels": ["a"]}, "1 row_labels for 2 maps"),
        ({"notes": {"rollout": ["a"]}}, "notes of 'rollout': expected one text for each of 2 maps"),
        ({"masks": [np.zeros((5, 5))] * 2}, r"the mask of image0 is \[5, 5\]; the model's input is \[64, 64\]"),
        ({"background": "original"}, "needs images from files; image0 is an array"),
        ({"cmap": 3}, "cmap=3 is no colour map"),
    ],
)
def test_arguments_are_checked_before_anything_is_drawn(es, options, message):
    with pytest.raises(ConfigError, match=message):
        vitjax.figure(es, **options)


def test_colour_maps_and_explanations_by_name_suggest_close_ones(es):
    with pytest.raises(UnknownNameError, match=r"unknown colour map 'virids'; did you mean 'viridis'"):
        vitjax.figure(es, cmap="virids")
    with pytest.raises(UnknownNameError, match="unknown explanation 'gmar'; did you mean"):
        es["gmar"]
    assert es["gmar:norm=l2"] is es["gmar(norm=l2)"]
    with pytest.raises(ConfigError, match="explains other images"):
        vitjax.figure([es["rollout"], es["transformer_mm"][0]])


def test_plot_draws_into_axes_or_makes_a_figure(es):
    from matplotlib.figure import Figure

    axes = Figure((4, 2)).subplots(1, 2)
    assert es["gmar:norm=l2"].plot(1, ax=axes[0], cmap="viridis", alpha=0.5) is axes[0]
    assert axes[0].get_images()[0].get_array().shape == (64, 64, 3)
    es["rollout"].plot(0, ax=axes[1])
    assert axes[1].get_title().splitlines()[1] == "class-agnostic"
    figure = es["rollout"].plot(1)
    assert figure.get_size_inches()[0] * 25.4 == pytest.approx(89) and len(figure.axes[0].images) == 3
    last = es["transformer_mm"]
    np.testing.assert_array_equal(
        last.plot(-1).axes[0].images[1].get_array(), last.plot(1).axes[0].images[1].get_array()
    )


def test_iteration_and_indices(es, classes):
    e = es["transformer_mm"]
    assert [len(each) for each in e] == [1, 1] and [each.images.ids[0] for each in e] == ["image0", "image1"]
    assert es.take(1)["rollout"].images.ids == ("image1",) and list(es.take([1, 0])) == list(es)
    assert len(classes.take(slice(2))["transformer_mm"]) == 2


@cache
def _run(folder):
    return vitjax.evaluate(
        vitjax.load("vitjax_scenes"), "scenes:4", METHODS[:2], ["iou"], folder / "run", profile=False
    )


def test_every_repr_has_two_short_lines(es, classes, model, tmp_path_factory):
    run = _run(tmp_path_factory.mktemp("reprs"))
    trace = vitjax.trace(model, scene(3).image, score=None)
    shown = {each: repr(each) for each in (model, es["rollout"], run)} | {1: repr(es), 2: repr(classes), 3: repr(trace)}
    for text in shown.values():
        lines = text.splitlines()
        assert len(lines) == 2 and max(map(len, lines)) < 160, text
    assert "vitjax_scenes" in shown[model] and "6 blocks of 4 heads" in shown[model]
    assert "class-agnostic" in shown[es["rollout"]] and "3 targets" in shown[2]
    assert "attention [1, 6, 4, 65, 65]" in shown[3] and "no gradients" in shown[3]
    assert "finished, 4 images" in shown[run] and "rollout, transformer_mm" in shown[run]
    assert "gmar" not in repr(vitjax.METHODS["rollout"]) and "head_fusion='mean'" in repr(vitjax.METHODS["rollout"])
    for html in (model._repr_html_(), trace._repr_html_(), run._repr_html_()):
        assert len(html) < 4000 and "<script" not in html
    assert "iou (%)" in run._repr_html_() and "&#x27;" in run._repr_html_()
    assert "&lt;b&gt;" in describe.as_html("<b>", model.config, model.params, None, model.preprocessing, {})


def test_pictures_in_notebooks_are_small_and_say_what_they_leave_out(es, classes, model):
    many = vitjax.explain(model, np.stack([scene(i).image for i in range(12)]), "transformer_mm")
    for shown in (es, es["rollout"], es["rollout"][0], classes, many):
        png, size = shown._repr_png_()
        with Image.open(io.BytesIO(png)) as image:
            assert image.format == "PNG" and image.size[0] == pytest.approx(1.25 * size["width"], abs=2)
        assert len(png) < 600_000 and size["width"] <= 692
    assert vitjax.explain(model, scene(3).image, "random")[:0]._repr_png_() is None


def test_dir_shows_public_names_and_help_says_where_options_are_listed():
    assert set(dir(vitjax)) == {*vitjax.__all__, "__version__", "methods", "metrics"}
    for function in (vitjax.explain, vitjax.explain_many):
        assert re.search(r"vitjax\.METHODS", function.__doc__)
    assert "vitjax methods gmar" in vitjax.explain.__doc__


def test_a_figure_needs_no_pyplot_and_ignores_the_users_settings(tmp_path):
    code = (
        "import sys, matplotlib, numpy, vitjax; from vitjax.data.scenes import scene\n"
        "matplotlib.rcParams.update({'savefig.bbox': 'tight', 'savefig.dpi': 40, 'pdf.fonttype': 3})\n"
        "f = vitjax.figure(vitjax.explain(vitjax.load('vitjax_scenes'), scene(3).image, 'random'), width_mm=89)\n"
        "f.savefig(sys.argv[1]); f.savefig(sys.argv[2]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    png, pdf = tmp_path / "a.png", tmp_path / "a.pdf"
    subprocess.run([sys.executable, "-c", code, str(png), str(pdf)], check=True)
    with Image.open(png) as image:
        assert image.size[0] == 1051
    assert b"/FontFile2" in pdf.read_bytes() and b"/Type3" not in pdf.read_bytes()


def test_an_overview_has_a_page_for_few_images_and_the_beginning_of_many(es):
    assert overview(es).get_size_inches()[0] * 25.4 == pytest.approx(183)
    many = {label: each[[0, 1] * 35] for label, each in es.items() if label != "gradient_x_input"}
    figure = overview(many)
    assert len(figure.axes[0].images) == 60 * 4 + 1
    assert "The first 60 of 70 maps of each method." in words(figure)
