"""Hybrid ViTs of timm: what they compute, from a live module, a file, a directory, and back."""

from dataclasses import asdict
from functools import partial

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import vitjax
from tests.timm_peers import random_images, timm, torch
from vitjax.errors import WeightsError
from vitjax.models import families
from vitjax.nn.stem_config import Stem
from weights_convert.canonical import canonical
from weights_convert.check import compare, peer_of
from weights_convert.checkpoint import read_checkpoint, write_checkpoint
from weights_convert.fitting import params_of
from weights_convert.infer import infer
from weights_convert.keys import state_shapes, to_state
from weights_convert.live import config_of
from weights_convert.stems import with_timm_stem

layers = pytest.importorskip("timm.layers")
from timm.models._features import FeatureListNet  # noqa: E402
from timm.models.resnet import BasicBlock, Bottleneck, ResNet  # noqa: E402
from timm.models.resnetv2 import ResNetV2, create_resnetv2_stem  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402
from timm.models.vision_transformer_hybrid import ConvStem  # noqa: E402

STANDARDISED = partial(layers.StdConv2dSame, eps=1e-8)
GROUPS = partial(layers.GroupNormAct, num_groups=4)


def bit(**options):
    arguments = {"layers": (1, 2), "channels": (32, 64), "stem_chs": 8, "preact": False, "stem_type": "same"}
    arguments |= {"num_classes": 0, "global_pool": "", "conv_layer": STANDARDISED, "norm_layer": GROUPS}
    return ResNetV2(**{**arguments, **options})


def resnetd(last=2, **options):
    arguments = {"block": Bottleneck, "layers": (2, 1, 1, 1), "stem_width": 4, "stem_type": "deep", "avg_down": True}
    network = ResNet(**{**arguments, "channels": (8, 16, 32, 64), **options})
    return FeatureListNet(network, out_indices=(last,))


def convs(**options):
    arguments = {
        "channels": (6, 8, 64),
        "stride": (2, 2, 2),
        "kernel_size": 2,
        "padding": 0,
        "act_layer": torch.nn.GELU,
    }
    return ConvStem(**{**arguments, **options})


BACKBONES = {
    "bit": (bit, {}, Stem("bit", (8,), (1, 2), groups=4)),
    "stem alone": (
        lambda: create_resnetv2_stem(3, 8, "same", preact=False, conv_layer=STANDARDISED, norm_layer=GROUPS),
        {"patch_size": 2},
        Stem("bit", (8,), groups=4),
    ),
    "resnetd": (resnetd, {"patch_size": 2, "img_size": (32, 48)}, Stem("resnetd", (4, 4, 8), (2, 1))),
    "convs": (convs, {"proj": False}, Stem("convs", (6, 8), sides=(2, 2))),
}


def hybrid(backbone, proj=True, **options):
    """A ViT of timm on a backbone, in eval mode, with random parameters and running statistics."""
    embed = partial(layers.HybridEmbed, backbone=backbone, proj=proj)
    sizes = {"img_size": 32, "patch_size": 1, "embed_dim": 64, "depth": 2, "num_heads": 4, "num_classes": 7}
    module = VisionTransformer(**{**sizes, **options}, embed_layer=embed).eval()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, tensor in (*module.named_parameters(), *module.named_buffers()):
            noise = torch.randn(tensor.shape, generator=draws)
            if key.endswith("running_var"):
                tensor.copy_(noise.square() + 0.5)
            elif tensor.is_floating_point():
                is_scale = tensor.ndim == 1 and key.endswith("weight")
                tensor.copy_(is_scale + noise * (tensor[0].numel() ** -0.5 if tensor.ndim in (2, 4) else 0.3))
    return module


def made(name):
    build, options, stem = BACKBONES[name]
    return hybrid(build(), **options), stem


