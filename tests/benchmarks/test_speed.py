"""The speed benchmark: peers compute what vitjax computes, rounds and ratios are what they say, results render."""

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

COUNT = 3  # of the first two, Grad-CAM is zero everywhere


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
    """Images, and their explanation by every method that a peer has."""
    images = tiny_images(tiny, COUNT)
    return images, vitjax.explain_many(tiny, images, FOLDS)


def assert_same(theirs, ours):
    ours = np.asarray(ours).reshape(len(ours), -1)
    assert_allclose(np.asarray(theirs).reshape(ours.shape), ours, rtol=1e-4, atol=1e-4 * np.abs(ours).max())


@pytest.mark.parametrize("method", FOLDS)
def test_peers_make_the_same_maps(peers, ours, method):
    images, found = ours
    cases = peers.cases(method, images, found[method].target)
    assert cases[BATCHED].items == COUNT and cases[HOOKS].items == 1
    assert np.abs(found[method].maps).max() > 0
    assert_same(cases[BATCHED].run()[0], found[method].maps)
    for number in range(COUNT):
        case = peers.cases(method, images[number : number + 1], None)[HOOKS]
        assert_same(case.run()[0].detach(), found[method].maps[number : number + 1])


def test_peers_have_the_same_logits(peers, ours):
    images, found = ours
    cases, logits = peers.cases("logits", images, None), found["rollout"].logits
    assert_same(cases[BATCHED].run()[0], logits)
    assert_same(cases[HOOKS].run()[0], logits[:1])


def test_plain_relevance_propagation_makes_the_same_map(peers, tiny):
    """In float64: its divisions by sums near zero leave float32 no digits to compare."""
    import torch

    from benchmarks.peers import relprop

    images = tiny_images(tiny, COUNT).astype(np.float64)
    with jax.enable_x64():
        wide = tiny_model("plain", np.float64)
        mine = vitjax.explain(wide, images, "transformer_attribution")
    module = copy.deepcopy(peers.plain).double()
    learning = copy.deepcopy(module).requires_grad_(True)
    for image, target, found in zip(images, mine.target, mine.maps, strict=True):
        assert_same(relprop.lean(module, tiny.config, image, int(target))[None], found[None])
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
        assert_same(relprop.published(learning, tiny.config, pixels)[None], found[None])
    for case in peers.cases("transformer_attribution", images, mine.target).values():
        assert case.items == 1 and case.run().shape == (tiny.config.tokens - 1,)


def test_all_folds_of_the_peer_are_a_pass_each(peers, ours):
    images, found = ours
    (case,) = peers.cases("+".join(FOLDS), images, None).values()
    for method, maps in zip(FOLDS, case.run(), strict=True):
        assert_same(maps, found[method].maps)


def test_captum_makes_the_same_map(peers, tiny, ours):
    pytest.importorskip("captum")
    images, _ = ours
    (case,) = peers.cases("integrated_gradients", images, None).values()
    assert_same(case.run(), vitjax.explain(tiny, images, "integrated_gradients").maps)


@pytest.mark.slow
def test_a_gradient_survives_torch_compile(peers, ours):
    """Run eagerly: what the compiler would make of the pieces is its business, that they can be cut is ours."""
    import torch

    from benchmarks.peers.batched import Batched

    images, found = ours
    torch._dynamo.reset()
    compiled = Batched(peers.batched.module, compiled=True)
    compiled._attend, compiled._after_attention = (
        torch.compile(each, backend="aot_eager") for each in (peers.batched._attend, peers.batched._after_attention)
    )
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert_same(compiled.transformer_mm(pixels), found["transformer_mm"].maps)


@pytest.mark.parametrize(("spinning", "asleep", "sleeps"), [(1.0, 0.97, True), (0.97, 1.0, True), (0.9, 1.0, False)])
def test_threads_wait_as_is_best_for_the_peer(monkeypatch, spinning, asleep, sleeps):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(waiting, "_seconds", lambda environment: asleep if environment else spinning)
    monkeypatch.setattr(waiting.os, "environ", dict(waiting.os.environ))
    assert waiting.choose() == (waiting.ASLEEP if sleeps else waiting.SPINNING)
    assert waiting.os.environ.get("OMP_WAIT_POLICY") == ("PASSIVE" if sleeps else None)
    assert waiting.choose() == ("OMP_WAIT_POLICY=PASSIVE" if sleeps else waiting.SPINNING)


def test_rounds_take_turns_and_stop_at_the_deadline():
    calls = []
    cases = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    assert {name: len(times) for name, times in rounds(cases, 2).items()} == {"a": 2, "b": 2}
    assert "".join(calls) == "ab" * 3
    assert len(measure(cases, 9, deadline=0.0)["a"].rounds) == FEWEST_ROUNDS


def test_a_case_without_memory_is_left_out(capsys):
    def too_large():
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

    assert list(measure({"small": lambda: None, "large": too_large}, 1, shown=True)) == ["small"]
    assert "large: not enough memory" in capsys.readouterr().err
    with pytest.raises(RuntimeError):
        measure({"large": too_large}, 1)


def test_ratio_is_the_median_of_ratios():
    assert ratio({"a": [1.0, 20.0, 3.0], "b": [1.0, 10.0, 1.0]}, "a", "b") == 2


