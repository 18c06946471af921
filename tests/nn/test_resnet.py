"""ResNet against torchvision and timm: every stage, logits, gradients, and the conversion of parameters."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.timm_peers import random_images, randomise, timm, torch
from vitjax.errors import ConfigError, WeightsError
from vitjax.nn.resnet import ResNet, ResNetConfig
from weights_convert.keys import flatten
from weights_convert.load import read_state
from weights_convert.torchvision_resnet import parameter_shapes, params_of, state_shapes, to_state

torchvision = pytest.importorskip("torchvision")
Bottleneck = torchvision.models.resnet.Bottleneck

QUICK_COMPILE = {"xla_backend_optimization_level": 0}  # each program here runs once
TARGET = 3
NARROW = ResNetConfig(depths=(1, 2, 1, 1), width=8, num_classes=10, image_size=(32, 32))
LAYERS = ("layer1", "layer2", "layer3", "layer4")


def random_statistics(module, seed=1):
    """`module` in eval mode, with random parameters and running statistics, so that none is neutral."""
    randomise(module)
    rng = np.random.default_rng(seed)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.from_numpy(rng.normal(size=buffer.shape) * 0.3))
        elif name.endswith("running_var"):
            buffer.copy_(torch.from_numpy(rng.uniform(0.5, 2.0, size=buffer.shape)))
    return module.eval()


def torchvision_resnet(config):
    """torchvision's network for a configuration. Its constructor has no width, so other widths replace the layers."""
    module = torchvision.models.resnet.ResNet(Bottleneck, list(config.depths), config.num_classes)
    if config.width != 64:
        module.inplanes = config.width
        module.conv1 = torch.nn.Conv2d(3, config.width, 7, stride=2, padding=3, bias=False)
        module.bn1 = torch.nn.BatchNorm2d(config.width)
        for stage, depth in enumerate(config.depths):
            layer = module._make_layer(Bottleneck, config.width << stage, depth, stride=2 if stage else 1)
            setattr(module, LAYERS[stage], layer)
        module.fc = torch.nn.Linear(32 * config.width, config.num_classes)
    return random_statistics(module)


def state_of(module):
    return {key: value.detach().numpy() for key, value in module.state_dict().items()}


def torch_trace(module, images):
    """Logits, outputs of the stages, and gradients of the target logit by these and by the image; channels last."""
    outputs = {}

    def keep(name):
        def hook(_module, _inputs, output):
            output.retain_grad()
            outputs[name] = output

        return hook

    for name in LAYERS:
        getattr(module, name).register_forward_hook(keep(name))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(next(module.parameters()).dtype).requires_grad_()
    logits = module(pixels)
    logits[:, TARGET].sum().backward()
    outputs["image"] = pixels
    maps = {name: value.detach().permute(0, 2, 3, 1).numpy() for name, value in outputs.items()}
    gradients = {f"gradient {name}": value.grad.permute(0, 2, 3, 1).numpy() for name, value in outputs.items()}
    return {"logits": logits.detach().numpy(), **maps, **gradients}


def jax_trace(config, params, images, gradients=True):
    """The arrays that `torch_trace` returns, and the logits computed from every stage's output."""
    net = ResNet(config)

    def one(image):
        def score(stage, features):
            logits = net.apply({"params": params}, stage, features, method="from_stage")
            return logits[TARGET], logits

        def target_logit(image):
            return net.apply({"params": params}, image)[TARGET]

        stages = net.apply({"params": params}, image, method="stages")
        arrays = {"logits": net.apply({"params": params}, image), "image": image}
        if gradients:
            arrays["gradient image"] = jax.grad(target_logit)(image)
        for stage, (name, features) in enumerate(zip(LAYERS, stages, strict=True)):
            arrays[name] = features
            if gradients:
                gradient, logits = jax.grad(score, argnums=1, has_aux=True)(stage, features)
                arrays |= {f"gradient {name}": gradient, f"from {name}": logits}
        return arrays

    with jax.default_matmul_precision("highest"):
        return run_once(jax.vmap(one), images)


