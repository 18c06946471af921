"""A ResNet as a model like any other: loading, what explains it, and a CNN's column beside a ViT's."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import vitjax
from tests.cli.test_commands import fails, pictures  # noqa: F401  (a fixture)
from tests.nn.test_resnet import LAYERS, peer, relative, state_of, torch
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
    return peer(CONFIG).double()


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
def found(model, images):
    return vitjax.explain_many(model, images, CASES, target=[1, 2, 3])


def torch_grad_cam(module, images, targets, layer, relu, score):
    """The formula on PyTorch's own gradients."""
    seen = []

    def keep(_module, _inputs, output):
        output.retain_grad()
        seen.append(output)

    hook = getattr(module, layer).register_forward_hook(keep)
    logits = module(torch.from_numpy(images).permute(0, 3, 1, 2).double())
    hook.remove()
    scores = logits.softmax(dim=-1) if score == "probability" else logits
    scores[range(len(images)), targets].sum().backward()
    weights = seen[0].grad.mean(dim=(2, 3), keepdim=True)
    cam = (weights * seen[0]).sum(dim=1)
    return (cam.relu() if relu else cam).detach().numpy()


@pytest.mark.parametrize(("score", "relu"), [("logit", True), ("probability", False)])
def test_grad_cam_of_every_stage_is_the_formula_on_pytorch(module, images, score, relu):
    targets = [1, 2, 3]
    options = {"method": "grad_cam", "relu": relu, "score": score}
    with jax.enable_x64(True):
        wide = model_of(module, np.float64)
        x = images.x.astype(np.float64)
        maps = vitjax.explain_many(wide, x, [{**options, "layer": name} for name in LAYERS], targets)
    for stage, (name, each) in enumerate(zip(LAYERS, maps.values(), strict=True)):
        theirs = torch_grad_cam(module, x, targets, name, relu, score)
        assert each.maps.dtype == np.float64 and each.maps.shape == (3, *CONFIG.grid_of(stage))
        assert (each.level, each.label.count(name)) == ("token", 1)
        for ours, expected in zip(each.maps, theirs, strict=True):
            assert np.abs(ours - expected).max() <= 1e-9 * np.abs(expected).max(), name
        assert np.ptp(theirs) > 0, name


def test_layers_have_numbers_and_names(model, images):
    numbers = [-4, -3, -2, -1, 0, 1, 2, 3]
    found = vitjax.explain_many(model, images, ["grad_cam", *({"method": "grad_cam", "layer": n} for n in numbers)], 1)
    shapes = [each.maps.shape[1:] for each in found.values()]
    grids = [CONFIG.grid_of(stage) for stage in range(4)]
    assert shapes == [grids[3], *grids, *grids]
    np.testing.assert_array_equal(found["grad_cam"].maps, found["grad_cam(layer=3)"].maps)
    for layer in (4, -5, "layer5", "conv1"):
        with pytest.raises(ConfigError, match="a ResNet has layer1, layer2, layer3, layer4, or 0 to 3"):
            vitjax.explain(model, images, "grad_cam", layer=layer)
    scenes = vitjax.load("vitjax_scenes")
    blank = np.zeros((1, *scenes.config.image_size, 3), np.float32)
    with pytest.raises(ConfigError, match=r"layer=layer4: the model has blocks 0 to \d+"):
        vitjax.explain(scenes, blank, "grad_cam", layer="layer4")


def test_what_explains_a_resnet():
    pixels = {"saliency", "gradient_x_input", "integrated_gradients", "smooth_grad", "occlusion", "rise"}
    assert set(ON_CNN) == pixels | {"meaningful_perturbation", "centre", "random", "grad_cam"}


def test_maps_have_their_shapes_and_follow_the_target(model, images, found):
    others = vitjax.explain_many(model, images, CASES, target=[4, 5, 6])
    for label, each in found.items():
        layer = {"layer2": 1}.get(each.options.get("layer"), 3)
        size = CONFIG.grid_of(layer) if each.level == "token" else CONFIG.image_size
        assert each.maps.shape == (3, *size) and each.maps.dtype == np.float32, label
        assert np.isfinite(each.maps).all(), label
        assert np.array_equal(each.maps, others[label].maps) != METHODS[each.method].class_specific, label


def test_batches_do_not_matter(model, images, found):
    order = [2, 0, 1]
    cases = [case for case in CASES if case["method"] in (*QUICK, "rise", "smooth_grad")]
    turned = vitjax.explain_many(model, images.take(order), cases, target=[3, 1, 2], batch_size=2)
    for label, each in turned.items():
        expected = found[label].maps[order]
        np.testing.assert_allclose(each.maps, expected, atol=3e-5 * np.abs(expected).max(), rtol=0, err_msg=label)


@pytest.mark.slow
def test_jit_equals_eager(model, images, found):
    key = image_key(jnp.uint32(0), images.seeds()[0])
    for wanted in map(request, (case for case in CASES if case["method"] in QUICK)):  # the others scan over these
        with jax.disable_jit(), jax.default_matmul_precision("highest"):
            x = jnp.asarray(images.x[0])
            eager = wanted.method.one(CONFIG, model.params, x, jnp.int32(1), key=key, **dict(wanted.options))
        expected = found[wanted.label].maps[0]
        np.testing.assert_allclose(eager, expected, atol=3e-5 * np.abs(expected).max(), rtol=0, err_msg=wanted.label)


