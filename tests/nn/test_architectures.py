"""Attention and its gradients in every layer, in float64 against PyTorch: one model for each feature of attention."""

import jax
import numpy as np
import pytest

import vitjax
from tests.timm_peers import random_images, timm_in_float64, torch  # noqa: F401 (a fixture)
from vitjax.errors import WeightsError
from vitjax.layerwise.target import PREDICTED

timm = pytest.importorskip("timm")
pytestmark = pytest.mark.usefixtures("timm_in_float64")

NARROW = {"depth": 2, "embed_dim": 48, "num_heads": 4, "num_classes": 7}
NAMES = {
    "beit_base_patch16_224": "relative position bias from a table, no bias of keys",
    "vit_relpos_base_patch16_cls_224": "relative position bias from an MLP, with a class token",
    "vit_srelpos_small_patch16_224": "one relative position bias for all blocks",
    "eva02_base_patch14_224": "axial rotary positions, SwiGLU with a norm",
    "vit_base_patch16_dinov3": "centred rotary positions in halves",
    "vit_base_patch16_rope_mixed_ape_224": "rotary positions with learned frequencies",
    "vit_pe_core_base_patch16_224": "rotary positions and an attention pooling head over all tokens",
    "vit_base_patch32_siglip_256": "attention pooling head, tanh GELU",
    "aimv2_1b_patch14_224": "RMSNorm, no biases",
    "beit3_base_patch16_224": "norms inside attention and MLP",
    "vit_base_patch16_rpn_224": "norms after the branches",
    "vit_base_patch16_18x2_224": "two attentions side by side",
    "deepseek_vit_412m": "RMSNorm with float32 sums, norms of the tokens and of their mean, rotary positions in halves",
    "gemma4_vit_570m": "norms at both ends of the branches, norms of queries, keys and values, GELU gate",
    "naflexvit_base_patch16_parfac_gap": "factorised positions",
    "vit_tiny_r_s16_p8_224": "convolutional stem, patches of its output",
    "vit_small_r26_s32_224": "ResNet with GroupNorm and standardised weights",
    "vit_small_resnet26d_224": "ResNet-D with BatchNorm",
    "vit_base_mci_224": "convolutional stem whose last layer makes the tokens",
}


def made(name):
    """timm's module of a name, narrow, with two blocks and random parameters, in float64."""
    sizes = {**NARROW, "embed_dim": 768} if name == "vit_base_mci_224" else NARROW  # whose stem has that many channels
    side = 42 if "patch14" in name or "deepseek" in name else 64
    overlay = {"pretrained_cfg_overlay": {"input_size": (3, side, side)}} if "gemma4" in name else {}
    module = timm.create_model(name, **sizes, img_size=side, **overlay).eval()
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, parameter in module.named_parameters():
            centre = 1.0 if "norm" in key and key.endswith("weight") else 0.0
            spread = 0.3 if parameter.ndim < 2 else 0.15
            parameter.copy_(centre + spread * torch.randn(parameter.shape, generator=draws, dtype=torch.float64))
        for key, buffer in module.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                drawn = torch.randn(buffer.shape, generator=draws, dtype=torch.float64)
                buffer.copy_(drawn.square() + 0.5 if key.endswith("var") else 0.3 * drawn)
    return module


def attention_with_gradients(module, images, target):
    """timm's attention of every block and its gradient by a logit, [b, l, h, n, n] each, and the logits [b, k]."""
    outputs = []

    def store(_module, _inputs, output):
        output.retain_grad()
        outputs.append(output)

    hooks = []
    for name, part in module.named_modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = False
        if name.endswith("attn_drop"):
            hooks.append(part.register_forward_hook(store))
    logits = module(torch.from_numpy(images).permute(0, 3, 1, 2))
    logits[:, target].sum().backward()
    for hook in hooks:
        hook.remove()
    blocks = getattr(module, "encoder", module).blocks
    branches = len(outputs) // len(blocks)  # attentions side by side in one block, whose heads lie together
    grouped = [outputs[start : start + branches] for start in range(0, len(outputs), branches)]
    attention = [torch.cat(group, dim=1).detach().numpy() for group in grouped]
    gradient = [torch.cat([part.grad for part in group], dim=1).numpy() for group in grouped]
    return np.stack(attention, 1), np.stack(gradient, 1), logits.detach().numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, id=f"{name}: {feature}") for name, feature in NAMES.items()])
def test_attention_and_gradients_of_every_block_equal_timms(name):
    module = made(name)
    with jax.enable_x64(True):
        model = vitjax.from_timm(module)
        images = random_images(model.config.image_size, count=1).astype(np.float64)
        attention, gradient, logits = attention_with_gradients(module, images, target=3)
        np.testing.assert_allclose(model.logits(images), logits, rtol=0, atol=1e-9 * np.abs(logits).max())
        trace = vitjax.trace(model, images, target=3)
        for ours, theirs in ((trace.attention, attention), (trace.attention_grad, gradient)):
            assert ours.shape == theirs.shape and np.abs(theirs).max() > 0
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9 * np.abs(theirs).max())


def test_features_that_vitjax_lacks_are_named():
    for name, feature in {
        "vit_base_patch16_xp_224": "blocks of type ParallelScalingBlock",
        "vit_dwee_patch16_reg1_gap_256": "attention of type DiffAttention",
        "swin_tiny_patch4_window7_224": "SwinTransformer is not supported",
    }.items():
        with torch.device("meta"):
            module = timm.create_model(name)
        with pytest.raises(WeightsError, match=feature):
            vitjax.from_timm(module)


def test_images_of_another_size_move_rotary_positions_as_timm_does():
    module = made("vit_base_patch16_rope_ape_224")
    with jax.enable_x64(True):
        model = vitjax.from_timm(module).at_size((48, 80))
        module.set_input_size((48, 80))
        images = random_images((48, 80), count=1).astype(np.float64)
        with torch.no_grad():
            theirs = module(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
        # The position table is resampled in float32 on both sides.
        np.testing.assert_allclose(model.logits(images), theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def test_predicted_class_of_a_pooling_head():
    module = made("vit_base_patch32_siglip_256")
    with jax.enable_x64(True):
        model = vitjax.from_timm(module)
        images = random_images(model.config.image_size, count=2).astype(np.float64)
        explanation = vitjax.explain(model, images, method="transformer_mm")
    assert PREDICTED == -1
    np.testing.assert_array_equal(explanation.target, explanation.logits.argmax(-1))


def test_factorised_positions_of_a_grid_that_is_not_square_are_refused_where_timm_stretches_them():
    module = timm.create_model("naflexvit_base_patch16_parfac_gap", **NARROW, pos_embed_grid_size=(6, 5))
    with pytest.raises(WeightsError, match="factorised positions that keep the aspect ratio"):
        vitjax.from_timm(module)
