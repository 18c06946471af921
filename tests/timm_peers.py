"""Tiny timm models of every family with random parameters, and the activations that PyTorch computes with them."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest

from tests.torch_peer import import_timm

timm = import_timm()
import torch  # noqa: E402
from timm.layers import LayerNorm, QuickGELU, SwiGLUPacked  # noqa: E402
from timm.models.deit import VisionTransformerDistilled  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402

from vitjax.models import families  # noqa: E402
from weights_convert.live import config_of  # noqa: E402

TINY = {"img_size": 32, "patch_size": 16, "embed_dim": 48, "depth": 3, "num_heads": 4, "num_classes": 10}
_DINO = {"init_values": 1e-5, "img_size": 42, "patch_size": 14, "num_classes": 0}

PEERS = {
    "plain": {},
    "patch32": {"img_size": 64, "patch_size": 32},
    "patch32_non_square": {"img_size": (64, 96), "patch_size": 32},
    "patch14": {"img_size": 42, "patch_size": 14},
    "patch8": {"patch_size": 8},
    "distilled": {"distilled": True},
    "distilled_headless": {"distilled": True, "num_classes": 0},
    "deit3": {"no_embed_class": True, "init_values": 1e-6},
    "registers": {"no_embed_class": True, "reg_tokens": 4},
    "registers_with_position": {"reg_tokens": 2},
    "dinov2": _DINO,
    "dinov2_swiglu": dict(**_DINO, mlp_layer=SwiGLUPacked, act_layer=torch.nn.SiLU, mlp_ratio=2.66667 * 2),
    "dinov2_registers": dict(**_DINO, reg_tokens=4, no_embed_class=True),
    "no_qkv_bias": {"qkv_bias": False},
    "avg": {"global_pool": "avg"},
    "avg_norm_first": {"global_pool": "avg", "fc_norm": False},
    "gap": {
        "class_token": False,
        "global_pool": "avg",
        "fc_norm": False,
        "qkv_bias": False,
        "init_values": 1e-6,
    },
    "gap_registers": {"class_token": False, "global_pool": "avg", "reg_tokens": 4, "no_embed_class": True},
    "token_fc_norm": {"fc_norm": True},
    "non_square": {"img_size": (48, 80)},
    "dynamic_size": {"dynamic_img_size": True},
    "clip": {"pre_norm": True, "norm_layer": partial(LayerNorm, eps=1e-5)},
    "clip_quickgelu": {
        "pre_norm": True,
        "norm_layer": partial(torch.nn.LayerNorm, eps=1e-5),
        "act_layer": QuickGELU,
    },
}
"""Name -> arguments of timm's class that differ from TINY."""

SLOW = {  # left out of the quick suite, because other families cover each of their features
    "patch14",
    "patch32",
    "non_square",
    "registers_with_position",
    "distilled_headless",
    "dinov2_registers",
    "gap_registers",
    "token_fc_norm",
    "dynamic_size",
    "clip",
}


def build(distilled: bool = False, seed: int = 0, **arguments):
    """A module in eval mode with random parameters. arguments: of timm's class, in place of those in TINY."""
    module_class = VisionTransformerDistilled if distilled else VisionTransformer
    module = module_class(**{**TINY, **arguments}).eval()
    return randomise(module, seed)


def randomise(module, seed: int = 0):
    """Draw all parameters at random, so that no bias, scale, token or position has a neutral value."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            spread = parameter[0].numel() ** -0.5 if parameter.ndim in (2, 4) else 0.3
            values = rng.normal(size=parameter.shape) * spread
            if name.endswith("gamma") or (parameter.ndim == 1 and name.endswith("weight")):
                values += 1.0
            parameter.copy_(torch.from_numpy(values))
    return module


ARCH = "tiny_test"


def named_in_table(monkeypatch):
    """A tiny module whose architecture is registered under the name ARCH while the test runs."""
    module = build(embed_dim=16, depth=2, num_heads=2, num_classes=1000)
    models = families.table()["models"]
    tag = models["deit_tiny_patch16_224"]["tags"]["fb_in1k"]
    monkeypatch.setitem(models, ARCH, {"config": asdict(config_of(module)), "parameters": 0, "tags": {"none": tag}})
    return module


def random_images(image_size: tuple[int, int], count: int = 2) -> np.ndarray:
    """Standard normal noise images [count, H, W, 3]."""
    return np.random.default_rng(7).normal(size=(count, *image_size, 3)).astype(np.float32)


def torch_trace(module, images: np.ndarray, target: int) -> dict[str, np.ndarray]:
    """Run images [b, H, W, 3] through a module.

    Returns:
        "logits" [b, k], "output" of the blocks [b, l, n, c], "attention" [b, l, h, n, m], and "gradient", that of the
        target's logit by attention.
    """
    outputs, attention = [], []

    def store_attention(_module, _inputs, output):
        output.retain_grad()
        attention.append(output)

    for block in module.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(store_attention)
        block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    logits = module(torch.from_numpy(images).permute(0, 3, 1, 2).to(next(module.parameters()).dtype))
    logits[:, target].sum().backward()
    tensors = {
        "output": torch.stack(outputs, 1),
        "attention": torch.stack(attention, 1),
        "gradient": torch.stack([matrix.grad for matrix in attention], 1),
        "logits": logits,
    }
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


class Float64:
    """torch, with float64 in place of float32."""

    def __getattr__(self, name):
        return torch.float64 if name in ("float32", "float") else getattr(torch, name)


@pytest.fixture
def timm_in_float64(monkeypatch):
    """timm computes angles and relative coordinates in float32 in a float64 model, too. Here it does so in float64."""
    for module in (timm.layers.pos_embed_sincos, timm.layers.pos_embed_rel):
        own = [each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__]
        functions = [each for each in own if inspect.isfunction(each)]
        functions += [f for each in own if inspect.isclass(each) for f in vars(each).values() if inspect.isfunction(f)]
        for function in functions:
            defaults = function.__defaults__ or ()
            wide = tuple(torch.float64 if each is torch.float32 else each for each in defaults)
            monkeypatch.setattr(function, "__defaults__", wide or None)
        monkeypatch.setattr(module, "torch", Float64())
    monkeypatch.setattr(timm.models.gemma4_vit, "torch", Float64())
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