def numpy_state(module):
    return {key: np.ascontiguousarray(value.numpy()) for key, value in module.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_logits_and_gradients_by_pixels_equal_timms_in_float64(name):
    module, stem = made(name)
    module = module.double()
    with jax.enable_x64(True):
        model = vitjax.from_timm(module)
        assert model.config.stem == stem and model.params["head"]["kernel"].dtype == np.float64
        assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(model.params["patch_embed"]))
        images = random_images(model.config.image_size).astype(np.float64)
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).requires_grad_()
        logits = module(pixels)
        logits[:, 3].sum().backward()
        theirs = logits.detach().numpy()
        np.testing.assert_allclose(model.logits(images), theirs, rtol=0, atol=1e-9 * np.abs(theirs).max())
        maps = vitjax.explain(model, images, method="saliency", target=3).maps
    expected = pixels.grad.permute(0, 2, 3, 1).abs().amax(-1).numpy()
    np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-9 * expected.max())


@pytest.mark.parametrize("name", BACKBONES)
def test_blocks_and_logits_equal_timms_in_float32_and_go_back_to_timm(name):
    module, _ = made(name)
    model = vitjax.from_timm(module)
    images = random_images(model.config.image_size)
    report = compare(model, module, images)
    assert report.passed and report.logits.relative < 1e-5, str(report)
    fresh, _ = made(name)
    state = to_state(jax.tree.map(np.asarray, model.params))
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    restored = with_timm_stem(state, numpy_state(fresh))
    fresh.load_state_dict({key: torch.from_numpy(np.array(array)) for key, array in restored.items()})
    assert compare(model, fresh, images).logits.relative < 1e-5


