"""benchmarks.speed: the peers compute the same maps as vitjax; rounds, ratios and the rendering of results."""

import copy
import json
import sys

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

import vitjax
from benchmarks import speed
from benchmarks.harness import (
    BATCHED,
    FEWEST_ROUNDS,
    FORWARD,
    HOOKS,
    LEAN,
    OURS,
    OURS_SAME,
    Case,
    measure,
    random_model,
    ratio,
    rounds,
)
from benchmarks.peers import FOLDS, waiting
from benchmarks.table import LEVELS, TARGETS, per_item, render, verdicts
from tests.cases import tiny_images, tiny_model
from tests.torch_peer import import_timm
from vitjax.methods import METHODS

COUNT = 3  # Grad-CAM is zero everywhere for the first two images


@pytest.fixture(scope="module")
def tiny():
    return tiny_model("plain")


@pytest.fixture(scope="module")
def peers(tiny):
    import_timm()
    from benchmarks.peers.cases import Peers

    return Peers(tiny)


@pytest.fixture(scope="module")
def ours(tiny):
    """Images, and their explanations by every method of the peers."""
    images = tiny_images(tiny, COUNT)
    return images, vitjax.explain_many(tiny, images, FOLDS)


def assert_same(theirs, ours):
    ours = np.asarray(ours).reshape(len(ours), -1)
    assert_allclose(np.asarray(theirs).reshape(ours.shape), ours, rtol=1e-4, atol=1e-4 * np.abs(ours).max())


@pytest.mark.parametrize("method", FOLDS)
def test_peers_compute_the_same_maps(peers, ours, method):
    images, explanations = ours
    maps = explanations[method].maps
    cases = peers.cases(method, images, explanations[method].target)
    assert cases[BATCHED].items == COUNT and cases[HOOKS].items == 1
    assert np.abs(maps).max() > 0
    assert_same(cases[BATCHED].run()[0], maps)
    for number in range(COUNT):
        case = peers.cases(method, images[number : number + 1], None)[HOOKS]
        assert_same(case.run()[0].detach(), maps[number : number + 1])


def test_peers_compute_the_same_logits(peers, ours):
    images, explanations = ours
    cases, logits = peers.cases("logits", images, None), explanations["rollout"].logits
    assert_same(cases[BATCHED].run()[0], logits)
    assert_same(cases[HOOKS].run()[0], logits[:1])


def test_both_relevance_propagations_compute_the_same_map(peers, tiny):
    """In float64, because divisions by sums near zero amplify the rounding errors of float32 too much."""
    import torch

    from benchmarks.peers import relprop

    images = tiny_images(tiny, COUNT).astype(np.float64)
    with jax.enable_x64():
        wide = tiny_model("plain", np.float64)
        mine = vitjax.explain(wide, images, "transformer_attribution")
    module = copy.deepcopy(peers.plain).double()
    trainable = copy.deepcopy(module).requires_grad_(True)
    for image, target, heatmap in zip(images, mine.target, mine.maps, strict=True):
        assert_same(relprop.lean(module, tiny.config, image, int(target))[None], heatmap[None])
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
        assert_same(relprop.published(trainable, tiny.config, pixels)[None], heatmap[None])
    for case in peers.cases("transformer_attribution", images, mine.target).values():
        assert case.items == 1 and case.run().shape == (tiny.config.tokens - 1,)


def test_peer_computes_several_methods_one_after_the_other(peers, ours):
    images, explanations = ours
    (case,) = peers.cases("+".join(FOLDS), images, None).values()
    for method, maps in zip(FOLDS, case.run(), strict=True):
        assert_same(maps, explanations[method].maps)


def test_captum_computes_the_same_map(peers, tiny, ours):
    pytest.importorskip("captum")
    images, _ = ours
    (case,) = peers.cases("integrated_gradients", images, None).values()
    assert_same(case.run(), vitjax.explain(tiny, images, "integrated_gradients").maps)


@pytest.mark.slow
def test_gradient_by_attention_exists_with_torch_compile(peers, ours):
    """With the backend "aot_eager", which traces the functions but generates no code: only the division of the block
    into compiled functions is tested."""
    import torch

    from benchmarks.peers.batched import Batched

    images, explanations = ours
    torch._dynamo.reset()
    compiled = Batched(peers.batched.module, compiled=True)
    functions = peers.batched._attend, peers.batched._after_attention
    compiled._attend, compiled._after_attention = (
        torch.compile(function, backend="aot_eager") for function in functions
    )
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert_same(compiled.transformer_mm(pixels), explanations["transformer_mm"].maps)


