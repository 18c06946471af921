"""The shared pass against plain differentiation of the whole model."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests.cases import ARCHITECTURES, CONFIGS, tiny_images, tiny_model
from vitjax.execution.flops import flops
from vitjax.execution.plan import active_plan, planned
from vitjax.explaining.requests import request
from vitjax.layerwise import run
from vitjax.layerwise.fold import Fold
from vitjax.layerwise.run import backward_fold
from vitjax.layerwise.target import PREDICTED, SECOND, choose_target
from vitjax.methods import METHODS
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import PEEL_ABOVE

pytestmark = pytest.mark.unoptimised

QUICK = ("plain", "registers", "gap", "swiglu", "rotary_mixed", "pooling_head")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else (pytest.mark.slow,)) for name in (*CONFIGS, *ARCHITECTURES)],
)
def test_collected_trace_equals_grad_through_scanned_model(name):
    model = tiny_model(name)
    image = tiny_images(model, 1)
    module = ViT(model.config)
    shapes = jax.eval_shape(module.init, jax.random.key(0), image[0])["perturbations"]
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes)
    scores = ("logit", "probability") if name == "plain" else ("logit",)  # the score is independent of the architecture

    def scored(zeros, score):
        logits, state = module.apply(
            {"params": model.params, "perturbations": zeros}, image[0], mutable=["intermediates"]
        )
        value = logits if score == "logit" else jax.nn.softmax(logits)
        return value[3], state["intermediates"]["blocks"]

    @jax.jit
    def reference(zeros):
        return {score: jax.grad(scored, has_aux=True)(zeros, score) for score in scores}

    with jax.default_matmul_precision("highest"):
        expected = reference(zeros)
    for score, (grads, sown) in expected.items():
        trace = vitjax.trace(model, image, target=3, score=score)
        grads = grads["blocks"]["attn"]
        for ours, theirs in [
            (trace.attention, sown["attn"]["attention"]),
            (trace.scores, sown["attn"]["scores"]),
            (trace.values, sown["attn"]["values"]),
            (trace.tokens, sown["input"]),
            (trace.middle, sown["middle"]),
            (trace.output, sown["output"]),
            (trace.attention_grad, grads["attention"]),
            (trace.scores_grad, grads["scores"]),
        ]:
            scale = np.abs(theirs).max()
            assert scale > 0
            np.testing.assert_allclose(ours[0], theirs, atol=2e-5 * scale, rtol=0)


def test_fused_and_observed_forward_agree():
    model = tiny_model("plain")
    image = tiny_images(model, 1)[0]
    module = ViT(model.config)
    with jax.default_matmul_precision("highest"):
        fused = module.apply({"params": model.params}, image)
        observed, _ = module.apply({"params": model.params}, image, mutable=["intermediates"])
    np.testing.assert_allclose(fused, observed, atol=2e-6)


def test_targets_by_rank():
    logits = jnp.array([0.1, 3.0, -1.0, 2.0])
    assert choose_target(logits, jnp.int32(PREDICTED)) == 1
    assert choose_target(logits, jnp.int32(SECOND)) == 3
    assert choose_target(logits, jnp.int32(2)) == 2


@pytest.mark.slow  # tests/methods/test_golden.py holds the quick suite to the same on DeiT-Tiny
@pytest.mark.parametrize("name", ["distilled", "swiglu"])
def test_a_peeled_last_block_gives_the_same(name, monkeypatch):
    """Of a model deep enough for it, against the last block inside the loop; a fold of every kind of gradient, folds
    of attention alone, and the network itself with a gradient."""
    kinds = ["transformer_mm", "ag_cam", "legrad", "transformer_attribution", "token_grad_cam", "full_grad"]
    kinds += [{"method": "legrad", "pool": "mean"}, {"method": "attcat", "hidden": "output"}, "vtranm", "rollout"]
    with jax.enable_x64(True):
        model = tiny_model(name, np.float64)
        config = replace(model.config, depth=PEEL_ABOVE + 1)
        blocks = jax.tree.map(lambda a: jnp.concatenate([a] * 3)[: config.depth], model.params["blocks"])
        params, image = {**model.params, "blocks": blocks}, tiny_images(model, 1)[0].astype(np.float64)
        wanted = [request(kind) for kind in kinds]
        folds = [each.method.fold(config, **dict(each.options)) for each in wanted]
        of_attention = [METHODS["rollout"].fold(config), _what_leaves_blocks(config)]

        def run(params, image):
            def score(image):
                return ViT(config).apply({"params": params}, image)[3]

            passes = [backward_fold(config, params, image, jnp.int32(3), each) for each in (folds, of_attention)]
            return [each.results for each in passes], [each.logits for each in passes], jax.value_and_grad(score)(image)

        found, work = [], []
        for threshold in (PEEL_ABOVE, config.depth):
            monkeypatch.setattr("vitjax.nn.vit_config.PEEL_ABOVE", threshold)
            found.append(jax.jit(lambda *arguments: run(*arguments))(params, image))
            network = jax.jit(lambda params, image: ViT(config).apply({"params": params}, image))
            work.append(flops(network, params, image))
    assert work[0] < 0.96 * work[1]
    for (path, ours), theirs in zip(jax.tree.leaves_with_path(found[0]), jax.tree.leaves(found[1]), strict=True):
        label = [*(each.label for each in wanted), "attention"][path[2].idx] if path[0].idx == 0 else str(path)
        assert np.abs(theirs).max() > 0, label
        np.testing.assert_allclose(ours, theirs, atol=1e-12 * np.abs(theirs).max(), rtol=0, err_msg=label)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("methods", "told", "skipped"),
    [(["transformer_mm"], True, True), (["transformer_mm", "saliency"], True, False), (["saliency"], False, False)],
)
def test_nothing_is_computed_below_the_first_attention_unless_a_fold_reads_it(methods, told, skipped, monkeypatch):
    """Counted: the gradients of v, q and k, and that of qkv's input; the head reads all tokens of this model. A fold
    that does not say that it looks there is right all the same."""
    model = tiny_model("gap")
    config, n, c = model.config, model.config.tokens, model.config.width
    folds, image = [METHODS[name].fold(config) for name in methods], tiny_images(model, 1)[0]
    folds = folds if told else [fold._replace(to_input=False) for fold in folds]
    found, work = [], []
    for threshold in (config.depth - 1, config.depth):
        monkeypatch.setattr("vitjax.nn.vit_config.PEEL_ABOVE", threshold)
        run = jax.jit(lambda params, image: backward_fold(config, params, image, jnp.int32(3), folds))
        found.append(run(model.params, image).results)
        work.append(flops(run, model.params, image))
    assert work[1] - work[0] == skipped * 2 * (3 * n * n * c + n * c * 3 * c)
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6 * np.abs(theirs).max(), rtol=0)


def test_a_fold_that_reads_the_input_keeps_all_blocks_in_one_loop(monkeypatch):
    model = tiny_model("gap")
    monkeypatch.setattr("vitjax.nn.vit_config.PEEL_ABOVE", model.config.depth - 1)
    calls, step = [], run.step_back
    monkeypatch.setattr(run, "step_back", lambda *given: calls.append(given) or step(*given))

    def compiled(fold):
        calls.clear()
        image = tiny_images(model, 1)[0]
        jax.make_jaxpr(lambda image: backward_fold(model.config, model.params, image, jnp.int32(3), [fold]))(image)
        return len(calls)

    fold = METHODS["saliency"].fold(model.config)
    assert compiled(fold) == compiled(fold._replace(to_input=False)) - 1


def _what_leaves_blocks(config):
    """A fold of attention's cost that looks at all tokens after attention and after the block."""
    return Fold(
        init=jnp.zeros((config.tokens, config.width)),
        summarise=lambda trace: trace.middle + trace.output,
        step=lambda carry, summary, layer: 0.5 * carry + summary,
        finish=lambda carry, ends: carry,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("layer", "depth"), [(1, 3), (-1, PEEL_ABOVE + 1), (-2, PEEL_ABOVE + 1)])
