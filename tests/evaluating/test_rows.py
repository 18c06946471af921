"""Records equal the results of `explain` and of the metric functions."""

import dataclasses
from functools import partial

import jax
import numpy as np
import pytest

import vitjax
from tests.cases import tiny_model
from tests.evaluating.world import METHODS, METRICS, Pictures, assert_same_records, metric_values, run
from vitjax import maps, metrics
from vitjax.data.source import Raw
from vitjax.errors import ConfigError, LabelError, UnknownNameError
from vitjax.explaining.inputs import Images
from vitjax.images.reading import normalise
from vitjax.methods import METHODS as REGISTRY
from vitjax.methods.contract import Method
from vitjax.metrics.masks import mask_on_grid
from vitjax.rundir.saved_maps import read_maps


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "plain", Pictures(10, damaged=(3,)), save_maps="float32")


def images_and_masks(source, model) -> tuple[Images, np.ndarray]:
    """All usable images of a source, as `explain` takes them, and their masks."""
    usable = [index for index in range(source.count) if index not in source.damaged]
    raws = [source.read(index) for index in usable]
    pixels = np.stack([raw.image for raw in raws])
    ids = tuple(source.ids[index] for index in usable)
    images = Images(normalise(pixels, model.preprocessing), pixels, ids, tuple({"file": None} for _ in ids))
    return images, np.stack([raw.mask for raw in raws])


def test_one_record_for_each_image_and_method(finished):
    records = finished.records().to_pylist()
    expected = [(index, method) for index in range(10) for method in METHODS]
    assert [(record["index"], record["method"]) for record in records] == expected
    assert {record["status"] for record in records if record["index"] != 3} == {"ok"}
    for record in records[9:12]:
        assert record["status"] == "unreadable" and "not an image" in record["cause"]
        assert np.isnan(record["energy_pointing_game.value"])


def test_records_equal_explain_and_the_metric_functions(finished):
    model, source = tiny_model("plain"), Pictures(10, damaged=(3,))
    images, masks = images_and_masks(source, model)
    explanations = vitjax.explain_many(model, images, METHODS)
    records = finished.records()
    status = records["status"].to_pylist()
    for label, explanation in explanations.items():
        indices = [i for i, name in enumerate(records["method"].to_pylist()) if name == label and status[i] == "ok"]
        assert np.asarray(records["target"])[indices].tolist() == explanation.target.tolist()
        expected = jax.vmap(metrics.energy_pointing_game)(explanation.pixels(), masks)
        recorded = metric_values(records)["energy_pointing_game.value"][indices]
        np.testing.assert_allclose(recorded, expected, rtol=1e-5)


