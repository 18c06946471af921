"""What a record says is what explain and the metric's own function say."""

import dataclasses

import jax
import numpy as np
import pytest

import vitjax
from tests.cases import tiny_model
from tests.evaluating.world import METHODS, METRICS, Pictures, assert_same_rows, numbers, run
from vitjax import maps, metrics
from vitjax.errors import ConfigError, LabelError, UnknownNameError
from vitjax.explaining.inputs import Images
from vitjax.images.reading import normalise
from vitjax.methods import METHODS as REGISTRY
from vitjax.methods.contract import Method
from vitjax.rundir.saved_maps import read_maps


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "plain", Pictures(10, damaged=(3,)), save_maps="float32")


def pictures_of(source, model) -> tuple[Images, np.ndarray]:
    kept = [number for number in range(source.count) if number not in source.damaged]
    raws = [source.read(number) for number in kept]
    pixels = np.stack([raw.image for raw in raws])
    ids = tuple(source.ids[number] for number in kept)
    images = Images(normalise(pixels, model.preprocessing), pixels, ids, tuple({"file": None} for _ in ids))
    return images, np.stack([raw.mask for raw in raws])


def test_one_row_for_each_image_and_method(finished):
    rows = finished.records().to_pylist()
    assert [(row["index"], row["method"]) for row in rows] == [(i, m) for i in range(10) for m in METHODS]
    assert {row["status"] for row in rows if row["index"] != 3} == {"ok"}
    for row in rows[9:12]:
        assert row["status"] == "unreadable" and "not a picture" in row["cause"]
        assert np.isnan(row["energy_pointing_game.value"])


def test_rows_equal_explain_and_the_plain_metrics(finished):
    model, source = tiny_model("plain"), Pictures(10, damaged=(3,))
    images, masks = pictures_of(source, model)
    found = vitjax.explain_many(model, images, METHODS)
    records = finished.records()
    status = records["status"].to_pylist()
    for label, explanation in found.items():
        rows = [i for i, name in enumerate(records["method"].to_pylist()) if name == label and status[i] == "ok"]
        assert np.asarray(records["target"])[rows].tolist() == explanation.target.tolist()
        expected = jax.vmap(metrics.energy_pointing_game)(explanation.pixels(), masks)
        got = numbers(records)["energy_pointing_game.value"][rows]
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_saved_maps_give_the_localisation_figures_again(finished):
    records, source = finished.records().to_pylist(), Pictures(10)
    for method in METHODS:
        saved = read_maps(finished.directory, method)
        for row in records:
            if row["method"] != method or row["status"] != "ok":
                continue
            heat = np.asarray(maps.to_pixels(saved[row["image_id"]], (32, 32)), np.float64)
            mask = source.read(row["index"]).mask > 0
            assert row["energy_pointing_game.value"] == pytest.approx((heat * mask).sum() / heat.sum(), abs=1e-6)


def test_half_precision_maps_carry_their_scale(finished, tmp_path):
    half = run(tmp_path / "half", Pictures(10, damaged=(3,)), save_maps="float16")
    single = read_maps(finished.directory, "rollout")
    for name, heat in read_maps(half.directory, "rollout").items():
        np.testing.assert_allclose(heat, single[name], atol=1e-3 * np.abs(single[name]).max())


def test_rows_do_not_depend_on_the_batch(finished, tmp_path):
    other = run(tmp_path / "other", Pictures(10, damaged=(3,)), batch_size=3, save_maps="float32")
    assert_same_rows(finished.records(), other.records(), rtol=1e-5, atol=1e-6)


def test_slow_and_host_methods_and_explaining_metrics(tmp_path):
    methods = ["rollout", {"method": "smooth_grad", "n": 2}, "attention_flow"]
    wanted = run(tmp_path / "slow", Pictures(5), methods=methods, metrics=["energy_pointing_game"])
    rows = wanted.records()
    assert rows.num_rows == 15 and set(rows["status"].to_pylist()) == {"ok"}
    assert set(wanted.profile()["methods"]) >= {"smooth_grad(n=2)", "attention_flow"}
    again = run(tmp_path / "sensitive", Pictures(3), methods=["rollout"], metrics=["sensitivity"])
    assert set(again.records()["status"].to_pylist()) == {"ok"}
    with pytest.raises(ConfigError, match=r"'sensitivity'.*'attention_flow'"):
        run(tmp_path / "refused", Pictures(3), methods=["attention_flow"], metrics=["sensitivity"])