@pytest.mark.parametrize(("spinning", "asleep", "sleeps"), [(1.0, 0.97, True), (0.97, 1.0, True), (0.9, 1.0, False)])
def test_faster_way_of_waiting_is_chosen(monkeypatch, spinning, asleep, sleeps):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(waiting, "_seconds", lambda environment: asleep if environment else spinning)
    monkeypatch.setattr(waiting.os, "environ", dict(waiting.os.environ))
    assert waiting.choose() == (waiting.ASLEEP if sleeps else waiting.SPINNING)
    assert waiting.os.environ.get("OMP_WAIT_POLICY") == ("PASSIVE" if sleeps else None)
    assert waiting.choose() == ("OMP_WAIT_POLICY=PASSIVE" if sleeps else waiting.SPINNING)


def test_rounds_are_interleaved_and_stop_at_the_deadline():
    calls = []
    cases = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    assert {name: len(times) for name, times in rounds(cases, 2).items()} == {"a": 2, "b": 2}
    assert "".join(calls) == "ab" * 3
    assert len(measure(cases, 9, deadline=0.0)["a"].rounds) == FEWEST_ROUNDS


def test_case_that_does_not_fit_into_memory_is_left_out(capsys):
    def too_large():
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

    assert list(measure({"small": lambda: None, "large": too_large}, 1, shown=True)) == ["small"]
    assert "large: not enough memory" in capsys.readouterr().err
    with pytest.raises(RuntimeError):
        measure({"large": too_large}, 1)


def test_ratio_is_the_median_of_the_ratios_of_rounds():
    assert ratio({"a": [1.0, 20.0, 3.0], "b": [1.0, 10.0, 1.0]}, "a", "b") == 2


def test_items_of_the_perturbation_case_are_forwards(tiny):
    bench = speed.Bench(tiny)
    case, forward = bench.perturbation(2), bench.logits(2)
    assert case.items == 2 * (2 * 19 + 1)
    flop_of_one = forward.flop / forward.items
    # One forward more than items: that of the empty image, which is the same for all images.
    assert_allclose(case.flop, (case.items + 1) * flop_of_one, rtol=1e-6)


@pytest.mark.slow
def test_evaluation_case_reads_every_jpeg(tiny, monkeypatch):
    monkeypatch.setattr(speed, "JPEG_SIZE", (40, 30))
    case = speed.Bench(tiny).evaluation(32)
    assert case.items == 128
    case.run()


def test_fold_methods_are_those_of_the_shared_pass(tiny):
    every, light = speed.fold_methods(tiny.config, every=True), speed.fold_methods(tiny.config)
    assert {*FOLDS} < {*light} < {*every} < {*METHODS}
    assert "transformer_attribution" in every and "transformer_attribution" not in light


def test_exponent_is_the_slope_of_the_logarithms():
    assert_allclose(speed.exponent([(x, 3 * x**1.5) for x in (1, 2, 8)]), 1.5)


def row(what, batch, who, items, seconds, memory=None):
    constants = {"items_per_s": 1.0, "gflop_per_item": None, "share_of_peak": 0.5, "compile_s": None}
    key = {"what": what, "batch": batch, "dtype": "float32", "who": who}
    return {**key, "items": items, "seconds": seconds, "temporary_MiB": memory, **constants}


