"""ResNets: loading, the methods that explain them, and the Grad-CAM column of a ResNet next to a ViT."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import vitjax
from tests.cli.test_commands import error_of, image_files  # noqa: F401  (a fixture)
from tests.nn.test_resnet import LAYERS, relative, state_of, torch, torchvision_resnet
from vitjax import plots
from vitjax.cli.main import main
from vitjax.errors import ConfigError, LabelError, WeightsError
from vitjax.explaining.features import stage_features
from vitjax.explaining.inputs import prepare
from vitjax.explaining.programs import image_key
from vitjax.explaining.requests import request
from vitjax.images.reading import Preprocessing
from vitjax.methods import METHODS
from vitjax.models.families import CNNS, Entry
from vitjax.models.model import Model
from vitjax.nn.network import parameter_count
from vitjax.nn.resnet import ResNetConfig
from weights_convert.torchvision_resnet import params_of

pytestmark = pytest.mark.unoptimised

CONFIG = ResNetConfig(depths=(1, 1, 1, 1), width=8, num_classes=7, image_size=(64, 96))
ON_CNN = [name for name, method in METHODS.items() if method.cnn is not None]
QUICK = [name for name in ON_CNN if not METHODS[name].slow]
OPTIONS = {
    "integrated_gradients": {"steps": 2},
    "smooth_grad": {"n": 2},
    "rise": {"n": 8},
    "meaningful_perturbation": {"steps": 2},
    "occlusion": {"window": 32},
}
CASES = [{"method": name, **OPTIONS.get(name, {})} for name in ON_CNN]
CASES += [{"method": "grad_cam", "layer": "layer2", "relu": False, "score": "probability"}]


@pytest.fixture(scope="module")
def module():
    return torchvision_resnet(CONFIG).double()


def model_of(module, dtype=np.float32, config=CONFIG):
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params_of(state_of(module), config, "tiny"))
    return Model(config, params, Preprocessing(config.image_size, crop_pct=1.0), name="tiny resnet")


@pytest.fixture(scope="module")
def model(module):
    return model_of(module)


@pytest.fixture(scope="module")
def images(model):
    return prepare(model, np.random.default_rng(3).normal(size=(3, 64, 96, 3)).astype(np.float32))


@pytest.fixture(scope="module")
def explanations(model, images):
    return vitjax.explain_many(model, images, CASES, target=[1, 2, 3])


def torch_grad_cam(module, images, targets, layer, relu, score):
    """Grad-CAM maps from PyTorch's activations and gradients."""
    outputs = []

    def store(_module, _inputs, output):
        output.retain_grad()
        outputs.append(output)

    hook = getattr(module, layer).register_forward_hook(store)
    logits = module(torch.from_numpy(images).permute(0, 3, 1, 2).double())
    hook.remove()
    scores = logits.softmax(dim=-1) if score == "probability" else logits
    scores[range(len(images)), targets].sum().backward()
    weights = outputs[0].grad.mean(dim=(2, 3), keepdim=True)
    cam = (weights * outputs[0]).sum(dim=1)
    return (cam.relu() if relu else cam).detach().numpy()


@pytest.mark.parametrize(("score", "relu"), [("logit", True), ("probability", False)])
def test_grad_cam_of_every_stage_equals_pytorch(module, images, score, relu):
    targets = [1, 2, 3]
    options = {"method": "grad_cam", "relu": relu, "score": score}
    with jax.enable_x64(True):
        float64_model = model_of(module, np.float64)
        x = images.x.astype(np.float64)
        requests = [{**options, "layer": name} for name in LAYERS]
        explanations = vitjax.explain_many(float64_model, x, requests, targets)
    for stage, (name, explanation) in enumerate(zip(LAYERS, explanations.values(), strict=True)):
        reference = torch_grad_cam(module, x, targets, name, relu, score)
        assert explanation.maps.dtype == np.float64 and explanation.maps.shape == (3, *CONFIG.grid_of(stage))
        assert (explanation.level, explanation.label.count(name)) == ("token", 1)
        for heatmap, expected in zip(explanation.maps, reference, strict=True):
            assert np.abs(heatmap - expected).max() <= 1e-9 * np.abs(expected).max(), name
        assert np.ptp(reference) > 0, name


