"""Arrays that the plain functions of the metrics refuse, by shape, kind and values; in jit and vmap as well."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.metrics.helpers import CLASSES, SIZE, Classifier, case, mask_of, random_image, tie_free
from vitjax import metrics
from vitjax.errors import ConfigError

pytestmark = pytest.mark.unoptimised

MASKED = ("counts", "pixel_accuracy", "iou", "mean_iou", "average_precision", "f1", "jaccard", "pointing_game")
MASKED += ("energy_pointing_game", "energy_scores")
FAITHFULNESS = ("deletion", "insertion", "aopc", "log_odds", "perturbation_auc")
MASKS = [
    (mask_of()[..., None], r"mask \[24, 16, 1\]: must be one mask"),
    (mask_of()[:12], r"heatmap \[24, 16\] and mask \[12, 16\]: must have one shape"),
    (mask_of().T, r"heatmap \[24, 16\] and mask \[16, 24\]: must have one shape"),
    (mask_of() / 255, r"mask \[24, 16\]: float64, must be bool, or 0"),
    (np.where(mask_of(), 7, 0), r"mask \[24, 16\]: contains 7, must be bool, or 0"),
    (np.where(mask_of(), 15, 255), r"mask \[24, 16\]: contains 15, must be"),
]
MAPS = [
    (np.stack([tie_free()] * 3), r"heatmap \[3, 24, 16\].*: must"),
    (tie_free()[:4, :4], r"heatmap \[4, 4\] and mask \[24, 16\]: must have one shape"),
    (tie_free() > 0.5, r"heatmap \[24, 16\]: bool, must be floats"),
    ((tie_free() * 255).astype(np.uint8), r"heatmap \[24, 16\]: uint8, must be floats"),
    (tie_free() - 0.5, r"heatmap \[24, 16\]: values from -0.5 to 0.5, must be in \[0, 1\]"),
]


@pytest.mark.parametrize("name", MASKED)
def test_masks_and_maps_of_another_form_are_refused(name):
    function = getattr(metrics, name)
    for mask, message in MASKS:
        with pytest.raises(ConfigError, match=message):
            function(tie_free(), mask)
    for heatmap, message in MAPS:
        with pytest.raises(ConfigError, match=message):
            function(heatmap, mask_of())


@pytest.mark.parametrize("name", MASKED)
def test_shapes_are_checked_under_jit_and_vmap(name):
    function = getattr(metrics, name)
    for mask, message in MASKS[:4]:
        with pytest.raises(ConfigError, match=message.replace("float64", "float32")):
            jax.jit(function)(tie_free(), mask)
    with pytest.raises(ConfigError, match=r"heatmap \[24, 16\] and mask \[16\]|mask \[16\]: must be one mask"):
        jax.vmap(function)(np.stack([tie_free()] * 24), mask_of())


def test_masks_of_every_accepted_form_give_one_figure():
    truth = mask_of() == 255
    figures = [
        float(metrics.iou(tie_free(), mask))
        for mask in (truth, truth.astype(int), truth.astype(np.uint8) * 255, jnp.asarray(truth))
    ]
    assert figures == [figures[0]] * 4 and 0 < figures[0] < 1


def test_focus_needs_a_mask_that_its_grid_divides():
    raw = tie_free()[:6, :4]
    assert np.isfinite(metrics.focus(raw, mask_of()).faf)
    assert np.isfinite(metrics.focus(raw, np.ones((27, 18), bool) & (np.arange(18) > 8)).faf)  # 4.5 pixels a cell
    for mask in (mask_of().T, mask_of()[:3, :2], mask_of()[..., None]):
        with pytest.raises(ConfigError, match="mask "):
            metrics.focus(raw, mask)


@pytest.mark.parametrize("name", FAITHFULNESS)
def test_maps_images_and_classes_of_another_form_are_refused(name):
    function = getattr(metrics, name)
    classes = {} if name == "perturbation_auc" else {"target": 2}
    right = {"heatmap": tie_free(), "image": random_image(), "forward": Classifier(), **classes}
    for changed, message in (
        ({"heatmap": tie_free()[:6, :4]}, r"heatmap \[6, 4\] and image \[24, 16, 3\]: must be"),
        ({"heatmap": np.stack([tie_free()] * 2)}, r"heatmap \[2, 24, 16\]: must be one map"),
        ({"image": random_image()[None]}, r"image \[1, 24, 16, 3\]: must be"),
        ({"image": np.zeros((*SIZE, 3), np.uint8)}, r"image \[24, 16, 3\]: uint8, must be floats"),
        ({"forward": lambda images: Classifier()(images)[0]}, r"forward: returns \[5\] for one image"),
        ({"chunk": 0}, "chunk=0: must be at least 1"),
        ({"ties": "last"}, "ties='last' is not one of"),
        (dict.fromkeys(classes, CLASSES), "target=5: the model has classes 0 to 4"),
        (dict.fromkeys(classes, -1), "target=-1: the model has classes 0 to 4"),
        (dict.fromkeys(classes, 1.0), "target=1.0: must be one whole number"),
    ):
        if changed:
            with pytest.raises(ConfigError, match=message):
                function(**{**right, **changed})


def test_options_of_plain_functions_are_checked_as_in_requests():
    for function, options, message in (
        (metrics.iou, {"threshold": float("nan")}, "metric 'iou': threshold=nan is not 'mean' or a finite number"),
        (metrics.iou, {"threshold": 50}, r"metric 'iou': threshold=50: must be in \[0, 1\)"),
        (metrics.f1, {"average": "columns"}, "metric 'f1': average='columns' is not one of"),
        (metrics.pointing_game, {"tolerance": 10**9}, "tolerance=1000000000: must be in"),
        (metrics.energy_pointing_game, {"binarise": 1}, r"binarise=1: must be in \[0, 1\)"),
        (metrics.energy_pointing_game, {"part": "negative"}, "part='negative' is not one of 'whole', 'positive'"),
    ):
        with pytest.raises(ConfigError, match=message):
            function(tie_free(), mask_of(), **options)
    with pytest.raises(ConfigError, match="metric 'sensitivity': n=0: must be at least 1"):
        metrics.sensitivity(lambda image: image[..., 0], random_image(), tie_free(), n=0, key=jax.random.key(0))


def test_explanations_of_another_shape_are_refused():
    with pytest.raises(ConfigError, match=r"explain\(image\) and raw: shapes \[6, 4\] and \[24, 16\]"):
        metrics.sensitivity(lambda image: image[:6, :4, 0], random_image(), tie_free(), key=jax.random.key(0))
    with pytest.raises(ConfigError, match=r"a and b: shapes \[24, 16\] and \[16, 24\]"):
        metrics.spearman(tie_free(), tie_free().T)
    with pytest.raises(ConfigError, match=r"a .*: bool, must be floats"):
        metrics.spearman(tie_free() > 0.5, tie_free())
    with pytest.raises(ConfigError, match=r"heatmap \[2, 24, 16\]: must be one map"):
        metrics.complexity(np.stack([tie_free()] * 2))
    with pytest.raises(ConfigError, match="target=3: the model has classes 0 to 1"):
        metrics.random_target(lambda target: tie_free(), tie_free(), 3, 2, key=jax.random.key(0))


def test_energy_of_the_positive_part_is_the_share_of_positive_relevance():
    raw, mask = tie_free() - 0.75, mask_of(ignore=True)
    positive = np.where(mask == 128, 0, np.maximum(raw.astype(np.float64), 0))
    expected = positive[mask == 255].sum() / positive.sum()
    assert float(metrics.energy_pointing_game(raw, mask, part="positive")) == pytest.approx(expected, abs=1e-6)
    record = metrics.METRICS["energy_pointing_game"].record
    columns = record(case(heatmap=raw, mask=jnp.asarray(mask)), part="positive")
    assert float(columns["value"]) == pytest.approx(expected, abs=1e-6)
    whole = record(case(heatmap=raw, mask=jnp.asarray(mask)))
    assert float(whole["value"]) == pytest.approx(float(metrics.energy_pointing_game(tie_free(), mask)), abs=1e-6)
    assert np.isnan(metrics.energy_pointing_game(-tie_free(), mask, part="positive"))