def test_pixel_gradients_are_pytorchs(module, model, images, found):
    x = torch.from_numpy(images.x).double().requires_grad_()
    module(x.permute(0, 3, 1, 2))[range(3), [1, 2, 3]].sum().backward()
    gradient = x.grad.numpy()
    assert relative(found["saliency"].maps, np.abs(gradient).max(-1)) < 1e-4
    assert relative(found["gradient_x_input"].maps, (gradient * images.x).sum(-1)) < 1e-4


@pytest.mark.slow
def test_many_steps_of_integrated_gradients_are_complete(model, images):
    """ReLUs and max pooling: the integrand jumps, so that few are not."""
    many = vitjax.explain(model, images, "integrated_gradients", target=[1, 2, 3], steps=64)
    assert many.completeness_gap().max() < 0.05


def test_methods_of_transformers_are_refused(model, images):
    for name in ("rollout", "transformer_mm", "attention_flow", "vit_cx"):
        with pytest.raises(ConfigError, match=f"'{name}' needs a transformer; 'tiny resnet' is a ResNet.*grad_cam"):
            vitjax.explain(model, images, name)
    with pytest.raises(ConfigError, match="trace needs a transformer; 'tiny resnet' is a ResNet"):
        vitjax.trace(model, images)
    with pytest.raises(ConfigError, match="at='tokens' needs a transformer"):
        vitjax.explain(model, images, "gradient_x_input", at="tokens")
    with pytest.raises(LabelError, match="class 7 is out of range, the model has 7 classes"):
        vitjax.explain(model, images, "grad_cam", target=7)


def test_model_logits_sizes_and_features(module, model, images):
    with torch.no_grad():
        theirs = module(torch.from_numpy(images.x).permute(0, 3, 1, 2).double()).numpy()
    assert relative(model.logits(images.x), theirs) < 1e-4
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
        stage_features(vitjax.load("vitjax_scenes"), np.zeros((1, 64, 64, 3), np.float32))


def test_bfloat16_explains(module, images):
    half = model_of(module, jnp.bfloat16)
    for each in vitjax.explain_many(half, images, ["grad_cam", "saliency"], 1).values():
        assert each.maps.dtype == np.float32 and np.isfinite(each.maps).all()


# ---- by name


@pytest.fixture
def tiny_zoo(monkeypatch):
    """`resnet50` stands for the tiny network."""
    preprocessing = Preprocessing(CONFIG.image_size, crop_pct=0.875, interpolation="bilinear")
    monkeypatch.setitem(CNNS, "resnet50", Entry(CONFIG, preprocessing, None))


