"""Every metric in METRICS satisfies the interface of `Metric`, for a tiny model, compiled for a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import tiny_images, tiny_model
from tests.metrics.helpers import compiled
from vitjax import maps, metrics
from vitjax.errors import ConfigError, UnknownNameError
from vitjax.metrics import METRICS
from vitjax.metrics.contract import Case
from vitjax.nn.network import network

pytestmark = pytest.mark.unoptimised

QUICK = {
    "deletion": {"step": 256},
    "insertion": {"step": 256},
    "sensitivity": {"n": 2},
    "randomization": {"cuts": (1,)},
}
OTHER = {
    "f1": {"threshold": 0.5, "average": "rows", "resolution": "grid", "mask_to_grid": "area"},
    "average_precision": {"kind": "foreground", "resolution": "grid"},
    "energy_pointing_game": {"binarise": 0.3},
    "perturbation_auc": {"levels": [10, 50], "fill": "black", "measure": "probability", "ties": "first", "chunk": 2},
    "insertion": {"step": 512, "start": "zeros", "steps": 1},
}


def explain(params, image, target):
    """A map of the tiny model on its 4 x 4 patches, from patch embeddings and the head's weights of the class."""
    patches = image.reshape(4, 8, 4, 8, 3).transpose(0, 2, 1, 3, 4).reshape(4, 4, -1)
    embedded = patches @ params["patch_embed"]["proj"]["kernel"]
    return jnp.tanh(embedded) @ params["head"]["kernel"][:, target]


@pytest.fixture(scope="module", params=[QUICK, pytest.param(OTHER, marks=pytest.mark.slow)], ids=["quick", "other"])
def batch(request):
    """(options by metric, columns of three images by metric)."""
    given = {name: {**QUICK.get(name, {}), **request.param.get(name, {})} for name in METRICS}
    filled = {name: METRICS[name].check_options(name, options) for name, options in given.items()}
    model = tiny_model("plain")
    module = network(model.config)
    x = jnp.asarray(tiny_images(model, 3))
    masks = np.random.default_rng(0).choice([0, 128, 255], (3, 32, 32)).astype(np.uint8)

    def forward(images):
        return jax.vmap(lambda image: module.apply({"params": model.params}, image))(images)

    def one(image, mask, number):
        logits = forward(image[None])[0]
        target = jnp.argmax(logits)
        raw = explain(model.params, image, target)
        case = Case(
            raw=raw,
            heatmap=maps.to_pixels(raw, (32, 32)),
            mask=mask,
            image=image,
            logits=logits,
            target=target,
            label=number,
            grid=(4, 4),
            key=jax.random.fold_in(jax.random.key(0), number),
            black=jnp.full(3, -1.0),
            forward=forward,
            explain=explain,
            params=model.params,
        )
        return {name: METRICS[name].record(case, **options) for name, options in filled.items()}

    return filled, jax.device_get(compiled(jax.vmap(one))(x, masks, jnp.arange(3)))


@pytest.mark.parametrize("name", METRICS)
def test_metric_satisfies_the_interface(name, batch):
    metric = METRICS[name]
    assert getattr(metrics, name) is metric.function
    for section in ("Returns", "Source", "Example:", "NaN"):
        assert section in metric.function.__doc__, section
    options, columns = batch[0][name], batch[1][name]
    for values in columns.values():
        assert values.shape[0] == 3 and values.ndim <= 2
        assert np.isfinite(values).all() and values.dtype == np.float32
    curves = metric.curves(options)
    assert {column for column, values in columns.items() if values.ndim == 2} == set(curves)
    for column, x in curves.items():
        assert x is None or len(x) == columns[column].shape[1]
    for statistic in metric.figures(options).values():
        values = [columns[column].astype(np.float64) for column in statistic.columns]
        total = statistic.aggregate(*values)
        resampled = statistic.aggregate(*(np.stack([column, column[::-1]]) for column in values))
        assert total.shape == () and resampled.shape == (2,)
        np.testing.assert_allclose(resampled, total)
    assert metric.ends(options) <= {"mean", "black", "blur", "blur_reflect"}


def test_better_directions():
    better = {
        f"{name}{':' + key if key else ''}": statistic.better
        for name, metric in METRICS.items()
        for key, statistic in metric.figures(metric.options).items()
    }
    lower = {name for name, direction in better.items() if direction == "lower"}
    assert lower == {
        *("focus:baf", "perturbation_auc:positive", "perturbation_auc:positive_label", "log_odds", "deletion"),
        *("sensitivity", "randomization", "randomization:random_target"),
    }
    assert {name for name, direction in better.items() if direction is None} == {
        "complexity:entropy",
        "complexity:gini",
    }


def test_find_and_register():
    assert metrics.find_metric("aopc") is METRICS["aopc"]
    with pytest.raises(UnknownNameError, match="did you mean 'insertion'"):
        metrics.find_metric("insertoin")
    with pytest.raises(ConfigError, match="already registered"):
        metrics.register("iou", METRICS["iou"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("iou", {"threshold": "median"}, "threshold='median' is not 'mean' or a finite number"),
        ("iou", {"threshold": True}, "not 'mean' or a finite number"),
        ("iou", {"resolution": "patches"}, "not one of 'pixels', 'grid'"),
        ("aopc", {"levels": 5}, "not a list, each a finite number"),
        ("aopc", {"absolute": 1}, "not true or false"),
        ("deletion", {"step": 1.5}, "not a whole number"),
        ("energy_pointing_game", {"binarise": "yes"}, "not a finite number or none"),
    ],
)
def test_invalid_option_values_are_rejected(name, options, message):
    with pytest.raises(ConfigError, match=message):
        METRICS[name].check_options(name, options)


def test_default_options_are_filled_in():
    assert METRICS["iou"].check_options("iou", {"threshold": 0.5})["resolution"] == "pixels"
    assert METRICS["aopc"].check_options("aopc", {"levels": [0, 50]})["levels"] == (0, 50)
    with pytest.raises(UnknownNameError, match="did you mean 'threshold'"):
        METRICS["iou"].check_options("iou", {"treshold": 0.5})