def test_maps_and_masks_of_a_model_that_drops_pixels_meet_where_the_model_saw_them(tmp_path):
    """Images of 36 x 38 pixels in patches of 8: 4 x 4 of them cover the upper left 32 x 32."""

    class Wider(Pictures):
        def read(self, index):
            raw = super().read(index)
            image, mask = np.full((36, 38, 3), 255, np.uint8), np.full((36, 38), 255, np.uint8)
            image[:32, :32], mask[:32, :32] = raw.image, raw.mask
            return Raw(image, mask)

    model, source, methods = tiny_model("remainder"), Wider(4), ["rollout", "saliency"]
    wanted = [
        "focus",
        "energy_pointing_game",
        {"metric": "average_precision", "resolution": "grid", "kind": "foreground"},
    ]
    table = run(tmp_path / "run", source, model=model, methods=methods, metrics=wanted, batch_size=2).records()
    images, masks = images_and_masks(source, model)
    for method, explanation in vitjax.explain_many(model, images, methods).items():
        records = {name: values[np.asarray(table["method"]) == method] for name, values in metric_values(table).items()}
        seen = explanation.maps if method == "rollout" else explanation.maps[:, :32, :32]
        assert seen.shape[1:] == ((4, 4) if method == "rollout" else (32, 32))
        if method == "rollout":
            expected = np.pad([maps.to_pixels(each, (32, 32)) for each in seen], [(0, 0), (0, 4), (0, 6)], mode="edge")
            np.testing.assert_allclose(explanation.pixels(), expected, atol=1e-6)
        cells = seen.reshape(4, 4, seen.shape[1] // 4, 4, -1).mean(axis=(2, 4))
        energies = jax.vmap(metrics.energy_pointing_game)(explanation.pixels(), masks)
        np.testing.assert_allclose(records["energy_pointing_game.value"], energies, rtol=1e-5)
        focus = [metrics.focus(each, mask).faf for each, mask in zip(cells, masks[:, :32, :32], strict=True)]
        np.testing.assert_allclose(records["focus.faf"], focus, rtol=1e-5)
        on_grid = jax.vmap(lambda mask: mask_on_grid(mask, (4, 4), "nearest"))(masks[:, :32, :32])
        precision = jax.vmap(partial(metrics.average_precision, kind="foreground"))(
            jax.vmap(maps.normalise)(cells), on_grid
        )
        np.testing.assert_allclose(records[next(name for name in records if "precision" in name)], precision, rtol=1e-5)


def test_saved_maps_reproduce_the_localisation_metric(finished):
    records, source = finished.records().to_pylist(), Pictures(10)
    for method in METHODS:
        saved = read_maps(finished.directory, method)
        for record in records:
            if record["method"] != method or record["status"] != "ok":
                continue
            heatmap = np.asarray(maps.to_pixels(saved[record["image_id"]], (32, 32)), np.float64)
            mask = source.read(record["index"]).mask > 0
            expected = (heatmap * mask).sum() / heatmap.sum()
            assert record["energy_pointing_game.value"] == pytest.approx(expected, abs=1e-6)


def test_float16_maps_are_read_with_their_scale(finished, tmp_path):
    half = run(tmp_path / "half", Pictures(10, damaged=(3,)), save_maps="float16")
    single = read_maps(finished.directory, "rollout")
    for name, raw in read_maps(half.directory, "rollout").items():
        np.testing.assert_allclose(raw, single[name], atol=1e-3 * np.abs(single[name]).max())


def test_records_do_not_depend_on_the_batch_size(finished, tmp_path):
    other = run(tmp_path / "other", Pictures(10, damaged=(3,)), batch_size=3, save_maps="float32")
    assert_same_records(finished.records(), other.records(), rtol=1e-5, atol=1e-6)


def test_slow_and_host_methods_and_explainer_metrics(tmp_path):
    methods = ["rollout", {"method": "smooth_grad", "n": 2}, "attention_flow"]
    slow = run(tmp_path / "slow", Pictures(5), methods=methods, metrics=["energy_pointing_game"])
    records = slow.records()
    assert records.num_rows == 15 and set(records["status"].to_pylist()) == {"ok"}
    assert set(slow.profile()["methods"]) >= {"smooth_grad(n=2)", "attention_flow"}
    sensitivity = run(tmp_path / "sensitivity", Pictures(3), methods=["rollout"], metrics=["sensitivity"])
    assert set(sensitivity.records()["status"].to_pylist()) == {"ok"}
    with pytest.raises(ConfigError, match=r"'sensitivity'.*'attention_flow'"):
        run(tmp_path / "refused", Pictures(3), methods=["attention_flow"], metrics=["sensitivity"])


def test_targets_and_subsets(tmp_path):
    source = Pictures(12)
    labelled = run(tmp_path / "label", source, target="label").records()
    assert labelled["target"].to_pylist() == labelled["label"].to_pylist()
    assert set(labelled["target_kind"].to_pylist()) == {"label"}
    correct = run(tmp_path / "correct", source, only_correct=True).records().to_pylist()
    for record in correct:
        assert (record["status"] == "not_correct") == (record["prediction"] != record["label"])
    threshold = float(np.median(labelled["confidence"].to_numpy()))
    confident = run(tmp_path / "confident", source, min_confidence=threshold).records().to_pylist()
    for record in confident:
        assert (record["status"] == "low_confidence") == (record["confidence"] < threshold)
    assert {"ok", "low_confidence"} == {record["status"] for record in confident}


@pytest.mark.parametrize(("bad", "status"), [(np.nan, "not_finite"), (0.0, "degenerate")])
def test_constant_and_non_finite_maps_get_a_status_and_do_not_affect_others(bad, status, tmp_path, monkeypatch):
    """The maps of some images are constant or NaN."""

    def sometimes(config, params, image, target, *, key):
        ramp = image[::8, ::8, 0]
        return jax.numpy.where(image[0, 0, 0] > 0, ramp, bad)

    always = metrics.METRICS["focus"]._replace(record=lambda case: {"faf": case.label, "baf": case.label})
    monkeypatch.setitem(metrics.METRICS, "always", always)  # defined for every map
    monkeypatch.setitem(REGISTRY, "sometimes", Method("Sometimes", "nobody", "0", explain=sometimes))
    requested = [*METRICS, "always"]
    records = run(tmp_path / "bad", Pictures(12), methods=["sometimes", "rollout"], metrics=requested).records()
    statuses = records["status"].to_pylist()
    assert set(statuses[0::2]) == {"ok", status} and set(statuses[1::2]) == {"ok"}
    alone = run(tmp_path / "alone", Pictures(12), methods=["rollout"], metrics=requested).records()
    of_rollout = records.filter(np.asarray(records["method"].to_pylist()) == "rollout")
    assert_same_records(of_rollout, alone, rtol=1e-6)
    for name, values in metric_values(records).items():
        if name != "confidence":
            assert np.isnan(values[np.asarray(statuses) == status]).all(), name


def test_invalid_arguments_are_rejected_before_any_computation(tmp_path):
    for error, text, options in [
        (UnknownNameError, "did you mean 'rollout'", {"methods": ["rolout"]}),
        (UnknownNameError, "did you mean", {"metrics": ["mean_iuo"]}),
        (ConfigError, "needs object masks", {"source": Pictures(3, has_masks=False)}),
        (LabelError, "class 9 is out of range", {"target": 9}),
        (ConfigError, "contains no images", {"source": Pictures(0)}),
        (ConfigError, "save_maps='float8'", {"save_maps": "float8"}),
    ]:
        with pytest.raises(error, match=text):
            run(tmp_path / "never", options.pop("source", Pictures(3)), **options)
    assert not (tmp_path / "never").exists()


def test_ties_are_broken_by_the_image_id_and_not_by_the_order(tmp_path):
    """In another order, and so in other batches, images have the same records."""

    @dataclasses.dataclass(frozen=True)
    class Reversed(Pictures):
        @property
        def ids(self):
            return super().ids[::-1]

        @property
        def labels(self):
            return super().labels[::-1]

        def read(self, index):
            return super().read(self.count - 1 - index)

    metrics = [{"metric": "perturbation_auc", "levels": (0, 25, 50, 75, 100), "measure": "probability"}]
    results = []
    for source in (Pictures(7), Reversed(7)):
        records = run(tmp_path / type(source).__name__, source, methods=["raw_attention"], metrics=metrics).records()
        order = np.argsort(records["image_id"].to_pylist())
        results.append({name: values[order] for name, values in metric_values(records).items()})
    for name, values in results[0].items():
        np.testing.assert_allclose(values, results[1][name], rtol=1e-5, atol=1e-5, err_msg=name)
