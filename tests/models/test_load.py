"""Every named model against timm's definition, and the arithmetic of every family against timm's modules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests import timm_peers
from tests.timm_peers import PEERS, SLOW, build, random_images, timm, torch, torch_trace
from vitjax.errors import ConfigError, UnknownNameError, WeightsError
from vitjax.models import families
from vitjax.models import load as loading
from vitjax.nn.positions import resample_positions
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig
from weights_convert.check import compare, timm_peer
from weights_convert.keys import to_params, to_state
from weights_convert.live import config_of, timm_arguments

QUICK_COMPILE = {"xla_backend_optimization_level": 0}  # each program here runs once


def jax_trace(model, images, target):
    """The arrays that `torch_trace` returns, from one forward and one backward pass."""
    module = ViT(model.config)

    def one(image):
        shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), image))["perturbations"]
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def score(perturbations):
            variables = {"params": model.params, "perturbations": perturbations}
            logits, state = module.apply(variables, image, mutable=["intermediates"])
            return logits[target], (logits, state["intermediates"]["blocks"])

        gradients, (logits, blocks) = jax.grad(score, has_aux=True)(zeros)
        return {
            "output": blocks["output"],
            "attention": blocks["attn"]["attention"],
            "gradient": gradients["blocks"]["attn"]["attention"],
            "logits": logits,
        }

    with jax.default_matmul_precision("highest"):
        lowered = jax.jit(jax.vmap(one)).lower(images)
    return lowered.compile(QUICK_COMPILE)(images)


def relative(ours, theirs):
    assert ours.shape == theirs.shape
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in PEERS]
)
def test_family_equals_timm(name):
    module = build(**PEERS[name])
    model = vitjax.from_timm(module)
    images = random_images(model.config.image_size)
    theirs = torch_trace(module, images, target=3)
    ours = jax_trace(model, images, target=3)
    for layer in range(model.config.depth):
        assert np.abs(theirs["gradient"][:, layer]).max() > 1e-6  # not a comparison of zeros
        assert relative(ours["output"][:, layer], theirs["output"][:, layer]) < 1e-5
        assert relative(ours["attention"][:, layer], theirs["attention"][:, layer]) < 1e-5
        assert relative(ours["gradient"][:, layer], theirs["gradient"][:, layer]) < 1e-4
    assert relative(ours["logits"], theirs["logits"]) < 1e-5


@pytest.mark.parametrize("name", PEERS)
def test_key_map_and_timm_arguments_are_invertible(name):
    module = build(**PEERS[name])
    config = config_of(module)
    state = {key: value.detach().numpy() for key, value in module.state_dict().items()}
    back = to_state(to_params(state, config))
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[key], state[key]) for key in state)
    assert config_of(timm_peer(config, state)) == config


def test_logits_and_parity_report_of_a_live_module():
    module = build(distilled=True)
    model = vitjax.from_timm(module)
    images = random_images((32, 32))
    with torch.no_grad():
        theirs = module(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert relative(model.logits(images), theirs) < 1e-5
    report = compare(model, module, images)
    assert report.passed and report.logits.relative < 1e-5
    assert [difference.name for difference in report.differences] == ["block 0", "block 1", "block 2", "logits"]
    with torch.no_grad():
        module.blocks[1].mlp.fc2.bias.add_(1e-2)
    report = compare(model, module, images)
    assert not report.passed and "FAILED" in str(report)
    assert report.differences[0].relative < 1e-5 < report.differences[1].relative


def test_preprocessing_of_a_live_module_is_read_from_its_configuration():
    with torch.device("meta"):
        module = timm.create_model("vit_base_patch16_clip_384", img_size=(384, 256))
    preprocessing = loading.Preprocessing.from_timm({**module.pretrained_cfg, "input_size": (3, 384, 256)})
    assert preprocessing.crop_mode == "squash"
    small = timm_peers.randomise(timm.create_model("vit_tiny_patch16_384", img_size=64, depth=1)).eval()
    model = vitjax.from_timm(small)
    assert (model.preprocessing.size, model.preprocessing.crop_pct) == ((64, 64), 1.0)
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)
    assert (model.name, len(model.labels)) == ("vit_tiny_patch16_384", 1000)


def unsupported_module(**arguments):
    with torch.device("meta"):
        return timm_peers.VisionTransformer(**{**timm_peers.TINY, **arguments})


UNSUPPORTED = {
    "global_pool='avgmax'": {"global_pool": "avgmax"},
    "global_pool=''": {"global_pool": ""},
    "no position": {"pos_embed": "none"},
    "ParallelScalingBlock": {"block_fn": timm.models.vision_transformer.ParallelScalingBlock},
    "DiffAttention": {"attn_layer": "diff"},
    "MLP of type SwiGLU": {"mlp_layer": timm.layers.SwiGLU},
    "input channels": {"in_chans": 1},
    "not square": {"patch_size": (16, 8)},
    "norms with different epsilons": {"embed_norm_layer": torch.nn.LayerNorm},
}


@pytest.mark.parametrize("reason", UNSUPPORTED)
def test_unsupported_live_module_is_refused_with_the_reason(reason):
    with pytest.raises(WeightsError, match="not supported") as caught:
        vitjax.from_timm(unsupported_module(**UNSUPPORTED[reason]))
    assert reason in str(caught.value)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "cait_xxs24_224", "resnet18"])
def test_other_architectures_are_refused_by_name(name):
    with torch.device("meta"):
        module = timm.create_model(name)
    with pytest.raises(WeightsError, match=f"{type(module).__name__} is not supported"):
        vitjax.from_timm(module)


def test_blocks_that_differ_are_refused():
    module = build()
    module.blocks[1].attn.num_heads = 2
    with pytest.raises(WeightsError, match="differ from each other"):
        vitjax.from_timm(module)


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize("sizes", [((224, 224), (384, 384)), ((224, 224), (96, 96)), ((96, 160), (240, 80))])
def test_position_embeddings_are_resampled_as_in_timm(sizes, prefix):
    old = ViTConfig(8, 1, 1, 8, image_size=sizes[0], registers=max(prefix - 1, 0), position_on_prefix=prefix > 0)
    new = old.at_size(sizes[1])
    table = np.random.default_rng(0).normal(size=(old.position_tokens, 8)).astype(np.float32)
    theirs = timm.layers.resample_abs_pos_embed(
        torch.from_numpy(table)[None], list(new.grid), list(old.grid), num_prefix_tokens=prefix
    )
    ours = resample_positions(jnp.asarray(table), old, new)
    assert ours.shape == (new.position_tokens, 8)
    np.testing.assert_allclose(ours, theirs[0].numpy(), atol=1e-5)


def test_unchanged_grid_returns_the_position_embedding_itself():
    config = ViTConfig(8, 1, 1, 8, image_size=(32, 48))
    table = jnp.ones((config.position_tokens, 8))
    assert resample_positions(table, config, config) is table


def test_logits_at_another_image_size_equal_timms_dynamic_img_size():
    module = build(dynamic_img_size=True, img_size=64)
    model = vitjax.from_timm(module)
    images = random_images((96, 48))
    with torch.no_grad():
        theirs = module(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    assert relative(model.logits(images), theirs) < 1e-5


def test_float64_needs_x64_and_bfloat16_runs():
    module = build()
    with pytest.raises(ConfigError, match="JAX_ENABLE_X64"):
        vitjax.from_timm(module, dtype="float64")
    with pytest.raises(ConfigError, match="'float8'"):
        vitjax.from_timm(module, dtype="float8")
    images = random_images((32, 32))
    half = vitjax.from_timm(module, dtype="bfloat16")
    assert half.dtype == jnp.bfloat16 and half.logits(images).dtype == jnp.float32
    assert relative(half.logits(images), np.asarray(vitjax.from_timm(module).logits(images))) < 0.1
    with jax.enable_x64(True):
        model = vitjax.from_timm(module.double())
        theirs = module(torch.from_numpy(images).double().permute(0, 3, 1, 2)).detach().numpy()
        logits = model.logits(images)
    assert logits.dtype == jnp.float64 and relative(logits, theirs) < 1e-12


def test_error_for_an_unknown_name_lists_close_matches():
    with pytest.raises(UnknownNameError, match="did you mean 'deit_tiny_patch16_224'"):
        vitjax.load("deit_tiny_patch_224")


def test_names_and_timm_arguments_are_consistent():
    names = loading.names()
    assert names == [*families.names(), loading.BUNDLED] and len(set(names)) == len(names)
    config = ViTConfig(8, 1, 1, 8, image_size=(32, 32), pre_norm=True)
    with pytest.raises(WeightsError, match="pre_norm"):
        timm_arguments(config)