def run_once(function, *arguments):
    return jax.jit(function).lower(*arguments).compile(QUICK_COMPILE)(*arguments)


def relative(ours, theirs):
    assert ours.shape == theirs.shape and np.abs(theirs).max() > 1e-6  # not a comparison of zeros
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


PEERS = {
    "narrow": NARROW.at_size((64, 97)),  # strides pad even and odd sides differently
    "deeper": replace(NARROW, depths=(2, 1, 3, 2), image_size=(65, 97)),
    "constructor": ResNetConfig(depths=(1, 1, 1, 1), num_classes=10, image_size=(64, 64)),
}
QUICK = "narrow"


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == QUICK else [pytest.mark.slow]) for n in PEERS])
def test_equals_torchvision_in_float64(name):
    config = PEERS[name]
    module = torchvision_resnet(config).double()
    images = random_images(config.image_size).astype(np.float64)
    theirs = torch_trace(module, images)
    with jax.enable_x64(True):
        ours = jax_trace(config, params_of(state_of(module), config, name), images)
    for stage, layer in enumerate(LAYERS):
        assert ours[layer].shape[1:3] == config.grid_of(stage)
        assert relative(ours[f"from {layer}"], theirs["logits"]) < 1e-10
        assert relative(ours[f"from {layer}"], np.asarray(ours["logits"])) < 1e-12
    for key, expected in theirs.items():
        assert ours[key].dtype == np.float64
        assert relative(ours[key], expected) < 1e-10, key


def test_equals_torchvision_in_float32_at_an_odd_size():
    config = NARROW.at_size((65, 97))
    module = torchvision_resnet(config)
    images = random_images(config.image_size)
    theirs = torch_trace(module, images)
    ours = jax_trace(config, params_of(state_of(module), config, "odd"), images, gradients=False)
    for key in ("logits", *LAYERS):
        assert relative(ours[key], theirs[key]) < 1e-4, key


@pytest.mark.slow
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_resnet50_equals_torchvision_and_timm(library):
    module = torchvision.models.resnet50() if library == "torchvision" else timm.create_model("resnet50")
    module = random_statistics(module)
    config = ResNetConfig()
    images = random_images(config.image_size)
    theirs = torch_trace(module, images)
    ours = jax_trace(config, params_of(state_of(module), config, library), images, gradients=False)
    for key in ("logits", *LAYERS):
        assert relative(ours[key], theirs[key]) < 1e-4, key


def test_resnet50_has_torchvisions_keys_and_parameter_count():
    with torch.device("meta"):
        modules = [torchvision.models.resnet50(), timm.create_model("resnet50")]
    for module in modules:
        theirs = {key: tuple(value.shape) for key, value in module.state_dict().items()}
        assert state_shapes(ResNetConfig()) == {key: theirs[key] for key in theirs if "num_batches" not in key}
    trained = {path: shape for path, shape in parameter_shapes(ResNetConfig()).items() if path[-4:] not in MOMENTS}
    assert sum(int(np.prod(shape)) for shape in trained.values()) == 25_557_032


MOMENTS = ("mean", ".var")


@pytest.fixture(scope="module")
def state():
    return state_of(torchvision_resnet(NARROW))


def test_model_without_head_returns_pooled_features_and_stages_are_sown(state):
    config = replace(NARROW, num_classes=0)
    params = params_of({key: array for key, array in state.items() if key[:3] != "fc."}, config, "headless")
    net, image = ResNet(config), random_images((32, 32))[0]

    def run(image):
        features, sown = net.apply({"params": params}, image, mutable=["intermediates"])
        return features, sown["intermediates"], net.apply({"params": params}, image, method="stages")

    features, intermediates, stages = run_once(run, image)
    assert features.shape == (256,)
    np.testing.assert_allclose(features, stages[3].mean((0, 1)), rtol=1e-5)
    assert intermediates.keys() == set(LAYERS)
    for layer, output in zip(LAYERS, stages, strict=True):
        np.testing.assert_array_equal(intermediates[layer]["output"], output)


