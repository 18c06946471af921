"""The papers' figures: each is drawn by one command, from pictures with and without masks, beside the right numbers."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import vitjax
from tests.cases import tiny_model
from tests.cli.test_commands import error_of, image_files  # noqa: F401  (a fixture)
from tests.explaining.test_resnet import module, tiny_resnet50, weights  # noqa: F401  (fixtures)
from tests.plots.test_figures import texts
from vitjax.cli.main import main
from vitjax.data.decode import decode
from vitjax.data.open import open_data
from vitjax.data.scenes import TEST_SEED, Scenes
from vitjax.explaining.requests import check_needs, request
from vitjax.models.families import find
from vitjax.models.load import load
from vitjax.models.model import Model
from vitjax.papers import PAPERS
from vitjax.papers.drawing import mask_column, mask_outlines
from vitjax.papers.figures import Subject
from vitjax.papers.paper import Materials
from vitjax.papers.pictures import masks_for, pictures_of_files, pictures_of_scenes
from vitjax.papers.relevance import focus_of

pytestmark = pytest.mark.unoptimised

FIGURES = {(paper.name, figure.name): figure for paper in PAPERS.values() for figure in paper.figures}


def model_of(name):
    entry = find(name)
    return Model(entry.config, {}, entry.preprocessing, None, name)


def rows_of(folder):
    return list(csv.DictReader((folder / "figures" / "relevance.csv").open()))


def files_of(folder):
    return {path.name for path in (folder / "figures").glob("*.png")}


def test_the_figures_of_the_four_papers_are_defined():
    assert {name for _, name in FIGURES} == {
        *("fusions", "printed", "stages", "features", "classes", "focus", "masks"),
        *("grid", "grid_published", "ablation"),
    }
    assert len(FIGURES) == 12


@pytest.mark.parametrize(("paper", "name"), FIGURES)
def test_methods_of_a_figure_exist_for_its_models(paper, name):
    figure = FIGURES[paper, name]
    for wanted in figure.methods.values():
        check_needs(model_of(PAPERS[paper].model), request(wanted))
    for wanted in figure.cnn_methods.values():
        assert request(wanted).method.cnn is not None
    assert bool(figure.cnn_methods) == ("cnn" in figure.needs)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The figures of Das & Huddar that need no ResNet, from two bundled scenes."""
    out = tmp_path_factory.mktemp("das2025")
    main(["paper", "das2025", "--scenes", "2", "-o", str(out)])
    return out


@pytest.mark.slow
def test_one_command_draws_all_figures_for_which_there_is_what_they_need(drawn):
    assert files_of(drawn) == {f"{name}.png" for name in ("fusions", "printed", "classes", "focus", "masks")}
    manifest = json.loads((drawn / "figures" / "manifest.json").read_text())
    assert manifest["options"]["figures"] == ["fusions", "printed", "classes", "focus", "masks"]
    assert manifest["model"]["name"] == "vitjax_scenes"
    for path in (drawn / "figures").glob("*.png"):
        with Image.open(path) as image:
            assert np.asarray(image.convert("L")).std() > 10
            assert image.width in (2161, 1051)  # 183 or 89 mm at 300 dpi


def test_the_table_has_extremes_and_mean_of_every_raw_map_and_its_focus(drawn):
    model, scenes = load("vitjax_scenes"), list(Scenes(2, seed=TEST_SEED, objects=2))
    methods = ["rollout:head_fusion=max,alpha=1.0", "grad_rollout:head_fusion=min,variant=das2025"]
    explanations = vitjax.explain_many(model, [scene.image for scene in scenes], methods)
    rows = {(row["method"], row["image"], row["target"]): row for row in rows_of(drawn)}
    for label, explanation in explanations.items():
        for index, (scene, raw) in enumerate(zip(scenes, explanation.maps, strict=True)):
            row = rows[label, f"scene{scene.index}", explanation.target_names[index]]
            found = [float(row[column]) for column in ("R_max", "R_min", "R_mean")]
            np.testing.assert_allclose(found, [raw.max(), raw.min(), raw.mean()], rtol=1e-4)
            focus = vitjax.metrics.focus(raw, np.where(scene.masks[0], 255, 0))
            if np.isnan(focus.faf):  # no positive relevance
                assert row["FAF"] == row["BAF"] == ""
                continue
            assert float(row["FAF"]) == pytest.approx(float(focus.faf), rel=1e-4)
            assert float(row["FAF"]) + float(row["BAF"]) == pytest.approx(1)


def test_a_figure_of_classes_explains_both_objects_of_a_scene(drawn):
    model = load("vitjax_scenes")
    for scene in Scenes(2, seed=TEST_SEED, objects=2):
        shown = {row["target"] for row in rows_of(drawn) if row["image"] == f"scene{scene.index}"}
        assert {model.label(int(label)) for label in scene.labels} <= shown


