"""`explain` and `explain_many`: inputs, results and errors."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

import vitjax
from tests.cases import tiny_images, tiny_model
from vitjax.errors import ConfigError, ImageError, LabelError, UnknownNameError
from vitjax.explaining.inputs import prepare
from vitjax.layerwise.fold import Fold
from vitjax.methods import METHODS, register
from vitjax.methods.building_blocks import patch_map
from vitjax.methods.contract import Method
from vitjax.models.class_names import Labels


@pytest.fixture(scope="module")
def model():
    labels = Labels(("tench", "goldfish", "tabby", "tiger cat", "crane", "ibex", "macaw"))
    return dataclasses.replace(tiny_model("plain"), labels=labels)


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (7, r"image 0: class 7 is out of range, the model has 7 classes"),
        (-1, r"image 0: class -1 is out of range"),
        ([0, 1000], r"image 1: class 1000 is out of range, the model has 7 classes"),
        ([0, 1.5], r"image 1: 1.5 is neither a class number"),
        (True, r"image 0: True is neither a class number"),
        ([0], r"1 targets for 2 images"),
        ("tabbi", r"tabbi.*tabby"),
    ],
)
def test_invalid_targets_raise_errors_that_name_image_and_value(model, target, message):
    with pytest.raises(LabelError, match=message):
        vitjax.explain(model, tiny_images(model, 2), target=target)


def test_targets_are_names_or_indices_and_may_differ_per_image(model):
    images = tiny_images(model, 3)
    explanation = vitjax.explain(model, images, "transformer_mm", target=["tabby", 5, None])
    predicted = explanation.logits[2].argmax()
    np.testing.assert_array_equal(explanation.target, [2, 5, predicted])


def test_class_name_is_rejected_if_the_model_has_no_names():
    model = tiny_model("plain")
    with pytest.raises(LabelError, match="no class names"):
        vitjax.explain(model, tiny_images(model, 1), target="tabby")


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        ("rolout", UnknownNameError, "unknown method 'rolout'; did you mean 'rollout'"),
        ({"method": "rollout", "head_fuson": "max"}, UnknownNameError, "head_fuson.*head_fusion"),
        (
            {"method": "rollout", "head_fusion": "sum"},
            ConfigError,
            "'sum' is not one of 'mean', 'max', 'min'",
        ),
        ({"method": "rollout", "discard_ratio": 1.0}, ConfigError, "discard_ratio"),
        ({"method": "rollout", "start_layer": 3}, ConfigError, "blocks 0 to 2"),
        ({"head_fusion": "max"}, ConfigError, "needs the key 'method'"),
    ],
)
def test_invalid_requests_raise_errors_that_name_the_option(model, request_, error, message):
    with pytest.raises(error, match=message):
        vitjax.explain_many(model, tiny_images(model, 1), [request_])


def test_method_is_rejected_if_the_model_lacks_a_required_part(model):
    headless = dataclasses.replace(model, config=dataclasses.replace(model.config, num_classes=0))
    with pytest.raises(ConfigError, match="'transformer_mm' needs a head that predicts a class, or the number"):
        vitjax.explain(headless, tiny_images(model, 1), "transformer_mm")
    assert vitjax.explain(headless, tiny_images(model, 1), "rollout").maps.shape == (1, 4, 4)


def test_other_image_size_resamples_positions_and_must_be_a_multiple_of_the_patch(model):
    rng = np.random.default_rng(0)
    larger = vitjax.explain(model, rng.normal(size=(1, 48, 40, 3)).astype(np.float32))
    assert larger.maps.shape == (1, 6, 5)
    assert larger.pixels().shape == (1, 48, 40)
    assert larger.model.weights["positions"]
    assert larger.model.config.image_size == (48, 40) and model.config.image_size == (32, 32)
    with pytest.raises(ConfigError, match="image height 30 is not a multiple of the patch size 8"):
        vitjax.explain(model, rng.normal(size=(1, 30, 32, 3)).astype(np.float32))


def test_float_arrays_are_checked(model):
    x = tiny_images(model, 3)
    with pytest.raises(ImageError, match=r"\[b, H, W, 3\]"):
        vitjax.explain(model, x[..., 0])
    x[1, 3, 3, 0] = np.nan
    with pytest.raises(ImageError, match=r"image 1 of the array contains NaN"):
        vitjax.explain(model, x)
    with pytest.raises(ImageError, match="no images"):
        vitjax.explain(model, [])


@pytest.mark.parametrize(
    ("scale", "shift", "advice"),
    [
        (1 / 255, 0, r"pixels of 0\.\.1: pass \(255 \* array\)"),
        (1, 0, r"pixels of 0\.\.255: pass array\.round"),
        (257, 0, "more than 8 bits"),
        (1, -120, "far beyond those of a normalised image"),
    ],
)
def test_floats_that_are_not_normalised_are_rejected_with_advice(model, photo, scale, shift, advice):
    x = photo.astype(np.float32)[:32, :32] * scale + shift
    for compute in (vitjax.explain, vitjax.trace, prepare, lambda model, x: vitjax.explain_many(model, x, ["rollout"])):
        with pytest.raises(ImageError, match=advice):
            compute(model, x)
    np.testing.assert_array_equal(prepare(model, x, normalised=True).x[0], x)
    assert vitjax.explain(model, x, normalised=True).images.x.max() == x.max()
    assert len(vitjax.explain_many(model, x, ["rollout"], normalised=True)) == 1
    assert vitjax.trace(model, x, normalised=True, score=None).attention.shape[0] == 1


def test_floats_with_channels_first_are_rejected_with_advice(model):
    with pytest.raises(ImageError, match=r"channels come first: pass array.transpose\(0, 2, 3, 1\)"):
        vitjax.explain(model, np.moveaxis(tiny_images(model, 2), -1, 1))


def test_what_a_user_may_not_expect_of_a_picture_is_said_once(model, photo, tmp_path):
    grey = np.random.default_rng(0).integers(0, 4096, (40, 40)).astype(np.uint16)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        Image.fromarray(grey).save(path)
    with pytest.warns(UserWarning, match="2 of 2 images are 16-bit files whose values use at most 14 bits") as said:
        explanation = vitjax.explain(model, paths)
    assert len(said) == 1
    source = explanation.images.sources[0]
    assert (source["bits"], source["notes"], source["crop"]) == (12, ["few_bits"], [0, 0, 40, 40])
    wide = prepare(model, np.zeros((40, 400, 3), np.uint8))
    assert wide.sources[0]["crop"] == [0, 180, 40, 220]
    assert wide.remarks() == ["1 of 1 images lose more than half of their area to the model's crop"]


def test_every_kind_of_image_input_gives_the_same_maps(model, photo, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    expected = vitjax.explain(model, model.preprocess(photo)).maps
    for source in (photo, Image.fromarray(photo), path, str(path), [photo]):
        np.testing.assert_array_equal(vitjax.explain(model, source).maps, expected)


def test_exif_orientation_is_applied_and_recorded(model, photo, tmp_path):
    path = tmp_path / "rotated.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(path, exif=exif, quality=95)
    upright, as_stored = prepare(model, path), prepare(model, path, exif="ignore")
    assert upright.sources[0]["exif_orientation"] == as_stored.sources[0]["exif_orientation"] == 6
    assert upright.sources[0]["size"] == [70, 50] and as_stored.sources[0]["size"] == [50, 70]
    np.testing.assert_array_equal(as_stored.x, model.preprocess(path))
    assert not np.array_equal(upright.x, as_stored.x)
    assert (upright.sources[0]["exif_applied"], as_stored.sources[0]["exif_applied"]) == (True, False)
    np.testing.assert_array_equal(vitjax.explain(model, path, exif="ignore").images.x, as_stored.x)
    with pytest.raises(ConfigError, match="exif='no' must be 'apply' or 'ignore'"):
        vitjax.explain(model, path, exif="no")


def test_damaged_images_are_skipped_only_on_request(model, photo, tmp_path):
    good, empty = tmp_path / "good.png", tmp_path / "empty.png"
    Image.fromarray(photo).save(good)
    empty.write_bytes(b"")
    with pytest.raises(ImageError, match=r"empty\.png"):
        prepare(model, [good, empty])
    images = prepare(model, [empty, good], skip_damaged=True)
    assert images.ids == ("good",)
    assert [record["file"] for record in images.skipped] == [str(empty)]
    with pytest.raises(ImageError, match=r"none of 1 images can be read.*empty.png"):
        prepare(model, [empty], skip_damaged=True)


def test_ids_are_unique_and_seeds_follow_the_id(model, photo, tmp_path):
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "same.png")
        Image.fromarray(photo).save(paths[-1])
    images = prepare(model, paths)
    assert images.ids == ("same", "same_2")
    alone = prepare(model, paths[0])
    assert alone.seeds()[0] == images.seeds()[0] != images.seeds()[1]


def test_constant_maps_are_degenerate_not_nan(model):
    def flat(config):
        """A fold whose state never changes."""
        return Fold(
            init=config.readout_weights(),
            summarise=lambda trace: trace.layer,
            step=lambda state, summary, layer: state,
            finish=lambda state, boundary: patch_map(config, state),
        )

    register("flat", Method(title="Flat", cite="test", cost="1F", fold=flat))
    try:
        with pytest.raises(ConfigError, match="already registered"):
            register("flat", METHODS["flat"])
        explanation = vitjax.explain(model, tiny_images(model, 2), "flat")
        assert explanation.degenerate.all()
        np.testing.assert_array_equal(explanation.pixels(), 0)
        assert explanation.overlay(1).size == (32, 32)
    finally:
        del METHODS["flat"]
    assert not vitjax.explain(model, tiny_images(model, 2), "rollout").degenerate.any()


def test_save_writes_raw_maps_and_a_strip_per_image(model, tmp_path):
    explanation = vitjax.explain(model, tiny_images(model, 2), "rollout", head_fusion="max")
    written = explanation.save(tmp_path, pdf=True)
    assert sorted(path.name for path in written) == sorted(path.name for path in tmp_path.iterdir())
    saved = np.load(tmp_path / "rollout_head_fusion-max.npz")
    np.testing.assert_array_equal(saved["maps"], explanation.maps)
    np.testing.assert_array_equal(saved["ids"], ["image0", "image1"])
    with Image.open(tmp_path / "image1_rollout_head_fusion-max.png") as strip:
        assert strip.width > strip.height


def test_explanations_with_different_options_have_different_keys(model):
    explanations = vitjax.explain_many(
        model, tiny_images(model, 1), ["rollout", {"method": "rollout", "head_fusion": "max"}, "rollout"]
    )
    assert list(explanations) == ["rollout", "rollout(head_fusion=max)"]
    assert explanations["rollout"].options["head_fusion"] == "mean"
    assert not np.allclose(*(explanation.maps for explanation in explanations.values()))