def test_bfloat16_runs_and_converted_parameters_have_the_shapes_of_init(state):
    params, net = params_of(state, NARROW, "narrow"), ResNet(NARROW)
    image = random_images((32, 32))[0]
    initial = jax.eval_shape(net.init, jax.random.key(0), image)["params"]
    assert jax.tree.map(jnp.shape, initial) == jax.tree.map(jnp.shape, params)
    half = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), params)
    ours = run_once(net.apply, {"params": half}, image.astype(jnp.bfloat16))
    assert ours.dtype == jnp.bfloat16
    assert relative(ours.astype(jnp.float32), np.asarray(run_once(net.apply, {"params": params}, image))) < 0.1


def test_invalid_configurations_and_stages_are_refused():
    for size in ((31, 64), (64, 31)):
        with pytest.raises(ConfigError, match="31 is below the 32 pixels"):
            NARROW.at_size(size)
    with pytest.raises(ConfigError, match="four numbers"):
        ResNetConfig(depths=(3, 4, 6))
    assert [ResNetConfig().grid_of(stage) for stage in range(4)] == [(56, 56), (28, 28), (14, 14), (7, 7)]
    assert hash(NARROW.at_size([32, 32])) == hash(NARROW)
    for stage in (-1, 4):
        with pytest.raises(ConfigError, match=f"stage {stage} is not one of 0"):
            ResNet(NARROW).apply({}, stage, jnp.zeros((2, 2, 256)), method="from_stage")


# ---- conversion


def test_parameters_from_files_convert_back_to_torch(state, tmp_path):
    module = torchvision_resnet(NARROW)
    save_file(state, tmp_path / "narrow.safetensors")
    torch.save({"state_dict": module.state_dict()}, tmp_path / "narrow.pth")
    params = params_of(state, NARROW, "live")
    for name in ("narrow.safetensors", "narrow.pth"):
        read = flatten(params_of(read_state(tmp_path / name), NARROW, name))
        assert all(np.array_equal(array, read[path]) for path, array in flatten(params).items())
    back = to_state(params)
    assert back.keys() == {key for key in state if "num_batches" not in key}
    assert all(np.array_equal(back[key], state[key]) and back[key].flags.c_contiguous for key in back)
    mismatch = torch.nn.Module.load_state_dict(
        torchvision_resnet(NARROW), {key: torch.from_numpy(back[key]) for key in back}
    )
    assert not mismatch.missing_keys and not mismatch.unexpected_keys


def test_float16_weights_are_converted_to_float32(state):
    half = {key: array.astype(np.float16) for key, array in state.items()}
    assert {array.dtype for array in flatten(params_of(half, NARROW, "half")).values()} == {np.dtype(np.float32)}


def test_error_lists_every_key_that_does_not_fit(state):
    wrong = {key: array for key, array in state.items() if key not in ("conv1.weight", "layer3.0.bn2.running_var")}
    wrong |= {"layer1.1.conv1.weight": np.zeros((8, 32, 1, 1)), "fc.weight": np.zeros((7, 256))}
    with pytest.raises(WeightsError) as caught:
        params_of(wrong, NARROW, "wrong.safetensors")
    assert str(caught.value).splitlines() == [
        "wrong.safetensors: 4 keys do not fit a ResNet with 1-2-1-1 blocks, width 8, 10 classes:",
        "  missing: conv1.weight [8, 3, 7, 7]",
        "  missing: layer3.0.bn2.running_var [32]",
        "  extra: layer1.1.conv1.weight [8, 32, 1, 1]",
        "  misshaped: fc.weight is [7, 256], needs [10, 256]",
    ]


def test_nonfinite_weights_are_refused(state):
    bad = {key: array.copy() for key, array in state.items()}
    bad["fc.bias"][:2] = np.nan
    bad["layer2.0.bn1.running_var"][0] = np.inf
    with pytest.raises(WeightsError, match=r"^bad\.pth: weights that are not finite") as caught:
        params_of(bad, NARROW, "bad.pth")
    assert "fc.bias: 2 NaN, 0 Inf of 10" in str(caught.value)
    assert "layer2.0.bn1.running_var: 0 NaN, 1 Inf of 16" in str(caught.value)