def test_levels_are_the_forwards_of_the_metric(tiny):
    bench = speed.Bench(tiny)
    case, forward = bench.perturbation(2), bench.logits(2)
    assert case.items == 2 * (2 * 19 + 1)
    one = forward.flop / forward.items
    assert_allclose(case.flop, (case.items + 1) * one, rtol=1e-6)  # with nothing left, images are all the same


@pytest.mark.slow
def test_evaluation_reads_every_jpeg(tiny, monkeypatch):
    monkeypatch.setattr(speed, "JPEG_SIZE", (40, 30))
    case = speed.Bench(tiny).evaluation(32)
    assert case.items == 128
    case.run()


def test_fold_methods_are_those_of_one_sweep(tiny):
    every, light = speed.fold_methods(tiny.config, every=True), speed.fold_methods(tiny.config)
    assert {*FOLDS} < {*light} < {*every} < {*METHODS}
    assert "transformer_attribution" in every and "transformer_attribution" not in light


def test_exponent_is_the_slope_of_the_logarithms():
    assert_allclose(speed.exponent([(x, 3 * x**1.5) for x in (1, 2, 8)]), 1.5)


def row(what, batch, who, items, seconds, memory=None):
    facts = {"items_per_s": 1.0, "gflop_per_item": None, "share_of_peak": 0.5, "compile_s": None}
    key = {"what": what, "batch": batch, "dtype": "float32", "who": who}
    return {**key, "items": items, "seconds": seconds, "temporary_MiB": memory, **facts}


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
    found = {
        "rows": rows,
        "every_fold": ["transformer_mm"],
        "layers": 6,
        "scaling": {"temporary_MiB_by_layers": memory},
    }
    said = {each.text: each for each in verdicts(found)}
    assert len(said) == sum(max(1, len(target.batches)) for target in TARGETS) + 2
    assert said[f"transformer_mm: times as fast as {HOOKS}, batch 8"].met is True
    assert said[f"transformer_mm: times as fast as {HOOKS}, batch 32"].met is None
    assert said["transformer_mm: times a forward, batch 8"].measured == "2.00"
    assert said[f"{LEVELS}: times as fast as {FORWARD}"].measured == "0.80"
    assert said[f"{LEVELS}: times as fast as {FORWARD}"].met is False
    assert said["temporary memory of any fold method, batch 8"].met is False
    assert said["the same with twice the layers, times"].measured == "1.33 (transformer_mm)"


@pytest.fixture
def small_world(monkeypatch):
    """The command's model, product and sweeps cut down to what compiles at once."""
    import_timm()
    small = {"width": 16, "heads": 2, "mlp_dim": 16, "image_size": (16, 16)}
    for name in ("VITJAX_COMPILATION_CACHE", "XLA_PYTHON_CLIENT_PREALLOCATE"):  # the command sets them
        monkeypatch.setenv(name, "0")

    def shrunk(name, **changes):
        return random_model(name, **{"depth": 2, **small, **changes})

    monkeypatch.setattr(speed, "random_model", shrunk)
    monkeypatch.setattr(speed, "matmul", lambda dtype: Case(lambda: None, 1, 1e6))
    monkeypatch.setattr(speed, "FOLDS", ("rollout", "grad_cam"))
    monkeypatch.setattr(speed, "fold_methods", lambda config, every=False: ["transformer_mm"])


def test_the_whole_command(small_world, tmp_path, capsys):
    speed.main("vitjax_scenes", (2,), 3, ("logits", "folds", "transformer_attribution"), out=tmp_path)
    (path,) = tmp_path.glob("speed_vitjax_scenes_*.json")
    found = json.loads(path.read_text())
    rows = {(each["what"], each["who"]): each for each in found["rows"]}
    peers = {("logits", BATCHED), ("logits", HOOKS)}
    peers |= {("transformer_attribution", each) for each in (HOOKS, LEAN)}
    ours = {(what, OURS) for what in ("logits", "folds", "transformer_attribution")}
    assert peers | ours | {("folds", OURS_SAME), ("folds", BATCHED), ("folds", FORWARD)} <= {*rows}
    assert all(len(each["seconds"]) == 3 for each in found["rows"])
    assert rows["folds", OURS]["share_of_peak"] > 0 and rows["folds", OURS]["temporary_MiB"] > 0
    shown = capsys.readouterr().out
    assert render(path) in shown and str(path) in shown


@pytest.mark.slow
def test_scaling(small_world, tmp_path):
    speed.main("vitjax_scenes", (2,), 1, ("logits",), peers=False, scaling=True, out=tmp_path)
    (path,) = tmp_path.glob("speed_vitjax_scenes_*.json")
    found = json.loads(path.read_text())["scaling"]
    assert {*found["exponents"]} == {"tokens", "layers", "batch"}
    assert {*found["temporary_MiB_by_layers"]["transformer_mm"]} == {"1", "2", "4"}
    assert "transformer_mm by tokens | 197: " in render(path)


def test_unknown_cases_are_refused():
    with pytest.raises(SystemExit, match="no_such_method"):
        speed.main(cases=("no_such_method",))


def test_models_that_pool_otherwise_have_no_peers():
    import_timm()
    from benchmarks.peers.cases import Peers

    with pytest.raises(ValueError, match="no-peers"):
        Peers(tiny_model("gap"))


def test_random_models_change_shape_and_dtype():
    model = random_model("vitjax_scenes", dtype="bfloat16", depth=1)
    assert model.config.depth == 1 and str(model.dtype) == "bfloat16"
    assert jax.tree.leaves(model.params["blocks"])[0].shape[0] == 1