@pytest.mark.slow
def test_layers_are_given_by_index_or_name(model, images):
    numbers = [-4, -3, -2, -1, 0, 1, 2, 3]
    requests = ["grad_cam", *({"method": "grad_cam", "layer": number} for number in numbers)]
    explanations = vitjax.explain_many(model, images, requests, 1)
    shapes = [explanation.maps.shape[1:] for explanation in explanations.values()]
    grids = [CONFIG.grid_of(stage) for stage in range(4)]
    assert shapes == [grids[3], *grids, *grids]
    np.testing.assert_array_equal(explanations["grad_cam"].maps, explanations["grad_cam(layer=3)"].maps)
    for layer in (4, -5, "layer5", "conv1"):
        with pytest.raises(ConfigError, match="a ResNet has layer1, layer2, layer3, layer4, or 0 to 3"):
            vitjax.explain(model, images, "grad_cam", layer=layer)
    vit = vitjax.load("vitjax_scenes")
    blank = np.zeros((1, *vit.config.image_size, 3), np.uint8)
    with pytest.raises(ConfigError, match=r"layer=layer4: the model has blocks 0 to \d+"):
        vitjax.explain(vit, blank, "grad_cam", layer="layer4")


def test_methods_that_explain_a_resnet():
    pixel_methods = {"saliency", "gradient_x_input", "integrated_gradients", "smooth_grad", "occlusion", "rise"}
    assert set(ON_CNN) == pixel_methods | {"meaningful_perturbation", "centre", "random", "grad_cam"}


def test_maps_have_the_expected_shape_and_depend_on_the_target(model, images, explanations):
    others = vitjax.explain_many(model, images, CASES, target=[4, 5, 6])
    for label, explanation in explanations.items():
        maps = explanation.maps
        layer = {"layer2": 1}.get(explanation.options.get("layer"), 3)
        size = CONFIG.grid_of(layer) if explanation.level == "token" else CONFIG.image_size
        assert maps.shape == (3, *size) and maps.dtype == np.float32, label
        assert np.isfinite(maps).all(), label
        assert np.array_equal(maps, others[label].maps) != METHODS[explanation.method].class_specific, label


@pytest.mark.slow
def test_maps_do_not_depend_on_batches_or_order(model, images, explanations):
    order = [2, 0, 1]
    cases = [case for case in CASES if case["method"] in (*QUICK, "rise", "smooth_grad")]
    reordered = vitjax.explain_many(model, images.take(order), cases, target=[3, 1, 2], batch_size=2)
    for label, explanation in reordered.items():
        expected = explanations[label].maps[order]
        np.testing.assert_allclose(
            explanation.maps, expected, atol=3e-5 * np.abs(expected).max(), rtol=0, err_msg=label
        )


@pytest.mark.slow
def test_jit_equals_eager(model, images, explanations):
    key = image_key(jnp.uint32(0), images.seeds()[0])
    for wanted in map(
        request, (case for case in CASES if case["method"] in QUICK)
    ):  # slow methods scan over the same computations
        with jax.disable_jit(), jax.default_matmul_precision("highest"):
            x = jnp.asarray(images.x[0])
            eager = wanted.method.one(CONFIG, model.params, x, jnp.int32(1), key=key, **dict(wanted.options))
        expected = explanations[wanted.label].maps[0]
        np.testing.assert_allclose(eager, expected, atol=3e-5 * np.abs(expected).max(), rtol=0, err_msg=wanted.label)


def test_pixel_gradients_equal_pytorch(module, model, images, explanations):
    x = torch.from_numpy(images.x).double().requires_grad_()
    module(x.permute(0, 3, 1, 2))[range(3), [1, 2, 3]].sum().backward()
    gradient = x.grad.numpy()
    assert relative(explanations["saliency"].maps, np.abs(gradient).max(-1)) < 1e-4
    assert relative(explanations["gradient_x_input"].maps, (gradient * images.x).sum(-1)) < 1e-4


@pytest.mark.slow
def test_integrated_gradients_with_many_steps_are_complete(model, images):
    """ReLUs and max pooling make the integrand discontinuous, so few steps are not enough."""
    explanation = vitjax.explain(model, images, "integrated_gradients", target=[1, 2, 3], steps=64)
    assert explanation.completeness_gap().max() < 0.05


def test_transformer_methods_are_rejected(model, images):
    for name in ("rollout", "transformer_mm", "attention_flow", "vit_cx"):
        with pytest.raises(ConfigError, match=f"'{name}' needs a transformer; 'tiny resnet' is a ResNet.*grad_cam"):
            vitjax.explain(model, images, name)
    with pytest.raises(ConfigError, match="trace needs a transformer; 'tiny resnet' is a ResNet"):
        vitjax.trace(model, images)
    with pytest.raises(ConfigError, match="at='tokens' needs a transformer"):
        vitjax.explain(model, images, "gradient_x_input", at="tokens")
    with pytest.raises(LabelError, match="class 7 is out of range, the model has 7 classes"):
        vitjax.explain(model, images, "grad_cam", target=7)