def test_another_image_size_equals_timms():
    module, _ = made("bit")
    with jax.enable_x64(True):
        module = module.double()
        model = vitjax.from_timm(module).at_size((48, 80))
        module.set_input_size((48, 80))
        images = random_images((48, 80), count=1).astype(np.float64)
        with torch.no_grad():
            theirs = module(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
        # The position table is resampled in float32 on both sides.
        np.testing.assert_allclose(model.logits(images), theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("name", BACKBONES)
def test_a_directory_keeps_the_stem(name, tmp_path):
    module, stem = made(name)
    model = vitjax.from_timm(module)
    write_checkpoint(tmp_path / "out", model.params, model.config, "custom", {"path": "x", "sha256": "0"})
    read = read_checkpoint(tmp_path / "out")
    assert read.config == model.config and read.config.stem == stem
    for ours, theirs in zip(jax.tree.leaves(read.params), jax.tree.leaves(model.params), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["bit", "resnetd", "convs"])
def test_a_file_shows_its_stem(name):
    """With the usual number of groups, which no shape shows."""
    build, options, _ = BACKBONES[name]
    wide = {"bit": {"stem_chs": 32, "channels": (128, 256), "norm_layer": layers.GroupNormAct}}.get(name, {})
    module = hybrid(build(**wide), **{**options, "img_size": 32})
    config = config_of(module)
    shapes = {key: array.shape for key, array in canonical(numpy_state(module), config).items()}
    assert shapes == state_shapes(config)
    inferred = infer(shapes, {"heads": 4}, {"known": config}, variant=True)
    assert inferred.config == config and inferred.names == ("known",)
    with pytest.raises(WeightsError, match="pass arch=NAME"):
        infer(shapes, {"heads": 4}, {}, variant=True)


def test_verify_gives_a_named_hybrid_its_own_weights():
    module = timm.create_model("vit_tiny_r_s16_p8_224", depth=2, img_size=64)
    model = vitjax.from_timm(module)
    peer = peer_of(model, "no name of timm", like="vit_tiny_r_s16_p8_224")
    assert compare(model, peer, random_images((64, 64))).passed
    assert peer.patch_embed.backbone is not module.patch_embed.backbone


def test_a_named_image_tower_keeps_its_embedding_and_takes_classes(tmp_path, monkeypatch):
    """MobileCLIP's tags have a head to an embedding; a fine-tuned file has classes in its place."""
    module, _ = made("convs")
    models = families.table()["models"]
    tag = {"preprocessing": 0, "outputs": "embedding"}
    entry = {"config": asdict(config_of(module)), "parameters": 0, "tags": {"clip": tag}}
    monkeypatch.setitem(models, "tiny_tower", entry)
    save_file(numpy_state(module), tmp_path / "tower.safetensors")
    tower = vitjax.load("tiny_tower", weights=tmp_path / "tower.safetensors")
    assert (tower.config.num_classes, tower.config.embedding) == (0, 7)
    assert compare(tower, module, random_images((32, 32))).passed
    tuned = hybrid(convs(), proj=False, num_classes=3)
    save_file(numpy_state(tuned), tmp_path / "tuned.safetensors")
    model = vitjax.load(tmp_path / "tuned.safetensors", arch="tiny_tower")
    assert (model.config.num_classes, model.config.embedding) == (3, 0)
    assert compare(model, tuned, random_images((32, 32))).passed


def test_half_precision_becomes_float32_and_other_dtypes_are_refused():
    module, _ = made("resnetd")
    config = config_of(module)
    state = numpy_state(module)
    key = "patch_embed.backbone.layer1.0.conv1.weight"
    half = params_of({k: v.astype(np.float16) if v.dtype.kind == "f" else v for k, v in state.items()}, config, "a.pth")
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {np.dtype(np.float32)}
    with pytest.raises(WeightsError, match=r"a\.pth: .*keys do not fit"):
        params_of({**state, key: state[key].astype(np.int8)}, config, "a.pth")
    bad = dict(state)
    bad["patch_embed.backbone.layer1.0.bn1.running_var"] = np.full_like(state[key][:, 0, 0, 0], np.nan)
    with pytest.raises(WeightsError, match=r"stage0\.block0\.conv1\.weight: .* NaN"):
        params_of(bad, config, "a.pth")
    del bad["patch_embed.backbone.layer1.0.bn1.running_var"]
    with pytest.raises(WeightsError, match=r"keys do not fit"):
        params_of(bad, config, "a.pth")
    standardised, _ = made("bit")
    whole = numpy_state(standardised)
    first = "patch_embed.backbone.stem.conv.weight"
    with pytest.raises(WeightsError, match=r"conv0\.weight.*int8"):
        params_of({**whole, first: whole[first].astype(np.int8)}, config_of(standardised), "a.pth")


@pytest.mark.parametrize(
    ("backbone", "options", "reason"),
    [
        (partial(bit, preact=True), {}, "PreActBottleneck"),
        (partial(bit, avg_down=True), {}, "DownsampleAvg"),
        (partial(bit, conv_layer=layers.StdConv2d, stem_type=""), {}, "MaxPool2d, StdConv2d "),
        (partial(bit, conv_layer=layers.StdConv2dSame), {}, "another epsilon"),
        (partial(bit, act_layer=torch.nn.SiLU), {}, "SiLU"),
        (partial(bit, stem_type="deep_same"), {}, "this convolutional stem is not supported"),
        (partial(resnetd, block=BasicBlock), {}, "BasicBlock"),
        (partial(resnetd, stem_type=""), {}, "this convolutional stem is not supported"),
        (partial(resnetd, avg_down=False), {}, "this convolutional stem is not supported"),
        (partial(resnetd, cardinality=2, base_width=32), {}, "grouped or dilated convolutions"),
        (partial(resnetd, output_stride=8, last=3), {}, "AvgPool2dSame"),
        (partial(convs, act_layer=torch.nn.ReLU), {"proj": False}, "ReLU"),
        (partial(convs, act_layer=partial(torch.nn.GELU, approximate="tanh")), {"proj": False}, "another activation"),
        (partial(convs, kernel_size=3, padding=1), {"proj": False}, "another padding"),
        (partial(convs, kernel_size=3, padding=0), {"proj": False, "img_size": 39}, "overlapping convolutions"),
        (bit, {"img_size": 36}, "a stem of stride .* for 36 x 36 pixels"),
        (lambda: torch.nn.Conv2d(3, 8, 4, 4), {}, "Conv2d in its convolutional stem"),
    ],
)
def test_backbones_that_vitjax_lacks_are_named(backbone, options, reason):
    module = hybrid(backbone(), **options)
    with pytest.raises(WeightsError, match=reason):
        vitjax.from_timm(module)
