"""The table that shared tests are parametrised with: every method with its options, and tiny models of every family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.explaining.inputs import Images, prepare
from vitjax.images.reading import Preprocessing
from vitjax.models.model import Model
from vitjax.nn.rotary import Rotary
from vitjax.nn.stem_config import Stem
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig

CASES = [
    {"method": "raw_attention"},
    {"method": "raw_attention", "layer": 1, "head_fusion": "min"},
    {"method": "rollout"},
    {"method": "rollout", "head_fusion": "max"},
    {"method": "rollout", "head_fusion": "min", "discard_ratio": 0.9},
    {"method": "rollout", "start_layer": 1},
    {"method": "rollout", "per_head": True},
    {"method": "rollout", "alpha": 1.0, "head_fusion": "max", "discard_ratio": 0.9},
    {"method": "rollout", "variant": "vit_explain", "head_fusion": "max", "discard_ratio": 0.5},
    {"method": "rollout", "variant": "first_left"},
    {"method": "grad_rollout"},
    {"method": "grad_rollout", "discard_ratio": 0.9, "score": "probability"},
    {"method": "grad_rollout", "variant": "vit_explain"},
    {"method": "grad_rollout", "head_fusion": "max"},
    {"method": "grad_rollout", "head_fusion": "min", "variant": "das2025"},
    {"method": "grad_rollout", "variant": "das2025"},
    {"method": "grad_cam"},
    {"method": "grad_cam", "layer": 1, "relu": False, "score": "probability"},
    {"method": "token_grad_cam"},
    {"method": "token_grad_cam", "layer": 0, "relu": False},
    {"method": "ag_cam"},
    {"method": "gmar"},
    {"method": "gmar", "norm": "l2", "alpha": 0.5, "normalize": True, "order": "first_left"},
    {"method": "gmar", "start_layer": 2, "score": "probability"},
    {"method": "gmar", "variant": "joita2025"},
    {"method": "legrad"},
    {"method": "legrad", "pool": "mean", "layers": 2},
    {"method": "legrad", "variant": "joita2025"},
    {"method": "tam", "steps": 3},
    {"method": "tam", "integral": False, "start_layer": 0},
    {"method": "attcat"},
    {"method": "attcat", "weights": "cls", "hidden": "output"},
    {"method": "vtranm"},
    {"method": "vtranm", "score": "logit", "necc": False},
    {"method": "vtranm", "length": False},
    {"method": "vtranm", "length": False, "necc": False},
    {"method": "vtranm", "aggregate": False},
    {"method": "full_grad"},
    {"method": "transformer_attribution"},
    {"method": "transformer_attribution", "start_layer": 1},
    {"method": "lrp_rollout"},
    {"method": "partial_lrp"},
    {"method": "partial_lrp", "rules": "zplus", "layer": 1, "gradient": True},
    {"method": "lrp"},
    {"method": "lrp", "rules": "zplus"},
    {"method": "conservative_lrp"},
    {"method": "conservative_lrp", "gelu": "identity", "at": "pixels"},
    {"method": "attn_lrp"},
    {"method": "attn_lrp", "at": "pixels"},
    {"method": "saliency"},
    {"method": "integrated_gradients", "steps": 3},
    {"method": "integrated_gradients", "steps": 4, "quadrature": "riemann_trapezoid", "score": "probability"},
    {"method": "smooth_grad", "n": 3},
    {"method": "smooth_grad", "n": 2, "aggregate": "variance", "stdev": 0.3},
    {"method": "occlusion"},
    {"method": "occlusion", "window": 12, "stride": 5, "score": "probability"},
    {"method": "rise", "n": 10, "cells": 3},
    {"method": "vit_cx"},
    {"method": "vit_cx", "noise": 0.0, "distance": 0.3},
    {"method": "meaningful_perturbation", "steps": 3, "area": 0.001},
    {"method": "attention_flow"},
    {"method": "centre"},
    {"method": "random"},
    {"method": "gradient_x_input"},
    {"method": "gradient_x_input", "at": "tokens", "score": "probability"},
    {"method": "transformer_mm"},
    {"method": "transformer_mm", "score": "probability", "start_layer": 1},
]

QUICK_METHODS = (  # one of every kind of shared pass, for the quick suite
    *("rollout", "gmar", "transformer_mm", "legrad", "ag_cam", "vtranm", "full_grad", "transformer_attribution"),
    *("conservative_lrp", "gradient_x_input", "smooth_grad", "random"),
)
QUICK_CASES = [next(case for case in CASES if case["method"] == name) for name in QUICK_METHODS]

_TINY: dict[str, Any] = {
    "width": 24,
    "depth": 3,
    "heads": 3,
    "mlp_dim": 40,
    "patch_size": 8,
    "image_size": (32, 32),
    "num_classes": 7,
}

CONFIGS = {
    "plain": ViTConfig(**_TINY),
    "distilled": ViTConfig(**_TINY, distilled=True),
    "registers": ViTConfig(**_TINY, registers=4, position_on_prefix=False),
    "layer_scale": ViTConfig(**_TINY, layer_scale=True, position_on_prefix=False),
    "swiglu": ViTConfig(**_TINY, layer_scale=True, mlp="swiglu"),
    "clip": ViTConfig(**_TINY, pre_norm=True, patch_bias=False, mlp="quick_gelu", norm_eps=1e-5),
    "similarity": ViTConfig(**_TINY, pre_norm=True, mlp="quick_gelu", norm_eps=1e-5, similarity=True, embedding=12),
    "avg_pool": ViTConfig(**_TINY, pool="avg", fc_norm=True),
    "gap": ViTConfig(**_TINY, pool="avg", class_token=False),
    "no_qkv_bias": ViTConfig(**{**_TINY, "image_size": (48, 24)}, qkv_bias=False),
    "patch14": ViTConfig(**{**_TINY, "patch_size": 14, "image_size": (42, 42)}),
    "non_square": ViTConfig(**{**_TINY, "image_size": (24, 48)}),
}


ARCHITECTURES = {  # each feature that the families above lack; together, each with several others
    "rotary": ViTConfig(**_TINY, rotary=Rotary("axial", reference=(2, 2)), mlp="swiglu", mlp_norm=True),
    "rotary_half": ViTConfig(
        **_TINY, rotary=Rotary("centred", 100.0, half=True), position_table=False, registers=2, layer_scale=True
    ),
    "rotary_mixed": ViTConfig(**_TINY, rotary=Rotary("mixed", x_first=True), position_on_prefix=False),
    "pooling_head": ViTConfig(**_TINY, registers=2, pool="map", pool_heads=2, pool_mlp_dim=20, mlp="gelu_tanh"),
    "position_bias": ViTConfig(**_TINY, position_bias=True, position_table=False, pool="avg", fc_norm=True),
    "rms": ViTConfig(
        **_TINY, norm="rms", biases=False, qkv_bias=False, patch_norm=True, mlp="swiglu", class_token=False, pool="avg"
    ),
    "pooling_head_all": ViTConfig(**_TINY, registers=1, pool="map_all", pool_heads=3, pool_mlp_dim=20, norm_eps=1e-5),
    "post_norm": ViTConfig(**_TINY, post_norm=True, pool="avg_all"),
    "inner_norms": ViTConfig(**_TINY, attention_norm=True, qk_norm=True, head_dim=12),
    "remainder": ViTConfig(**{**_TINY, "image_size": (36, 38)}, drop_remainder=True, final_norm=False),
    "head_norm": ViTConfig(
        **_TINY,
        norm="rms",
        mlp="swiglu",
        class_token=False,
        pool="avg",
        head_norm=True,
        position_table=False,
        rotary=Rotary("axial", half=True),
    ),
    "sandwich_norm": ViTConfig(
        **_TINY,
        sandwich_norm=True,
        qk_norm=True,
        value_norm=True,
        mlp="geglu_tanh",
        class_token=False,
        pool="avg",
        final_norm=False,
        head_norm=True,
        resampling="bilinear",
    ),
    "token_and_average": ViTConfig(**_TINY, pool="token_avg"),
    "stem": ViTConfig(**_TINY, stem=Stem("bit", (8,), depths=(1, 1), groups=4)),
    "stem_resnetd": ViTConfig(
        **{**_TINY, "patch_size": 16, "image_size": (48, 32)},
        stem=Stem("resnetd", (4, 4, 6), depths=(2, 1)),
        pool="avg",
    ),
    "stem_convs": ViTConfig(**_TINY, stem=Stem("convs", (6, 8), sides=(2, 2)), position_on_prefix=False),
}


def case_id(case: dict) -> str:
    """Name of a case as a pytest parameter."""
    return "-".join(str(value) for value in case.values())


def tiny_model(name: str, dtype=np.float32) -> Model:
    """A tiny model whose parameters are all random, so that no bias, scale or token has a neutral value.

    Args:
        name: a name of CONFIGS or ARCHITECTURES.
    """
    config = CONFIGS[name] if name in CONFIGS else ARCHITECTURES[name]
    shapes = jax.eval_shape(
        ViT(config).init, jax.random.key(0), jax.ShapeDtypeStruct((*config.image_size, 3), jnp.float32)
    )["params"]
    number = sorted(CONFIGS).index(name) if name in CONFIGS else 1000 + sorted(ARCHITECTURES).index(name)
    rng = np.random.default_rng(number)

    def draw(path, leaf):
        inputs = leaf.shape[-2:-1] if path[0].key == "blocks" else leaf.shape[:-1]  # all axes of a convolution's window
        fan_in = math.prod(inputs) if path[-1].key == "kernel" else 4
        centre = 1.0 if path[-1].key in ("scale", "gamma") else 0.0
        return jnp.asarray(centre + rng.normal(size=leaf.shape) * fan_in**-0.5, dtype)

    params = jax.tree_util.tree_map_with_path(draw, shapes)
    preprocessing = Preprocessing(size=config.image_size, crop_pct=1.0, mean=(0.5,) * 3, std=(0.5,) * 3)
    return Model(config=config, params=params, preprocessing=preprocessing, name=name)


def tiny_batch(model: Model, count: int, order: Sequence[int] | None = None) -> Images:
    """`tiny_images` as a batch, optionally in another order. Each image keeps its id, which seeds its random draws."""
    images = prepare(model, tiny_images(model, count))
    return images if order is None else images.take(order)


def tiny_images(model: Model, count: int, seed: int = 0) -> np.ndarray:
    """Standard normal noise images [count, H, W, 3] of the model's size."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, *model.config.image_size, 3)).astype(np.float32)