def test_targets_compare_items_within_rounds():
    rows = [
        row("transformer_mm", 8, OURS, 8, [1.0, 2.0, 3.0], 90.0),
        row("transformer_mm", 8, HOOKS, 1, [0.25, 0.5, 0.75]),
        row("transformer_mm", 8, FORWARD, 8, [0.4, 1.0, 1.5]),
        row(LEVELS, 8, OURS, 80, [10.0, 10.0, 10.0]),
        row(LEVELS, 8, FORWARD, 8, [0.8, 0.8, 0.8]),
    ]
    assert per_item(rows, "transformer_mm", 8, HOOKS, OURS) == 2
    assert per_item(rows, "transformer_mm", 32, HOOKS, OURS) is None
    memory = {"transformer_mm": {"3": 80.0, "6": 90.0, "12": 120.0}}
    results = {
        "rows": rows,
        "every_fold": ["transformer_mm"],
        "layers": 6,
        "scaling": {"temporary_MiB_by_layers": memory},
    }
    by_text = {verdict.text: verdict for verdict in verdicts(results)}
    assert len(by_text) == sum(max(1, len(target.batches)) for target in TARGETS) + 2
    assert by_text[f"transformer_mm: times as fast as {HOOKS}, batch 8"].met is True
    assert by_text[f"transformer_mm: times as fast as {HOOKS}, batch 32"].met is None
    assert by_text["transformer_mm: times a forward, batch 8"].measured == "2.00"
    assert by_text[f"{LEVELS}: times as fast as {FORWARD}"].measured == "0.80"
    assert by_text[f"{LEVELS}: times as fast as {FORWARD}"].met is False
    assert by_text["temporary memory of any fold method, batch 8"].met is False
    assert by_text["growth of this memory when the layers double, times"].measured == "1.33 (transformer_mm)"


@pytest.fixture
def small_speed(monkeypatch):
    """benchmarks.speed with a tiny model, matrix product and choice of methods, which compile quickly."""
    import_timm()
    small = {"width": 16, "heads": 2, "mlp_dim": 16, "image_size": (16, 16)}
    for name in ("VITJAX_COMPILATION_CACHE", "XLA_PYTHON_CLIENT_PREALLOCATE"):  # so that both are restored afterwards
        monkeypatch.setenv(name, "0")

    def small_model(name, **changes):
        return random_model(name, **{"depth": 2, **small, **changes})

    monkeypatch.setattr(speed, "random_model", small_model)
    monkeypatch.setattr(speed, "matmul", lambda dtype: Case(lambda: None, 1, 1e6))
    monkeypatch.setattr(speed, "FOLDS", ("rollout", "grad_cam"))
    monkeypatch.setattr(speed, "fold_methods", lambda config, every=False: ["transformer_mm"])


@pytest.mark.slow
def test_command_writes_and_prints_all_cases(small_speed, tmp_path, capsys):
    speed.main("vitjax_scenes", (2,), 3, ("logits", "folds", "transformer_attribution"), out=tmp_path)
    (path,) = tmp_path.glob("speed_vitjax_scenes_*.json")
    results = json.loads(path.read_text())
    rows = {(row["what"], row["who"]): row for row in results["rows"]}
    peers = {("logits", BATCHED), ("logits", HOOKS)}
    peers |= {("transformer_attribution", who) for who in (HOOKS, LEAN)}
    ours = {(what, OURS) for what in ("logits", "folds", "transformer_attribution")}
    assert peers | ours | {("folds", OURS_SAME), ("folds", BATCHED), ("folds", FORWARD)} <= {*rows}
    assert all(len(row["seconds"]) == 3 for row in results["rows"])
    assert rows["folds", OURS]["share_of_peak"] > 0 and rows["folds", OURS]["temporary_MiB"] > 0
    shown = capsys.readouterr().out
    assert render(path) in shown and str(path) in shown


@pytest.mark.slow
def test_command_measures_scaling(small_speed, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "SCALED_BATCHES", (1, 2))
    monkeypatch.setattr(speed, "SCALED_PATCHES", (2, 3))
    speed.main("vitjax_scenes", (2,), 1, ("logits",), peers=False, scaling=True, out=tmp_path)
    (path,) = tmp_path.glob("speed_vitjax_scenes_*.json")
    scaling = json.loads(path.read_text())["scaling"]
    assert {*scaling["exponents"]} == {"tokens", "layers", "batch"}
    assert {*scaling["temporary_MiB_by_layers"]["transformer_mm"]} == {"1", "2", "4"}
    assert "transformer_mm by tokens | 5: " in render(path)


def test_unknown_cases_are_refused():
    with pytest.raises(SystemExit, match="no_such_method"):
        speed.main(cases=("no_such_method",))


def test_peers_refuse_models_that_do_not_read_the_class_token():
    import_timm()
    from benchmarks.peers.cases import Peers

    with pytest.raises(ValueError, match="no-peers"):
        Peers(tiny_model("gap"))


def test_random_model_has_the_given_shape_and_dtype():
    model = random_model("vitjax_scenes", dtype="bfloat16", depth=1)
    assert model.config.depth == 1 and str(model.dtype) == "bfloat16"
    assert jax.tree.leaves(model.params["blocks"])[0].shape[0] == 1