def test_targets_and_subsets(tmp_path):
    source = Pictures(12)
    labelled = run(tmp_path / "label", source, target="label").records()
    assert labelled["target"].to_pylist() == labelled["label"].to_pylist()
    assert set(labelled["target_kind"].to_pylist()) == {"label"}
    correct = run(tmp_path / "correct", source, only_correct=True).records().to_pylist()
    for row in correct:
        assert (row["status"] == "not_correct") == (row["prediction"] != row["label"])
    least = float(np.median(labelled["confidence"].to_numpy()))
    sure = run(tmp_path / "sure", source, min_confidence=least).records().to_pylist()
    for row in sure:
        assert (row["status"] == "low_confidence") == (row["confidence"] < least)
    assert {"ok", "low_confidence"} == {row["status"] for row in sure}


@pytest.mark.parametrize(("bad", "status"), [(np.nan, "not_finite"), (0.0, "degenerate")])
def test_useless_maps_are_counted_and_leave_the_others_alone(bad, status, tmp_path, monkeypatch):
    """FAILURES 13, 15: one image's map is constant or NaN."""

    def sometimes(config, params, image, target, *, key):
        ramp = image[::8, ::8, 0]
        return jax.numpy.where(image[0, 0, 0] > 0, ramp, bad)

    always = metrics.METRICS["focus"]._replace(record=lambda case: {"faf": case.label, "baf": case.label})
    monkeypatch.setitem(metrics.METRICS, "always", always)  # a number whatever the map is
    monkeypatch.setitem(REGISTRY, "sometimes", Method("Sometimes", "nobody", "0", explain=sometimes))
    wanted = [*METRICS, "always"]
    rows = run(tmp_path / "bad", Pictures(12), methods=["sometimes", "rollout"], metrics=wanted).records()
    kinds = rows["status"].to_pylist()
    assert set(kinds[0::2]) == {"ok", status} and set(kinds[1::2]) == {"ok"}
    alone = run(tmp_path / "alone", Pictures(12), methods=["rollout"], metrics=wanted).records()
    chosen = rows.filter(np.asarray(rows["method"].to_pylist()) == "rollout")
    assert_same_rows(chosen, alone, rtol=1e-6)
    for name, values in numbers(rows).items():
        if name != "confidence":
            assert np.isnan(values[np.asarray(kinds) == status]).all(), name


def test_everything_wrong_is_said_before_computing(tmp_path):
    for error, text, options in [
        (UnknownNameError, "did you mean 'rollout'", {"methods": ["rolout"]}),
        (UnknownNameError, "did you mean", {"metrics": ["mean_iuo"]}),
        (ConfigError, "needs object masks", {"source": Pictures(3, has_masks=False)}),
        (LabelError, "class 9 is out of range", {"target": 9}),
        (ConfigError, "no pictures", {"source": Pictures(0)}),
        (ConfigError, "save_maps='float8'", {"save_maps": "float8"}),
    ]:
        with pytest.raises(error, match=text):
            run(tmp_path / "never", options.pop("source", Pictures(3)), **options)
    assert not (tmp_path / "never").exists()


def test_ties_are_broken_by_the_image_not_by_its_place(tmp_path):
    """FAILURES 14: another order of the pictures, other batches, the same rows of each picture."""

    @dataclasses.dataclass(frozen=True)
    class Backwards(Pictures):
        @property
        def ids(self):
            return super().ids[::-1]

        @property
        def labels(self):
            return super().labels[::-1]

        def read(self, index):
            return super().read(self.count - 1 - index)

    metrics = [{"metric": "perturbation_auc", "levels": (0, 25, 50, 75, 100), "measure": "probability"}]
    found = []
    for source in (Pictures(7), Backwards(7)):
        rows = run(tmp_path / type(source).__name__, source, methods=["raw_attention"], metrics=metrics).records()
        order = np.argsort(rows["image_id"].to_pylist())
        found.append({name: values[order] for name, values in numbers(rows).items()})
    for name, values in found[0].items():
        np.testing.assert_allclose(values, found[1][name], rtol=1e-5, atol=1e-5, err_msg=name)