@pytest.fixture(scope="module")
def weights(module, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    single = {key: value.astype(np.float32) for key, value in state_of(module).items() if value.dtype == np.float64}
    save_file(single, folder / "tiny.safetensors")
    torch.save({key: torch.from_numpy(value) for key, value in single.items()}, folder / "tiny.pth")
    save_file({**single, "fc.bias": np.full(7, np.nan, np.float32)}, folder / "nan.safetensors")
    save_file({**single, "extra": np.zeros(1, np.float32)}, folder / "extra.safetensors")
    save_file({k: v for k, v in single.items() if k != "fc.bias"}, folder / "missing.safetensors")
    return folder


def test_load_from_files(tiny_zoo, weights, model, images):
    loaded = [vitjax.load("resnet50", weights / name) for name in ("tiny.safetensors", "tiny.pth")]
    for each in loaded:
        np.testing.assert_array_equal(each.logits(images.x), model.logits(images.x))
    assert loaded[0].weights["sha256"] == loaded[1].weights["sha256"]
    assert loaded[0].weights["format"] == "safetensors"
    for name, cause in (("nan", "7 NaN"), ("extra", "extra: extra"), ("missing", r"missing: fc\.bias \[7\]")):
        with pytest.raises(WeightsError, match=rf"{name}\.safetensors: [\s\S]*{cause}"):
            vitjax.load("resnet50", weights / f"{name}.safetensors")
    with pytest.raises(WeightsError, match="is a directory"):
        vitjax.load("resnet50", weights)
    with pytest.raises(WeightsError, match="has no default weights"):
        vitjax.load("resnet50")
    with pytest.raises(WeightsError, match=r"misshaped: fc\.weight is \[7, 256\], needs \[9, 256\]"):
        vitjax.load("resnet50", weights / "tiny.pth", num_classes=9)
    assert vitjax.load("resnet50", weights / "tiny.pth", image_size=64).config.image_size == (64, 64)
    assert vitjax.load("resnet50", weights / "tiny.pth", dtype="bfloat16").dtype == jnp.bfloat16


def test_resnet50_is_what_timm_calls_by_it(capsys):
    from tests.timm_peers import timm

    entry = CNNS["resnet50"]
    with torch.device("meta"):
        theirs = timm.create_model("resnet50.tv_in1k")
    assert entry.hub == "timm/resnet50.tv_in1k" == theirs.pretrained_cfg["hf_hub_id"]
    assert Preprocessing.from_timm(theirs.pretrained_cfg) == entry.preprocessing
    assert parameter_count(entry.config) == sum(each.numel() for each in theirs.parameters()) == 25_557_032
    main(["models"])
    line = next(each for each in capsys.readouterr().out.splitlines() if each.startswith("resnet50"))
    assert "25.56 M" in line and "ResNet" in line and "1000 classes" in line


# ---- pictures and the command line


def test_feature_sheet_titles_every_panel(images):
    rng = np.random.default_rng(0)
    stages = {"layer1": rng.random((16, 24, 8)), "layer4": rng.random((2, 3, 2))}
    stages["layer1"][..., 1] = 0
    texts = [text.get_text() for text in plots.feature_sheet(images.pixels[0], stages, channels=3).axes[0].texts]
    assert texts.count("mean") == 2 and texts.count("channel 1") == 2 and texts.count("channel 2") == 1
    assert texts.count("flat") == 1 and "16 × 24\n8 channels" not in texts and "layer4" in texts
    for bad, message in (({}, "at least one stage"), ({"layer1": np.zeros((2, 3))}, r"layer1: expected .* \[2, 3\]")):
        with pytest.raises(ValueError, match=message):
            plots.feature_sheet(images.pixels[0], bad)


def test_a_resnet_on_the_command_line(tiny_zoo, weights, pictures, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "out"
    given = ["--model", "resnet50", "--weights", str(weights / "tiny.pth"), "-o", str(out)]
    error = fails(capsys, "explain", pictures[0], *given)
    assert "'rollout' needs a transformer; 'resnet50' is a ResNet" in error and error.count("\n") == 1
    main(["explain", *pictures[:2], *given, "--methods", "all", "grad_cam:layer=layer2", "--sheets"])
    names = {path.name for path in out.iterdir()}
    assert {"scene0_features.png", "scene1_grad_cam_layer-layer2.png", "saliency.npz", "grad_cam.npz"} <= names
    assert not [name for name in names if "attention" in name]
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    for row in rows:
        best, chances = row["top5"].split(";"), list(map(float, row["top5_probabilities"].split(";")))
        assert len(best) == len(chances) == 5 and best[0] == row["predicted_name"]
        assert chances == sorted(chances, reverse=True)
        assert chances[0] == pytest.approx(float(row["predicted_probability"]), rel=1e-5)
    assert json.loads((out / "manifest.json").read_text())["model"]["weights"]["sha256"]


def test_a_cnns_column_beside_a_vit(tiny_zoo, weights, pictures, tmp_path, capsys):  # noqa: F811
    out, file = tmp_path / "out", weights / "tiny.safetensors"
    cnn = ["--cnn", "resnet50", "--cnn-weights", str(file)]
    main(["compare", *pictures[:2], "--methods", "rollout", *cnn, "-o", str(out)])
    assert "| resnet50: class " in capsys.readouterr().out
    page = (out / "index.html").read_text()
    assert ">resnet50 grad_cam<" in page and "predicted: class " in page
    manifest = json.loads((out / "manifest.json").read_text())
    expected = vitjax.load("resnet50", file).weights
    assert manifest["cnn"]["weights"] == expected and manifest["cnn"]["name"] == "resnet50"
    assert manifest["model"]["name"] == "vitjax_scenes" and "resnet50 grad_cam" in manifest["methods"]
    alone = vitjax.explain(vitjax.load("resnet50", file), pictures[:2], "grad_cam")
    saved = np.load(out / "resnet50_grad_cam.npz")
    np.testing.assert_allclose(saved["maps"], alone.maps, rtol=1e-5)
    rows = list(csv.DictReader((out / "predictions_resnet50.csv").open()))
    assert [int(row["predicted"]) for row in rows] == alone.predicted.tolist()
    with Image.open(out / "grid.png") as grid:
        assert grid.width > 400
    again = tmp_path / "again"
    assert "unknown CNN 'resnet18'" in fails(capsys, "compare", *pictures, "--cnn", "resnet18", "-o", again)
    error = fails(capsys, "compare", *pictures, *cnn, "--target", "9", "-o", again)
    assert "class 9 is out of range, the model has 7 classes" in error
    assert not any(again.iterdir())


@pytest.mark.slow
def test_full_size_through_the_names_own_entry(tmp_path, pictures):  # noqa: F811
    module = peer(ResNetConfig())
    torch.save(module.state_dict(), tmp_path / "resnet50.pth")
    model = vitjax.load("resnet50", tmp_path / "resnet50.pth")
    explanation = vitjax.explain(model, pictures[0], "grad_cam")
    assert explanation.maps.shape == (1, 7, 7) and len(model.labels) == 1000
    theirs = torch_grad_cam(module.double(), explanation.images.x, explanation.target.tolist(), "layer4", True, "logit")
    assert relative(explanation.maps, theirs) < 1e-3
