"""Evaluation of models from functions: every metric, resumed runs, and what identifies the function."""

import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests.evaluating.world import Pictures, assert_same_records, child, finish, run
from tests.models.function_models import nnx_model, plain_apply, plain_model
from vitjax.errors import ConfigError, RunError
from vitjax.metrics.randomization import is_layered, random_weights, randomised_from_cut

pytestmark = pytest.mark.unoptimised

HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
CHEAP = {"deletion": {"step": 512}, "insertion": {"step": 512}, "sensitivity": {"n": 1}}


def model_of(apply, params, **options):
    return vitjax.from_function(apply, params, image_size=32, preprocess=HALF, **options)


def test_all_metrics_run_on_a_function(tmp_path):
    metrics = [{"metric": name, **CHEAP.get(name, {})} for name in vitjax.METRICS]
    model = model_of(*plain_model(7))
    done = run(tmp_path / "run", Pictures(2), model=model, methods=["grad_cam", "saliency"], metrics=metrics)
    records = done.records()
    assert done.finished and set(records["status"].to_pylist()) <= {"ok", "degenerate"}
    of_metrics = {name.split(".")[0].split("(")[0] for name in records.column_names if "." in name}
    assert of_metrics == set(vitjax.METRICS)
    curves = np.asarray(records["randomization.curve"].to_pylist())
    fine = np.asarray(records["status"].to_pylist()) == "ok"
    assert curves.shape == (4, 2) and fine.any()
    assert np.allclose(curves[fine, 0], 1) and (curves[fine, 1] < 0.99).all()


def test_a_run_is_resumed_with_the_same_function_and_with_no_other(tmp_path):
    apply, params = plain_model(7)
    options = {"methods": ["grad_cam", "rise:n=4"], "metrics": ["iou", "deletion:step=512"], "batch_size": 2}
    whole = run(tmp_path / "whole", Pictures(6), model=model_of(apply, params), chunk_size=2, **options)
    part = tmp_path / "part"
    run(part, Pictures(6), model=model_of(apply, params), chunk_size=2, process=(0, 2), **options)
    again = model_of(lambda params, image: plain_apply(params, image), params)  # another object, the same program
    resumed = run(part, Pictures(6), model=again, chunk_size=2, **options)
    assert resumed.finished
    assert_same_records(whole.records(), resumed.records())
    doubled = model_of(lambda params, image: 2 * plain_apply(params, image)[0] + 0, params)
    with pytest.raises(ConfigError, match="'grad_cam' needs a feature map"):
        run(part, Pictures(6), model=doubled, chunk_size=2, **options)

    def other(params, image):
        logits, maps = plain_apply(params, image)
        return 2 * logits, maps

    with pytest.raises(RunError, match=r"other settings[\s\S]*model\.weights\.function"):
        run(part, Pictures(6), model=model_of(other, params), chunk_size=2, **options)
    with pytest.raises(RunError, match=r"other settings[\s\S]*model\.sha256"):
        run(part, Pictures(6), model=model_of(*plain_model(7, seed=1)), chunk_size=2, **options)


def test_the_report_has_overlays_while_the_model_is_in_memory(tmp_path, capsys):
    done = run(tmp_path / "run", Pictures(3), model=model_of(*plain_model(7)), methods=["grad_cam"], metrics=["iou"])
    page = next(path for path in done.report() if path.name == "report.html").read_text(encoding="utf-8")
    assert "data:image/png" in page or "data:image/jpeg" in page
    vitjax.Run(tmp_path / "run").report()
    assert "were objects in memory and cannot be opened again" in capsys.readouterr().err


def test_state_with_keys_and_counters_is_evaluated_and_randomised(tmp_path):
    """An nnx state with the key of a dropout and the statistics of a batch norm."""
    built = nnx_model("cnn")
    model = model_of(built.apply, built.params)
    metrics = ["randomization", "sensitivity:n=1"]
    done = run(tmp_path / "run", Pictures(1), model=model, methods=["saliency"], metrics=metrics, target=1)
    assert done.records()["status"].to_pylist() == ["ok"]
    (value,) = done.records()["randomization.value"].to_pylist()
    assert value < 1


@pytest.mark.slow
def test_devices_give_the_same_records(tmp_path):
    code = """
import jax
from tests.evaluating.test_function_models import model_of, nnx_model

built = nnx_model("cnn")
options = {"methods": ["grad_cam", "rise:n=4"], "metrics": ["iou", "randomization", "deletion:step=512"], "target": 1}
for count in (1, 3):
    model = model_of(built.apply, built.params)
    run(Path(OUT) / str(count), Pictures(5), model=model, devices=jax.devices()[:count], **options)
"""
    finish(child(code.replace("OUT", repr(str(tmp_path))), devices=3))
    one, three = (vitjax.Run(tmp_path / name).records() for name in "13")
    assert_same_records(one, three, rtol=1e-5, atol=1e-6)


def test_randomisation_of_a_tree_without_known_order():
    params = {
        "layer1": [jnp.arange(4.0), jnp.arange(3)],
        "norm": {"mean": jnp.ones(3), "scale": jnp.arange(2.0)},
    }
    assert is_layered({"layer1": {}}) and is_layered({"blocks": {}}) and not is_layered([jnp.ones(2)])
    cuts = randomised_from_cut(params, layered=False)
    assert cuts == {"layer1": [1, 2], "norm": {"mean": 2, "scale": 1}}
    drawn = random_weights(params, 0, layered=False)
    assert drawn["layer1"][1] is params["layer1"][1] and not np.allclose(drawn["layer1"][0], params["layer1"][0])


def test_a_feature_is_evaluated_and_none_is_without_a_target(tmp_path):
    model = model_of(*plain_model(5), num_classes=0)
    named = run(tmp_path / "named", Pictures(2), model=model, methods=["saliency"], metrics=["iou"], target=4)
    records = named.records()
    assert records["target"].to_pylist() == [4, 4] and records["target_kind"].to_pylist() == ["feature"] * 2
    assert records["prediction"].to_pylist() == [-1, -1] and np.isnan(records["confidence"].to_numpy()).all()
    unnamed = run(tmp_path / "unnamed", Pictures(2), model=model, methods="all", metrics=["iou"])
    records = unnamed.records()
    assert set(records["method"].to_pylist()) == {"centre", "random"}
    assert records["target"].to_pylist() == [-1] * 4 and set(records["target_kind"].to_pylist()) == {"none"}
    page = next(path for path in unnamed.report() if path.name == "report.html").read_text(encoding="utf-8")
    assert "explained class" in page and "class -1" not in page and "feature -1" not in page