def test_logits_image_sizes_and_stage_features(module, model, images):
    with torch.no_grad():
        reference = module(torch.from_numpy(images.x).permute(0, 3, 1, 2).double()).numpy()
    assert relative(model.logits(images.x), reference) < 1e-4
    larger = model.at_size((65, 130))
    assert (larger.config.image_size, larger.preprocessing.size) == ((65, 130), (65, 130))
    assert larger.params is model.params and "positions" not in larger.weights
    x = np.random.default_rng(0).normal(size=(1, 65, 130, 3)).astype(np.float32)
    assert vitjax.explain(model, x, "grad_cam").maps.shape == (1, 3, 5)
    with pytest.raises(ConfigError, match="below the 32 pixels"):
        model.at_size((31, 64))
    stages = stage_features(model, images, batch_size=2)
    for stage, (name, maps) in enumerate(stages.items()):
        assert name == LAYERS[stage] and maps.shape == (3, *CONFIG.grid_of(stage), 32 << stage)
    with pytest.raises(ConfigError, match="stage_features needs a ResNet"):
        stage_features(vitjax.load("vitjax_scenes"), np.zeros((1, 64, 64, 3), np.uint8))


def test_bfloat16_model_gives_finite_float32_maps(module, images):
    bfloat16_model = model_of(module, jnp.bfloat16)
    for explanation in vitjax.explain_many(bfloat16_model, images, ["grad_cam", "saliency"], 1).values():
        assert explanation.maps.dtype == np.float32 and np.isfinite(explanation.maps).all()


# ---- loading by name


@pytest.fixture
def tiny_resnet50(monkeypatch):
    """Replace the architecture of `resnet50` with the tiny one."""
    preprocessing = Preprocessing(CONFIG.image_size, crop_pct=0.875, interpolation="bilinear")
    monkeypatch.setitem(CNNS, "resnet50", Entry(CONFIG, preprocessing, None))


@pytest.fixture(scope="module")
def weights(module, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    state = {key: value.astype(np.float32) for key, value in state_of(module).items() if value.dtype == np.float64}
    save_file(state, folder / "tiny.safetensors")
    torch.save({key: torch.from_numpy(value) for key, value in state.items()}, folder / "tiny.pth")
    save_file({**state, "fc.bias": np.full(7, np.nan, np.float32)}, folder / "nan.safetensors")
    save_file({**state, "extra": np.zeros(1, np.float32)}, folder / "extra.safetensors")
    save_file({key: value for key, value in state.items() if key != "fc.bias"}, folder / "missing.safetensors")
    return folder


def test_load_from_files(tiny_resnet50, weights, model, images):
    loaded = [vitjax.load("resnet50", weights / name) for name in ("tiny.safetensors", "tiny.pth")]
    for loaded_model in loaded:
        np.testing.assert_array_equal(loaded_model.logits(images.x), model.logits(images.x))
    assert loaded[0].weights["sha256"] == loaded[1].weights["sha256"]
    assert loaded[0].weights["format"] == "safetensors"
    for name, cause in (("nan", "7 NaN"), ("extra", "extra: extra"), ("missing", r"missing: fc\.bias \[7\]")):
        with pytest.raises(WeightsError, match=rf"{name}\.safetensors: [\s\S]*{cause}"):
            vitjax.load("resnet50", weights / f"{name}.safetensors")
    with pytest.raises(WeightsError, match="contains 5 checkpoint files"):
        vitjax.load("resnet50", weights)
    with pytest.raises(WeightsError, match="has no default weights"):
        vitjax.load("resnet50")
    with pytest.raises(WeightsError, match=r"misshaped: fc\.weight is \[7, 256\], needs \[9, 256\]"):
        vitjax.load("resnet50", weights / "tiny.pth", num_classes=9)
    assert vitjax.load("resnet50", weights / "tiny.pth", image_size=64).config.image_size == (64, 64)
    assert vitjax.load("resnet50", weights / "tiny.pth", dtype="bfloat16").dtype == jnp.bfloat16


def test_resnet50_equals_the_model_of_that_name_in_timm(capsys):
    from tests.timm_peers import timm

    entry = CNNS["resnet50"]
    with torch.device("meta"):
        timm_model = timm.create_model("resnet50.tv_in1k")
    assert entry.hub == "timm/resnet50.tv_in1k" == timm_model.pretrained_cfg["hf_hub_id"]
    assert Preprocessing.from_timm(timm_model.pretrained_cfg) == entry.preprocessing
    timm_count = sum(parameter.numel() for parameter in timm_model.parameters())
    assert parameter_count(entry.config) == timm_count == 25_557_032
    main(["models"])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("resnet50"))
    assert "25.56 M" in line and "ResNet" in line and "224x224" in line


