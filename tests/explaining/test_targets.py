"""Every kind of target, on every kind of method, against gradients and relevance written out by hand."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from tests.cases import tiny_images, tiny_model
from vitjax import rules
from vitjax.errors import ConfigError, LabelError
from vitjax.explaining.run import explain, explain_many, trace
from vitjax.explaining.targets import resolve_targets
from vitjax.images.reading import Preprocessing
from vitjax.layerwise.target import NOT_A_CLASS
from vitjax.models.class_names import Labels
from vitjax.models.model import Model
from vitjax.nn.network import network
from vitjax.nn.resnet import ResNetConfig
from vitjax.nn.vit import ViT

pytestmark = pytest.mark.unoptimised

NAMES = ("ant", "bee", "cat", "dog", "cat - dog", "fox", "gnu - x")
WEIGHTS = np.linspace(-1, 2, 7)
METHODS = [
    *("rollout", "transformer_mm", "transformer_attribution", "saliency", "legrad"),
    *("conservative_lrp:at=pixels", "gradient_x_input", "occlusion:window=16,stride=16"),
]


def _without_address(value):
    """A parameter as text; that of a function would differ between the processes of pytest-xdist."""
    return re.sub(r" at 0x\w+", "", str(value))


def log_sum(logits):
    return jax.nn.logsumexp(logits)


def named(name="plain", dtype=np.float32):
    return replace(tiny_model(name, dtype), labels=Labels(NAMES))


def unit(*classes):
    """Weights of a difference, or of one class."""
    weights = np.zeros(7)
    weights[classes[0]] = 1
    weights[list(classes[1:])] = -1
    return weights


def entries(logits):
    """(target, weights that it stands for) of one image, so that its maps follow from the weights alone."""
    first, second, third = np.argsort(-logits)[:3]
    return [
        (None, unit(first)),
        (5, unit(5)),
        ("bee", unit(1)),
        ("cat - dog", unit(4)),  # a class of that name, not a difference
        ("dog - cat", unit(3, 2)),
        ("cat - dog - fox", unit(4, 5)),
        ("bee - gnu - x", unit(1, 6)),
        ("6 - 0", unit(6, 0)),
        ("top2", unit(second)),
        (WEIGHTS, WEIGHTS),
        ("top3", [unit(first), unit(second), unit(third)]),
    ]


def by_hand(model):
    """jit: (image, weights [k]) -> maps of METHODS, from gradients and relevance of weights · logits."""
    config, grid, prefix = model.config, model.config.grid, model.config.prefix
    image_shape = jax.ShapeDtypeStruct((*config.image_size, 3), jnp.float64)
    shapes = jax.eval_shape(ViT(config).init, jax.random.key(0), image_shape)["perturbations"]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float64), shapes)

    def run(table, image, attention):
        blocks = {**zeros["blocks"], "attn": {**zeros["blocks"]["attn"], "attention": attention}}
        variables = {"params": model.params, "perturbations": {**zeros, "blocks": blocks}}
        return ViT(config, table).apply(variables, image, mutable=["intermediates"])

    def attention_and_cotangent(table, image, weights):
        nothing = zeros["blocks"]["attn"]["attention"]
        (_, state), vjp = jax.vjp(lambda attention: run(table, image, attention), nothing)
        attention = state["intermediates"]["blocks"]["attn"]["attention"]
        logits_and_state = (weights, jax.tree.map(jnp.zeros_like, state))
        return attention, vjp(logits_and_state)[0]

    def row_of_product(cams):
        total = jnp.eye(config.tokens)
        for cam in cams:
            total = total + cam @ total
        return total[0, prefix:].reshape(grid)

    def run_all(image, weights):
        attention, gradient = attention_and_cotangent(rules.CONSERVATIVE._replace(**GRADIENT_ENTRIES), image, weights)
        positive, negative = (
            attention_and_cotangent(rules.ZPLUS, image, jnp.maximum(part, 0))[1] for part in (weights, -weights)
        )
        average = (attention.mean(1) + jnp.eye(config.tokens)) / 2
        product = average[2] @ average[1] @ average[0]
        pixels = jax.grad(lambda x: (weights * ViT(config).apply({"params": model.params}, x)).sum())(image)
        held = ViT(config, rules.CONSERVATIVE)
        constant = jax.grad(lambda x: (weights * held.apply({"params": model.params}, x)).sum())(image)
        return {
            "rollout": product[0, prefix:].reshape(grid),
            "transformer_mm": row_of_product(jnp.maximum(gradient * attention, 0).mean(1)),
            "transformer_attribution": row_of_product(jnp.maximum(gradient * (positive - negative), 0).mean(1)),
            "saliency": jnp.abs(pixels).max(-1),
            "conservative_lrp(at=pixels)": (image * constant).sum(-1),
            "gradient_x_input": (image * pixels).sum(-1),
        }

    return jax.jit(run_all)


GRADIENT_ENTRIES = {name: getattr(ViT.ops, name) for name in ("softmax", "layernorm", "normalise", "multiply")}


@pytest.fixture(scope="module")
def vit():
    """(model, images, logits [2, k]), in float64."""
    with jax.enable_x64(True):
        model = named(dtype=np.float64)
        images = tiny_images(model, 2).astype(np.float64)
        return model, images, np.asarray(model.logits(images))


def test_every_kind_of_target_explains_what_its_weights_say(vit):
    model, images, logits = vit
    kinds = [entries(of_image) for of_image in logits]
    found = explain_many(model, images, METHODS, [[target for target, _ in kind] for kind in kinds])
    weights = [[w for _, given in kind for w in np.reshape(given, (-1, 7))] for kind in kinds]
    first = next(iter(found.values()))
    assert first.image_index.tolist() == [0] * 13 + [1] * 13
    assert first.target_names[2:8] == (
        "bee",
        "cat - dog",
        "dog - cat",
        "cat - dog - fox",
        "bee - gnu - x",
        "gnu - x - ant",
    )
    assert first.target.tolist()[1:8] == [5, 1, 4, *[NOT_A_CLASS] * 4]
    assert first.target_names[9] == "weighted outputs"
    np.testing.assert_array_equal(first.target[10:13], np.argsort(-logits[0])[:3])
    with jax.enable_x64(True):
        reference = by_hand(model)
        for position, w in enumerate(weights[0] + weights[1]):
            for label, expected in reference(images[first.image_index[position]], w).items():
                np.testing.assert_allclose(
                    found[label].maps[position], expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max(), err_msg=label
                )
    # A linear method: the map of a weighted sum is the weighted sum of the maps of the classes.
    classes = explain_many(model, images, METHODS, [list(range(7))] * 2)
    for label in ("occlusion(window=16, stride=16)", "gradient_x_input"):
        of_classes = classes[label].maps.reshape(2, 7, *classes[label].maps.shape[1:])
        for index in (0, 1):
            expected = np.einsum("mk,khw->mhw", np.stack(weights[index]), of_classes[index])
            np.testing.assert_allclose(found[label].maps[first.image_index == index], expected, rtol=1e-7, atol=1e-9)
    assert np.abs(found["legrad"].maps[4] - found["legrad"].maps[3]).max() > 1e-6


@pytest.mark.slow
def test_a_function_of_the_logits_is_explained_by_its_gradient_at_the_logits(vit):
    model, images, logits = vit
    found = explain_many(model, images, METHODS, log_sum)
    assert found["rollout"].target.tolist() == [NOT_A_CLASS] * 2 and found["rollout"].target_names == ("log_sum",) * 2
    with jax.enable_x64(True):
        reference = by_hand(model)
        for index in (0, 1):
            for label, expected in reference(images[index], softmax(logits[index])).items():
                np.testing.assert_allclose(
                    found[label].maps[index], expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max(), err_msg=label
                )
    complete = explain(model, images, "integrated_gradients", log_sum, steps=60)
    assert complete.completeness_gap().max() < 1e-3


def test_the_trace_has_the_gradients_of_every_target(vit):
    model, images, _ = vit
    several = trace(model, images, [["bee - fox"], ["bee", "fox"]])
    assert several.attention_grad.shape == (3, 3, 3, 17, 17)
    both = trace(model, images, [["bee", "fox"], ["bee - fox"]])
    np.testing.assert_allclose(several.attention_grad[0], both.attention_grad[0] - both.attention_grad[1], atol=1e-12)


@pytest.mark.slow
def test_a_resnet_explains_differences_weights_and_functions():
    config = ResNetConfig(depths=(1, 1, 1, 1), width=8, num_classes=7, image_size=(32, 32))
    shape = jax.ShapeDtypeStruct((32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(network(config).init, jax.random.key(0), shape)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.05, 0.2, leaf.shape), jnp.float32), shapes)
    model = Model(config, params, Preprocessing((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3), Labels(NAMES), "tiny")
    image = rng.normal(size=(1, 32, 32, 3)).astype(np.float32)
    methods = ["grad_cam:relu=False", "saliency"]
    targets = ["bee", "dog - cat", WEIGHTS]
    found = explain_many(model, image, methods, [targets]), explain_many(model, image, methods, log_sum)
    net, variables = network(config), {"params": params}

    @jax.jit
    def by_hand(weights):
        features = net.apply(variables, image[0], method="stages")[3]
        gradient = jax.grad(lambda f: (weights * net.apply(variables, 3, f, method="from_stage")).sum())(features)
        pixels = jax.grad(lambda x: (weights * net.apply(variables, x)).sum())(image[0])
        return (gradient.mean((0, 1)) * features).sum(-1), jnp.abs(pixels).max(-1)

    p = softmax(np.asarray(model.logits(image))[0].astype(np.float64))
    for position, weights in enumerate([unit(1), unit(3, 2), WEIGHTS, p]):
        for method, expected in zip(("grad_cam(relu=False)", "saliency"), by_hand(weights), strict=True):
            maps = found[position // 3][method].maps[position % 3]
            np.testing.assert_allclose(maps, expected, atol=2e-5 * np.abs(expected).max())


def test_a_probability_of_what_is_no_class_is_refused_before_any_computation(vit):
    model, images, _ = vit
    for method in ("rise", "vit_cx", "vtranm", "transformer_mm:score=probability"):
        for target in ("bee - fox", WEIGHTS, log_sum, [["bee", "bee - fox"], "bee"]):
            with pytest.raises(ConfigError, match="explains a probability"):
                explain(model, images, method, target)
    with pytest.raises(ConfigError, match="explains a probability"):
        trace(model, images, "bee - fox", score="probability")


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (["bee", "ant", "fox"], LabelError, "3 targets for 2 images"),
        ([["bee"], []], LabelError, "image 1 has an empty list"),
        ("bee - owl", LabelError, "neither a class nor the difference of two: .*'owl'"),
        ("bee - bee", LabelError, "both are class 1"),
        ("bee - 7", LabelError, "out of range, the model has 7 classes"),
        ("top8", LabelError, "'top8': model 'plain' has 7 classes"),
        (1.5, LabelError, "neither a class number"),
        ([True, 1], LabelError, "image 0: True is neither"),
        (np.ones(6), ConfigError, r"float64 \[6\] cannot weight the 7 outputs"),
        (np.array([np.nan, *np.ones(6)]), ConfigError, "finite"),
        (np.zeros(7), ConfigError, "not all 0"),
        ([log_sum, log_sum], ConfigError, "pass it alone"),
        (lambda logits: logits, ConfigError, "must return one number"),
        (lambda logits: logits[0] + unknown, ConfigError, "fails on logits"),  # noqa: F821
        (np.ones((2, 2, 7)), LabelError, "neither a class number"),
    ],
    ids=_without_address,
)
def test_invalid_targets_are_refused(target, error, message):
    with pytest.raises(error, match=message):
        resolve_targets(named(), target, 2)


def test_arrays_of_other_libraries_are_targets():
    torch = pytest.importorskip("torch")
    model = named()
    assert resolve_targets(model, torch.tensor([3, 1]), 2).values.tolist() == [3, 1]
    assert resolve_targets(model, jnp.array([3, 1]), 2).values.tolist() == [3, 1]
    assert resolve_targets(model, np.int64(3), 2).values.tolist() == [3, 3]
    weights = resolve_targets(model, torch.ones(2, 7, requires_grad=True), 2).values
    np.testing.assert_array_equal(weights.weights, np.ones((2, 7)))
    mixed = resolve_targets(model, [jnp.ones(7), 4], 2).values
    assert mixed.class_index.tolist() == [NOT_A_CLASS, 4]


def test_files_of_several_targets_name_them(vit, tmp_path):
    model, images, _ = vit
    explanation = explain(model, images[:1], "saliency", [["bee - fox", "ant"]])
    written = [path.name for path in explanation.save(tmp_path)]
    assert written == ["saliency.npz", "image0_bee_-_fox_saliency.png", "image0_ant_saliency.png"]
    saved = np.load(tmp_path / "saliency.npz")
    assert saved["target_names"].tolist() == ["bee - fox", "ant"] and saved["target"].tolist() == [-3, 0]
    assert explanation.caption(0)["target"] == "bee - fox" and explanation.caption(0)["target_probability"] is None
    assert explanation.verdict(0).endswith("explained: bee - fox")
    agnostic = explain(model, images[:2], "rollout", [["bee - fox", "ant"], ["ant"]])
    written = [path.name for path in agnostic.save(tmp_path)]
    assert written == ["rollout.npz", "image0_rollout.png", "image1_rollout.png"]
    assert len(agnostic.distinct) == 2 and len(agnostic) == 3 and explanation.distinct is explanation


def test_an_index_takes_maps_with_their_images_and_targets(vit):
    model, images, _ = vit
    whole = explain(model, images, "rollout", [["bee - fox", "ant"], ["cat"]])
    part = whole[[2, 0]]
    assert part.target_names == ("cat", "bee - fox") and part.image_index.tolist() == [1, 0]
    np.testing.assert_array_equal(part.maps, whole.maps[[2, 0]])
    np.testing.assert_array_equal(part.images.x, images[[1, 0]])
    assert [one.target_names for one in whole] == [("bee - fox",), ("ant",), ("cat",)] and len(whole[-1]) == 1
    with pytest.raises(IndexError):
        _ = whole[3]