def test_a_pass_ends_at_the_lowest_block_that_a_fold_reads(layer, depth):
    """Two methods of one block by themselves, against beside one of all blocks; and they cost less."""
    model = tiny_model("plain")
    config, image = replace(model.config, depth=depth), tiny_images(model, 1)[0]
    blocks = jax.tree.map(lambda a: jnp.concatenate([a] * 3)[:depth], model.params["blocks"])
    params = {**model.params, "blocks": blocks}
    folds = [METHODS[kind].fold(config, layer=layer) for kind in ("grad_cam", "token_grad_cam")]
    found, work = [], []
    for wanted in (folds, [*folds, METHODS["transformer_mm"].fold(config)]):
        run = jax.jit(lambda params, image, wanted=wanted: backward_fold(config, params, image, jnp.int32(3), wanted))
        found.append(run(params, image))
        work.append(flops(run, params, image))
    for ours, theirs in zip(found[0].results, found[1].results[:2], strict=True):
        assert np.abs(theirs).max() > 0
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * np.abs(theirs).max(), rtol=0)
    np.testing.assert_allclose(found[0].logits, found[1].logits, atol=1e-5)
    assert work[0] < (0.9 if layer == 1 else 0.6) * work[1]


@pytest.mark.parametrize("name", ["plain", pytest.param("swiglu", marks=pytest.mark.slow)])
def test_saved_linear_outputs_change_no_result(name):
    """Linear layers' results kept on the way forward against computed again, under gradients and under rules."""
    kinds = ["transformer_mm", "vtranm", "full_grad", "transformer_attribution", "conservative_lrp", "lrp"]
    with jax.enable_x64(True):
        model = tiny_model(name, np.float64)
        image = tiny_images(model, 1)[0].astype(np.float64)
        folds = [METHODS[kind].fold(model.config) for kind in kinds]
        found, memory, work = [], [], []
        for limit in (0, 2**30):
            plan = active_plan(model.config)._replace(saved_bytes=limit)
            run = jax.jit(
                planned(plan, lambda params, image: backward_fold(model.config, params, image, jnp.int32(3), folds))
            )
            executable = run.lower(model.params, image).compile()
            found.append(executable(model.params, image))
            memory.append(executable.memory_analysis().temp_size_in_bytes)
            work.append(flops(run, model.params, image))
    assert memory[0] < memory[1] and work[1] < 0.95 * work[0]
    for kind, ours, theirs in zip(kinds, found[0].results, found[1].results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-11 * np.abs(theirs).max(), rtol=0, err_msg=kind)


@pytest.mark.slow
def test_memory_of_the_fold_is_flat_in_depth():
    """Temporaries must not grow by an attention matrix per layer, where results of linear layers are not kept."""

    def temporaries(depth):
        model = tiny_model("plain")
        config = replace(model.config, depth=depth, image_size=(128, 128))
        shapes = jax.eval_shape(ViT(config).init, jax.random.key(0), jnp.zeros((128, 128, 3)))["params"]

        def run(params, image):
            return backward_fold(config, params, image, jnp.int32(0), [METHODS["transformer_mm"].fold(config)])

        image = jax.ShapeDtypeStruct((128, 128, 3), jnp.float32)
        plan = active_plan(config)._replace(saved_bytes=0)
        return jax.jit(planned(plan, run)).lower(shapes, image).compile().memory_analysis().temp_size_in_bytes

    config = tiny_model("plain").config
    one_attention = config.heads * 257**2 * 4
    assert temporaries(16) - temporaries(8) < one_attention