# ---- figures and the command line


def test_feature_sheet_titles_every_panel(images):
    rng = np.random.default_rng(0)
    stages = {"layer1": rng.random((16, 24, 8)), "layer4": rng.random((2, 3, 2))}
    stages["layer1"][..., 1] = 0
    texts = [text.get_text() for text in plots.feature_sheet(images.pixels[0], stages, channels=3).axes[0].texts]
    assert texts.count("Mean") == 2 and texts.count("Channel 1") == 2 and texts.count("Channel 2") == 1
    assert texts.count("flat") == 1 and "16 × 24\n8 channels" not in texts and "layer4" in texts
    for invalid, message in (
        ({}, "at least one stage"),
        ({"layer1": np.zeros((2, 3))}, r"layer1: expected .* \[2, 3\]"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.feature_sheet(images.pixels[0], invalid)


@pytest.mark.slow
def test_explain_command_on_a_resnet(tiny_resnet50, weights, image_files, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "out"
    arguments = ["--model", "resnet50", "--weights", str(weights / "tiny.pth"), "-o", str(out)]
    error = error_of(capsys, "explain", image_files[0], *arguments)
    assert "'rollout' needs a transformer; 'resnet50' is a ResNet" in error and error.count("\n") == 1
    main(["explain", *image_files[:2], *arguments, "--methods", "all", "grad_cam:layer=layer2", "--sheets"])
    names = {path.name for path in out.iterdir()}
    assert {"scene0_features.png", "scene1_grad_cam_layer-layer2.png", "saliency.npz", "grad_cam.npz"} <= names
    assert not [name for name in names if "attention" in name]
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    for row in rows:
        names, probabilities = row["top5"].split(";"), list(map(float, row["top5_probabilities"].split(";")))
        assert len(names) == len(probabilities) == 5 and names[0] == row["predicted_name"]
        assert probabilities == sorted(probabilities, reverse=True)
        assert probabilities[0] == pytest.approx(float(row["predicted_probability"]), rel=1e-5)
    assert json.loads((out / "manifest.json").read_text())["model"]["weights"]["sha256"]


@pytest.mark.slow
def test_compare_command_with_a_resnet_column(tiny_resnet50, weights, image_files, tmp_path, capsys):  # noqa: F811
    out, file = tmp_path / "out", weights / "tiny.safetensors"
    cnn = ["--cnn", "resnet50", "--cnn-weights", str(file)]
    main(["compare", *image_files[:2], "--methods", "rollout", *cnn, "-o", str(out)])
    assert "| resnet50: class " in capsys.readouterr().out
    page = (out / "index.html").read_text()
    assert ">resnet50 grad_cam<" in page and "predicted: class " in page
    manifest = json.loads((out / "manifest.json").read_text())
    expected = vitjax.load("resnet50", file).weights
    assert manifest["cnn"]["weights"] == expected and manifest["cnn"]["name"] == "resnet50"
    assert manifest["model"]["name"] == "vitjax_scenes" and "resnet50 grad_cam" in manifest["methods"]
    alone = vitjax.explain(vitjax.load("resnet50", file), image_files[:2], "grad_cam")
    saved = np.load(out / "resnet50_grad_cam.npz")
    np.testing.assert_allclose(saved["maps"], alone.maps, rtol=1e-5)
    rows = list(csv.DictReader((out / "predictions_resnet50.csv").open()))
    assert [int(row["predicted"]) for row in rows] == alone.predicted.tolist()
    with Image.open(out / "grid.png") as grid:
        assert grid.width > 400
    again = tmp_path / "again"
    assert "unknown CNN 'resnet18'" in error_of(capsys, "compare", *image_files, "--cnn", "resnet18", "-o", again)
    error = error_of(capsys, "compare", *image_files, *cnn, "--target", "9", "-o", again)
    assert "class 9 is out of range, the model has 7 classes" in error
    assert not again.exists()


@pytest.mark.slow
def test_full_size_resnet50_equals_pytorch(tmp_path, image_files):  # noqa: F811
    module = torchvision_resnet(ResNetConfig())
    torch.save(module.state_dict(), tmp_path / "resnet50.pth")
    model = vitjax.load("resnet50", tmp_path / "resnet50.pth")
    explanation = vitjax.explain(model, image_files[0], "grad_cam")
    assert explanation.maps.shape == (1, 7, 7) and len(model.labels) == 1000
    targets = explanation.target.tolist()
    reference = torch_grad_cam(module.double(), explanation.images.x, targets, "layer4", True, "logit")
    assert relative(explanation.maps, reference) < 1e-3
