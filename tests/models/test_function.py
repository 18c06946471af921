"""Models from any JAX function: maps equal gradients and loops by hand; mistakes get one line before computation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import vitjax
from tests.cases import tiny_model
from tests.models.function_models import BUILDERS, CLASSES, SIDE, plain_apply, plain_model
from vitjax.errors import ConfigError
from vitjax.explaining.programs import image_key
from vitjax.images.geometry import Preprocessing
from vitjax.methods.rise import random_mask

pytestmark = pytest.mark.unoptimised

HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
TARGETS = [1, 2]
X = np.random.default_rng(3).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)


def model_of(apply, params, **options):
    return vitjax.from_function(apply, params, **{"image_size": SIDE, "preprocess": HALF, **options})


@pytest.fixture(
    scope="module", params=[(library, kind) for library in BUILDERS for kind in ("cnn", "vit")], ids="-".join
)
def built(request):
    library, kind = request.param
    return BUILDERS[library](kind)


@pytest.fixture(scope="module")
def plain():
    return model_of(*plain_model())


def close(maps, expected, tolerance=1e-5):
    assert maps.shape == expected.shape and np.ptp(expected) > 0
    return np.abs(maps - expected).max() <= tolerance * np.abs(expected).max()


def test_maps_of_every_library_equal_gradients_by_hand(built):
    model = model_of(built.apply, built.params, num_classes=CLASSES)
    es = vitjax.explain_many(
        model,
        X,
        ["saliency", "gradient_x_input", "grad_cam:relu=False", "grad_cam:layer=features,score=probability"],
        TARGETS,
    )
    with jax.default_matmul_precision("highest"):
        for i, (image, target) in enumerate(zip(X, TARGETS, strict=True)):
            pixels = jax.grad(lambda x, target=target: built.head(built.features(x))[target])(image)
            assert close(es["saliency"].maps[i], np.abs(pixels).max(-1))
            assert close(es["gradient_x_input"].maps[i], np.asarray(image * pixels).sum(-1))
            features = built.features(image)
            by_map = jax.grad(lambda f, target=target: built.head(f)[target])(features)
            assert close(es["grad_cam(relu=False)"].maps[i], np.asarray((by_map.mean((0, 1)) * features).sum(-1)))
            by_map = jax.grad(lambda f, target=target: jax.nn.softmax(built.head(f))[target])(features)
            cam = np.maximum((by_map.mean((0, 1)) * features).sum(-1), 0)
            assert np.allclose(
                es["grad_cam(layer=features, score=probability)"].maps[i], cam, atol=1e-5 * np.abs(cam).max()
            )
            assert close(es["saliency"].logits[i], np.asarray(built.head(features)))


@pytest.mark.slow
def test_occlusion_and_rise_equal_loops(built):
    model = model_of(built.apply, built.params)
    es = vitjax.explain_many(model, X[:1], ["occlusion:window=8", "rise:n=6,cells=4", "random"], TARGETS[:1], seed=5)
    (image, target), occluded = (X[0], TARGETS[0]), np.zeros((SIDE, SIDE))

    def logits(x):
        with jax.default_matmul_precision("highest"):
            return np.asarray(built.head(built.features(jnp.asarray(x))))

    for top in range(0, SIDE, 8):
        for left in range(0, SIDE, 8):
            changed = image.copy()
            changed[top : top + 8, left : left + 8] = 0
            occluded[top : top + 8, left : left + 8] = logits(image)[target] - logits(changed)[target]
    assert close(es["occlusion(window=8)"].maps[0], occluded, 1e-4)
    key, total = image_key(jnp.uint32(5), es["random"].images.seeds()[0]), 0
    for number in range(6):
        mask = np.asarray(random_mask(jax.random.fold_in(key, number), (SIDE, SIDE), 4, 0.5))
        scores = np.exp(logits(image * mask[..., None]))
        total = total + scores[target] / scores.sum() * mask
    assert close(es["rise(n=6, cells=4)"].maps[0], total / (6 * 0.5))


QUICK = {"integrated_gradients": "steps=2", "smooth_grad": "n=2", "rise": "n=4", "meaningful_perturbation": "steps=2"}


@pytest.mark.slow
def test_the_function_of_a_native_model_gives_its_maps():
    """In float64, because the steps of Adam in meaningful_perturbation amplify rounding."""
    with jax.enable_x64(True):
        native = tiny_model("plain", np.float64)
        module, config = vitjax.ViT(native.config), native.config

        def apply(params, image):
            cells = image.reshape(config.grid[0], config.patch_size, config.grid[1], config.patch_size, 3).mean((1, 3))
            return module.apply({"params": params}, image) + 0 * cells.sum(), {"cells": cells}

        size = config.image_size
        function = vitjax.from_function(apply, native.params, image_size=size, preprocess=native.preprocessing)
        names = [name for name, method in vitjax.METHODS.items() if method.cnn is not None and name != "grad_cam"]
        methods = [f"{name}:{QUICK[name]}" if name in QUICK else name for name in names]
        methods[names.index("occlusion")] = f"occlusion:window={config.patch_size}"
        x = np.random.default_rng(0).normal(size=(1, *size, 3))
        expected, found = (vitjax.explain_many(model, x, methods) for model in (native, function))
    assert len(found) == 9
    for label, explanation in found.items():
        reference = expected[label]
        assert explanation.target.tolist() == reference.target.tolist() and explanation.level == reference.level
        assert close(explanation.maps, reference.maps, 1e-6), label


# ---- feature maps


class Compact(linen.Module):
    """One function with submodules, some of them rematerialised: what `capture_intermediates` is for."""

    @linen.compact
    def __call__(self, image):
        x = linen.relu(linen.Conv(4, (3, 3), name="first")(image))
        x = linen.remat(linen.Conv)(5, (3, 3), (2, 2), name="second")(x)
        return linen.Dense(CLASSES, name="head")(jnp.tanh(x).mean((0, 1)))


def test_captured_intermediates_of_compiled_and_rematerialised_modules():
    module = Compact()
    variables = module.init(jax.random.key(0), X[0])

    @jax.jit
    def apply(variables, image):
        logits, state = module.apply(variables, image, capture_intermediates=True)
        maps = {name: state["intermediates"][name]["__call__"][0] for name in ("first", "second")}
        return logits, maps

    def tail(name, features):
        layer = partial(linen.Conv(5, (3, 3), (2, 2)).apply, {"params": variables["params"]["second"]})
        x = layer(linen.relu(features)) if name == "first" else features
        head = variables["params"]["head"]
        return jnp.tanh(x).mean((0, 1)) @ head["kernel"] + head["bias"]

    model = model_of(apply, variables, feature_maps=["first", "second"])
    assert [each.shape for each in model.config.feature_maps] == [(32, 32, 4), (16, 16, 5)]
    methods = ["grad_cam:relu=False,layer=first", "grad_cam:relu=False,layer=-1"]
    es = vitjax.explain_many(model, X, methods, TARGETS)
    for name, explanation in zip(("first", "second"), es.values(), strict=True):
        for image, target, cam in zip(X, TARGETS, explanation.maps, strict=True):
            with jax.default_matmul_precision("highest"):
                features = apply(variables, image)[1][name]
                gradient = jax.grad(lambda f, name=name, target=target: tail(name, f)[target])(features)
            assert close(cam, np.asarray((gradient.mean((0, 1)) * features).sum(-1)))
    with pytest.raises(ConfigError, match="layer='third': the function returns first, second, or 0 to 1"):
        vitjax.explain(model, X, "grad_cam", layer="third")


@pytest.mark.parametrize("number", [0, 1])
def test_each_call_of_one_compiled_layer_has_a_map_of_its_own(number):
    """Both calls share one jaxpr, and the last compiled function also hands its input through."""
    layer = jax.jit(lambda x, weights: jnp.tanh(x @ weights))
    last = jax.jit(lambda x, weights: (x, (x**2).mean((0, 1)) @ weights))
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3)), jnp.float32)

    def apply(weights, image):
        first = layer(image, weights[0])
        second, logits = last(layer(first, weights[0]), weights[1])
        return logits, {"map": (first, second)[number]}

    def tail(features):
        return last(features if number else layer(features, weights[0]), weights[1])[1]

    (cam,) = vitjax.explain(model_of(apply, weights), X[:1], "grad_cam", relu=False, target=1).maps
    with jax.default_matmul_precision("highest"):
        features = apply(weights, X[0])[1]["map"]
        gradient = jax.grad(lambda features: tail(features)[1])(features)
    assert close(cam, np.asarray((gradient.mean((0, 1)) * features).sum(-1)))


def with_map(make):
    """The plain function with another map beside its logits."""

    def apply(params, image):
        logits, maps = plain_apply(params, image)
        return logits, {"map": make(params, image, maps["features"])}

    return apply


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda params, image, features: features.astype(jnp.bfloat16), "not computed from the array"),
        (lambda params, image, features: features.transpose(1, 0, 2), "not computed from the array"),
        (lambda params, image, features: image, "not computed from the array"),
        (lambda params, image, features: jnp.ones((2, 2, 1)), "not computed from the array"),
        (lambda params, image, features: plain_apply(params, image)[1]["features"], "not computed from the array"),
        (lambda params, image, features: features[0], r"must be floats \[h, w, c\], not \[8, 4\] float32"),
        (lambda params, image, features: features > 0, r"must be floats \[h, w, c\], not \[8, 8, 4\] bool"),
    ],
)
def test_a_map_by_which_logits_have_no_gradient_is_refused(make, message):
    with pytest.raises(ConfigError, match=f"feature map 'map': .*{message}") as caught:
        model_of(with_map(make), plain_model()[1])
    assert "\n" not in str(caught.value)


def test_a_map_from_inside_a_loop_is_refused():
    def apply(params, image):
        _, (features, logits) = jax.lax.scan(
            lambda carry, _: (carry, (jnp.tanh(carry), jnp.tanh(carry).mean((0, 1)) @ params)), image, length=1
        )
        return logits[0], {"map": features[0]}

    with pytest.raises(ConfigError, match="from inside a scan"):
        model_of(apply, jnp.ones((3, 2)))


def test_feature_maps_are_chosen_and_ordered_by_name(plain):
    apply, params = plain_model()
    assert plain.config.map_names == ("features",) and plain.config.grid == (8, 8)
    assert model_of(apply, params, feature_maps=[]).config.feature_maps == ()
    with pytest.raises(ConfigError, match="feature_maps: apply returns no map 'stem', but features"):
        model_of(apply, params, feature_maps=["stem"])
    without = model_of(lambda params, image: plain_apply(params, image)[0], params)
    assert without.config.grid == (2, 2)
    with pytest.raises(
        ConfigError, match="'grad_cam' needs a feature map that the function returns; 'custom' has none"
    ):
        vitjax.explain(without, X, "grad_cam")


# ---- what is refused


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (
            lambda params, x: x.mean((1, 2)) @ params,
            r"takes batches, \[1, 32, 32, 3\].*apply\(params, image\[None\]\)\[0\]",
        ),
        (lambda params, x: x.mean((0, 1))[None] @ params, r"not \[1, 2\] float32$"),
        (
            lambda params, x: (x.mean((0, 1)) @ params)[0],
            r"not \[\] float32; return one output as an array of shape \[1\]",
        ),
        (lambda params, x: (x.mean((0, 1)) @ params).argmax(keepdims=True), r"not \[1\] int32"),
        (lambda params, x: [x.mean((0, 1)) @ params], "not a list of other things"),
        (
            lambda params, x: x.reshape(-1) @ params,
            r"failed for one image \[32, 32, 3\] float32: TypeError: dot_general",
        ),
        (lambda params, x: x.mean((0, 1))[:2], "the logits do not depend on params"),
        (lambda params, x: params.sum(0), "the logits do not depend on the image"),
        (lambda params, x: jnp.log(-jnp.abs(x.mean((0, 1)) @ params)), "NaN or Inf for an image of normally"),
        ("no function", r"apply must be a function \(params, image\) -> logits, not a str"),
    ],
)
def test_wrong_functions_get_one_line(apply, message):
    with pytest.raises(ConfigError, match=message) as caught:
        model_of(apply, jnp.ones((3, 2)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 4}, "num_classes=4, but apply returns 3 logits"),
        ({"class_names": ["a", "b"]}, "class_names has 2 names, the model has 3 classes"),
        ({"class_names": "abc"}, "class_names must be a list of texts"),
        ({"image_size": (32, 0)}, r"image_size=\(32, 0\): must be"),
        ({"image_size": "32"}, "image_size='32': must be"),
        (
            {"preprocess": {"means": 0}},
            "'means' is not one of crop_mode, crop_pct, interpolation, mean, size, std",
        ),
        ({"preprocess": {"mean": 0.5}}, "preprocess="),
        ({"preprocess": {"std": (0, 1, 1)}}, "std above 0"),
        ({"preprocess": {**HALF, "size": 48}}, r"preprocess is for images of 48 pixels, image_size is \(32, 32\)"),
        ({"preprocess": Preprocessing()}, r"preprocess is for images of \(224, 224\) pixels, image_size is \(32, 32\)"),
        ({"dtype": "float16"}, "dtype 'float16': must be one of"),
        ({"dtype": "float64"}, "float64 needs JAX_ENABLE_X64=1"),
    ],
)
def test_wrong_arguments_get_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        model_of(*plain_model(), **options)
    assert "\n" not in str(caught.value)


def test_wrong_parameters_get_one_line():
    apply, params = plain_model()
    for wrong, message in (
        ({**params, "kernel": [1.0]}, r"params\['kernel'\]\[0\] is a float, not an array"),
        ({}, "params holds no floating-point arrays"),
        ({"kernel": np.ones(3, np.int32)}, "params holds no floating-point arrays"),
        ({**params, "head": np.ones((4, 3))}, "float64 needs JAX_ENABLE_X64=1.*or dtype='float32'"),
    ):
        with pytest.raises(ConfigError, match=message):
            model_of(apply, wrong)
    assert model_of(apply, {**params, "head": np.ones((4, 3))}, dtype="float32").dtype == np.float32


def test_an_unhashable_module_is_told_what_to_write():
    eqx = pytest.importorskip("equinox")
    linear = eqx.nn.Linear(3, 2, key=jax.random.key(0))
    with pytest.raises(ConfigError, match=r"apply, a Linear, is not hashable: .*eqx\.partition"):
        model_of(linear, {"kernel": jnp.ones(2)})


def test_a_model_that_updates_itself_is_refused():
    model = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
    with pytest.raises(ConfigError, match="failed for one image"):
        model_of(lambda params, image: model(image).mean((0, 1)) * params, jnp.ones(3))


# ---- what the model is


def test_classes_names_sizes_and_preprocessing(plain, capsys):
    apply, params = plain_model()
    model = model_of(apply, params, class_names=["cat", "dog", "owl"], name="mine", image_size=(32, 48))
    assert (model.name, model.label(2), model.config.num_classes) == ("mine", "owl", 3)
    assert model.preprocessing == Preprocessing((32, 48), 1.0, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert plain.label(2) == "class 2" and not capsys.readouterr().err
    model_of(apply, params, preprocess=None)
    assert capsys.readouterr().err.count("ImageNet's mean and standard deviation") == 1
    wide = np.random.default_rng(0).normal(size=(1, 64, 40, 3)).astype(np.float32)
    assert vitjax.explain(plain, wide, "grad_cam").maps.shape == (1, 16, 10)
    fixed = model_of(lambda params, image: image.reshape(-1) @ params, jnp.ones((SIDE * SIDE * 3, 2)))
    with pytest.raises(ConfigError, match=r"failed for one image \[64, 40, 3\]"):
        vitjax.explain(fixed, wide, "saliency")


def test_the_record_says_what_the_function_is():
    apply, params = plain_model()
    functions = (apply, apply, lambda params, image: 2 * apply(params, image)[0])
    one, again, other = (model_of(function, params).weights for function in functions)
    assert one == again and one["source"] == "tests.models.function_models.plain_apply" and one["format"] == "function"
    assert one["sha256"] == other["sha256"] and one["function"] != other["function"]
    constants = [jnp.ones(3), jnp.full(3, 2.0)]  # what a function encloses is part of it
    enclosing = [model_of(lambda params, x, c=c: x.mean((0, 1)) * c * params, jnp.ones(3)) for c in constants]
    assert enclosing[0].weights["function"] != enclosing[1].weights["function"]


def test_dtypes(plain):
    apply, params = plain_model()
    half = model_of(apply, params, dtype="bfloat16")
    assert half.dtype == jnp.bfloat16
    e = vitjax.explain(half, X, "grad_cam", target=TARGETS)
    assert e.maps.dtype == np.float32 and np.isfinite(e.maps).all()
    with jax.enable_x64(True):
        double = model_of(apply, params, dtype="float64")
        wide = vitjax.explain_many(double, X.astype(np.float64), ["saliency", "grad_cam"], TARGETS)
    for name, e in wide.items():
        assert e.maps.dtype == np.float64 and close(vitjax.explain(plain, X, name, target=TARGETS).maps, e.maps)


def test_methods_of_transformers_are_refused_by_name(plain):
    for name in ("rollout", "transformer_mm", "attention_flow", "vit_cx"):
        with pytest.raises(ConfigError, match=f"'{name}' needs a transformer; 'custom' is a function, .*rise"):
            vitjax.explain(plain, X, name)
    with pytest.raises(ConfigError, match="trace needs a transformer; 'custom' is a function"):
        vitjax.trace(plain, X)
    with pytest.raises(ConfigError, match="at='tokens' needs a transformer"):
        vitjax.explain(plain, X, "gradient_x_input", at="tokens")


def test_one_output_and_no_head():
    apply, params = plain_model(1)
    single = vitjax.explain(model_of(apply, params), X, "rise", n=4)
    assert single.verdict(0).endswith("%, sigmoid)") and single.target.tolist() == [0, 0]
    apply, params = plain_model(5)
    features = model_of(apply, params, num_classes=0)
    assert vitjax.explain(features, X, "saliency", target=4).verdict(1) == "no classes; explained: feature 4"
    with pytest.raises(ConfigError, match="or the number of a feature as target"):
        vitjax.explain(features, X, "saliency")