@pytest.mark.slow
def test_figures_with_a_resnet_show_every_stage(tiny_resnet50, weights, image_files, tmp_path, monkeypatch):  # noqa: F811
    drawings = {}
    monkeypatch.setattr("vitjax.plots.save", lambda figure, path, pdf: drawings.update({path.stem: figure}) or [path])
    cnn = ["--cnn", "resnet50", "--cnn-weights", str(weights / "tiny.safetensors")]
    command = ["paper", "das2025", image_files[0], "--model", "vitjax_scenes", *cnn, "-o", str(tmp_path)]
    main([*command, "--figures", "stages", "features"])
    assert list(drawings) == ["stages_scene0", "features_scene0"]
    words = "\n".join(text.get_text() for text in texts(drawings["stages_scene0"]))
    for expected in ("layer1\n", "layer4\n", "Grad-CAM", "classes, resnet50", "classes, vitjax_scenes"):
        assert expected.strip() in words
    model = vitjax.load("resnet50", weights / "tiny.safetensors")
    (name, probability), *_ = vitjax.explain(PAPERS["das2025"].cnn_as(model), image_files[0], "grad_cam").best(0)
    assert name in words and f"{100 * probability:.1f} %" in words
    rows = [row for row in rows_of(tmp_path) if row["model"] == "resnet50"]
    assert [row["method"] for row in rows] == [f"grad_cam(layer=layer{number})" for number in (1, 2, 3, 4)]


def test_a_mask_is_resized_and_cropped_as_its_picture(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    Image.fromarray(rng.integers(0, 256, (90, 130, 3), dtype=np.uint8)).save(tmp_path / "images" / "a.png")
    mask = np.zeros((90, 130), np.uint8)
    mask[20:70, 15:60] = 255
    Image.fromarray(mask).save(tmp_path / "masks" / "a.png")
    model = load("vitjax_scenes")
    source = open_data(f"folder:{tmp_path}", model.labels, num_classes=None)
    pictures = pictures_of_files([tmp_path / "images" / "a.png"], tmp_path / "masks")
    (found,) = masks_for(model, pictures)
    np.testing.assert_array_equal(found, decode(source, 0, model.preprocessing).mask)
    assert 0 < (found == 255).mean() < 1


def test_focus_of_a_pixel_map_is_taken_on_the_patches():
    model, (scene,) = load("vitjax_scenes"), Scenes(1, seed=TEST_SEED, objects=2)
    mask = np.where(scene.masks[0], 255, 0).astype(np.uint8)
    explanation = vitjax.explain(model, scene.image, "saliency")
    ((faf, baf),) = focus_of(explanation, [mask])
    on_grid = explanation.maps[0].reshape(8, 8, 8, 8).mean((1, 3))
    expected = vitjax.metrics.focus(on_grid, mask)
    assert (faf, baf) == pytest.approx((float(expected.faf), float(expected.baf)), rel=1e-5)
    assert focus_of(explanation, [None]) == [None]


def materials_of(pictures, methods):
    subject = Subject.of(load("vitjax_scenes"), pictures)
    explanations = vitjax.explain_many(subject.model, subject.images, list(methods.values()))
    return Materials(dict(zip(methods, explanations.values(), strict=True)), {}, subject.masks)


def test_five_columns_have_the_mask_beside_the_image():
    materials = materials_of(pictures_of_scenes(2), {"Rollout": "rollout", "GMAR (L1)": "gmar", "LeGrad": "legrad"})
    (drawing,) = mask_column(materials).values()
    assert round(25.4 * drawing.get_size_inches()[0]) == 183
    words = [text.get_text() for text in texts(drawing)]
    assert {"Input", "Object mask", "Rollout†", "GMAR (L1)", "LeGrad"} <= set(words)
    pictures = sorted(
        drawing.axes[0].images, key=lambda image: (round(image.get_extent()[3], 2), image.get_extent()[0])
    )
    for row, (photo, mask) in enumerate(zip(materials.first.images.pixels, materials.masks, strict=True)):
        first, second, *overlays = (image.get_array() for image in pictures[5 * row : 5 * row + 5])
        np.testing.assert_array_equal(first, photo)
        np.testing.assert_array_equal(second[..., 0], mask)
        assert len(overlays) == 3 and not any((each == photo).all() for each in overlays)


def test_without_masks_there_is_no_column_of_them(image_files):  # noqa: F811
    materials = materials_of(pictures_of_files([image_files[0]], None), {"Rollout": "rollout", "GMAR (L1)": "gmar"})
    (drawing,) = mask_column(materials).values()
    words = [text.get_text() for text in texts(drawing)]
    assert "Object mask" not in words and "GMAR (L1)" in words and len(drawing.axes[0].images) == 3 + 1  # a colour bar


def test_masks_are_outlined_with_the_share_of_the_area():
    materials = materials_of(pictures_of_scenes(3), {"Rollout": "rollout"})
    (drawing,) = mask_outlines(materials).values()
    words = [text.get_text() for text in texts(drawing)]
    assert words.count("Object mask") == 3
    for mask in materials.masks:
        assert f"{100 * (mask == 255).mean():.0f} % of the area" in words
    assert len(drawing.axes[0].images) == 6 and len(drawing.axes[0].lines) >= 6  # two lines for each outline


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["das2025", "IMG", "--figures", "fusion"], "did you mean 'fusions'"),
        (["das2025", "IMG", "--figures", "focus"], "needs object masks: --masks DIR"),
        (["das2025", "--scenes", "1", "--figures", "stages"], "needs a ResNet: --cnn resnet50"),
        (["das2025", "IMG", "--scenes", "1"], "--scenes takes no images"),
        (["das2025", "--scenes", "0"], "scenes"),
        (["das2025", "IMG", "--masks", "nowhere"], "nowhere: mask folder does not exist"),
        (["das2025", "IMG", "--cnn", "resnet18"], "unknown CNN 'resnet18'"),
        (["das2025", "IMG", "--tables", "table2"], "--tables needs --data SPEC"),
        (["das2025", "--figures", "fusions"], "--figures needs images"),
        (["das2025", "nowhere.png"], "nowhere.png"),
        (["das2025", "IMG", "--weights", "nowhere.safetensors"], "pass --weights FILE or a hub id"),
        (["das2025", "IMG", "--model", "vitjax_scenes", "--target", "dalmatian"], "dalmatian"),
    ],
)
def test_errors_say_what_to_pass_before_anything_is_computed(arguments, message, image_files, tmp_path, capsys):  # noqa: F811
    given = [image_files[0] if argument == "IMG" else argument for argument in arguments]
    error = error_of(capsys, "paper", *given, "-o", tmp_path / "out")
    assert message in error and "Traceback" not in error
    assert not list((tmp_path / "out").rglob("*.*"))


def test_images_of_low_confidence_are_left_out_by_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vitjax.plots.save", lambda figure, path, pdf: [path])
    figure = FIGURES["coporan2025", "grid"]
    cheap = {title: method for title, method in figure.methods.items() if method in ("grad_cam", "rollout")}
    monkeypatch.setattr(type(figure), "methods", property(lambda self: cheap), raising=False)
    scenes = pictures_of_scenes(3)
    model = PAPERS["coporan2025"].model_as(load("vitjax_scenes"))
    confident = vitjax.explain(model, list(scenes.sources), "centre").probabilities.max(-1) >= 0.85
    assert confident.any() and not confident.all()
    main(["paper", "coporan2025", "--scenes", "3", "-o", str(tmp_path)])
    kept = [name for name, sure in zip(scenes.ids, confident, strict=True) if sure]
    assert sorted({row["image"] for row in rows_of(tmp_path)}) == sorted(kept)
    assert (
        "left out, predicted below 0.85: " + ", ".join(sorted(set(scenes.ids) - set(kept))) in capsys.readouterr().err
    )


@pytest.mark.slow
@pytest.mark.parametrize(("paper", "files"), [
    ("joita2025", {"grid.png", "grid_published.png"}),
    ("coporan2025", {"grid.png"}),
    ("vtranm2024", {"grid.png", "ablation.png"}),
])  # fmt: skip
def test_figures_of_the_other_papers_are_drawn_from_scenes(paper, files, tmp_path):
    main(["paper", paper, "--scenes", "2", "--pdf", "-o", str(tmp_path)])
    assert files_of(tmp_path) == files
    assert {path.stem for path in (tmp_path / "figures").glob("*.pdf")} == {name[:-4] for name in files}
    assert len({row["method"] for row in rows_of(tmp_path)}) >= 4


def test_focus_of_a_model_that_drops_pixels_takes_the_mask_that_its_patches_cover():
    """Patches of 8 cover 32 x 32 of 36 x 38 pixels; the object lies in the last column of patches and beyond."""
    model = tiny_model("remainder")
    mask = np.zeros((36, 38), np.uint8)
    mask[:, 24:] = 255
    images = np.random.default_rng(0).integers(0, 256, (1, 36, 38, 3), np.uint8)
    for label, explanation in vitjax.explain_many(model, images, ["rollout", "saliency"]).items():
        raw = explanation.maps[0].astype(np.float64)
        cells = raw if label == "rollout" else raw[:32, :32].reshape(4, 8, 4, 8).mean(axis=(1, 3))
        ((found, _),) = focus_of(explanation, [mask])
        np.testing.assert_allclose(found, cells[:, 3].sum() / cells.sum(), rtol=1e-5)
