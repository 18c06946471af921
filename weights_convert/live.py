"""A timm module in memory -> configuration, and back. Reads the module's attributes, not its name."""

from __future__ import annotations

from typing import Any

from vitjax.errors import WeightsError
from vitjax.nn.vit_config import ViTConfig
from weights_convert.gemma import GEMMA, gemma_config
from weights_convert.live_parts import (
    ACTIVATIONS,
    BLOCKS,
    NORMS,
    activation_of,
    class_name,
    has_layer_scale,
    has_position_bias,
    has_qkv_bias,
    head_width,
    is_distilled,
    is_identity,
    is_swiglu,
    norms_of,
    parts_of,
    pool_of,
    rotary_of,
)
from weights_convert.live_support import unsupported_around, unsupported_in_blocks, unsupported_in_model
from weights_convert.live_wrapped import WRAPPED, Unwrapped
from weights_convert.stems import patches_of, stem_of

_MODULES = "timm.models."
_CLASSES = {
    "vision_transformer.VisionTransformer",
    "deit.VisionTransformerDistilled",
    "eva.Eva",
    "beit.Beit",
    "vision_transformer_relpos.VisionTransformerRelPos",
    "naflexvit.NaFlexVit",
}
_WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}


def unwrapped(module: Any) -> Any:
    """The module inside of `torch.compile`, `DataParallel` and `DistributedDataParallel`, which compute the same."""
    while attribute := _WRAPPERS.get(type(module).__name__):
        module = getattr(module, attribute)
    return module


def config_of(module: Any) -> ViTConfig:
    """The configuration with which vitjax computes the same as a plain transformer of timm in eval mode.

    Raises:
        WeightsError: the module is of another class, or has a feature that vitjax does not support. The message names
            the class and the feature.
    """
    module_class = type(module)
    path = f"{module_class.__module__}.{module_class.__name__}".removeprefix(_MODULES)
    if path in GEMMA:
        return gemma_config(module)
    if path in WRAPPED:
        module = Unwrapped(module)
    elif path not in _CLASSES:
        names = ", ".join(sorted(name.split(".")[1] for name in (*_CLASSES, *WRAPPED, *GEMMA)))
        raise WeightsError(
            f"{module_class.__module__}.{module_class.__name__} is not supported: supported classes are timm's {names}"
        )
    for check in (unsupported_around, unsupported_in_model, unsupported_in_blocks):
        for reason, present in check(module).items():
            if present:
                raise WeightsError(f"this {module_class.__name__} is not supported: {reason}")
    block, attn, mlp, parallel = parts_of(module)
    embedding, pool = _embedding(module), getattr(module, "attn_pool", None)
    fc_norm = not is_identity(module.fc_norm)
    mlp_norm, attention_norm = getattr(mlp, "norm", None), getattr(attn, "norm", None)
    width = head_width(attn)
    heads = attn.num_heads * parallel
    return ViTConfig(
        width=module.embed_dim,
        depth=len(module.blocks),
        heads=heads,
        head_dim=0 if heads * width == module.embed_dim else width,
        mlp_dim=mlp.fc2.in_features * parallel,
        patch_size=embedding["patch_size"],
        image_size=embedding["image_size"],
        stem=embedding["stem"],
        drop_remainder=any(side % embedding["patch_size"] for side in embedding["image_size"]),
        num_classes=0 if is_identity(module.head) else module.head.out_features,
        class_token=embedding["class_token"],
        distilled=is_distilled(module),
        registers=embedding["registers"],
        pool=pool_of(module),
        fc_norm=fc_norm,
        final_norm=fc_norm or not is_identity(module.norm),
        head_norm=getattr(module, "head_norm", False),
        pre_norm=not is_identity(getattr(module, "norm_pre", None)),
        post_norm=BLOCKS[class_name(block)],
        norm=NORMS[class_name(norms_of(module)[0])],
        norm_eps=norms_of(module)[0].eps,
        patch_norm=embedding["norm"],
        attention_norm=not is_identity(attention_norm),
        mlp_norm=not is_identity(mlp_norm),
        qk_norm=not is_identity(getattr(attn, "q_norm", None)),
        qkv_bias=has_qkv_bias(attn) or parallel > 1,
        patch_bias=embedding["bias"],
        biases=mlp.fc2.bias is not None or attn.proj.bias is not None,
        position_table=embedding["position_table"],
        resampling=getattr(module, "resampling", "bicubic"),
        position_on_prefix=embedding["position_on_prefix"],
        position_bias=has_position_bias(module),
        rotary=rotary_of(module),
        layer_scale=has_layer_scale(block),
        mlp="swiglu" if is_swiglu(mlp) else ACTIVATIONS[activation_of(mlp.act)],
        pool_heads=pool.num_heads if pool is not None else 0,
        pool_mlp_dim=pool.mlp.fc2.in_features if pool is not None else 0,
    )


def timm_arguments(config: ViTConfig) -> dict[str, Any]:
    """Keyword arguments that give timm's VisionTransformer[Distilled] this architecture.

    Raises:
        WeightsError: timm's VisionTransformer cannot express the configuration.
    """
    from functools import partial

    from timm.layers import GELUTanh, LayerNorm, Mlp, QuickGELU, RmsNorm, SwiGLUPacked
    from torch import nn

    for reason, present in {
        "rotary positions": config.rotary is not None,
        "a relative position bias": config.position_bias,
        "heads of another width": bool(config.head_dim),
        f"pool={config.pool!r}": config.pool == "token_avg",
        "patch_norm": config.patch_norm,
        "a second final norm (head_norm)": config.head_norm,
        f"resampling={config.resampling!r}": config.resampling != "bicubic",
        "value_norm": config.value_norm,
        "sandwich_norm": config.sandwich_norm,
        f"mlp={config.mlp!r}": config.mlp == "geglu_tanh",
        "a convolutional stem": config.stem is not None,
    }.items():
        if present:
            raise WeightsError(f"timm's VisionTransformer does not have {reason}")
    swiglu = config.mlp == "swiglu"
    arguments = {
        "img_size": config.image_size,
        "patch_size": config.patch_size,
        "num_classes": config.embedding or config.num_classes,
        "global_pool": config.pool.removesuffix("_all"),
        "pool_include_prefix": config.pool.endswith("_all"),
        "embed_dim": config.width,
        "depth": config.depth,
        "num_heads": config.heads,
        "mlp_ratio": (1 + swiglu) * config.mlp_dim / config.width,
        "qkv_bias": config.qkv_bias,
        "qk_norm": config.qk_norm,
        "scale_attn_norm": config.attention_norm,
        "scale_mlp_norm": config.mlp_norm,
        "proj_bias": config.biases,
        "init_values": 1e-5 if config.layer_scale else None,
        "class_token": config.class_token,
        "pos_embed": "learn" if config.position_table else "none",
        "no_embed_class": not config.position_on_prefix,
        "reg_tokens": config.registers,
        "pre_norm": config.pre_norm,
        "final_norm": config.final_norm,
        "fc_norm": config.fc_norm,
        "norm_layer": partial(RmsNorm if config.norm == "rms" else LayerNorm, eps=config.norm_eps),
        "act_layer": {"gelu": nn.GELU, "gelu_tanh": GELUTanh, "quick_gelu": QuickGELU, "swiglu": nn.SiLU}[config.mlp],
        "mlp_layer": SwiGLUPacked if swiglu else Mlp,
    }
    if config.patch_bias == config.pre_norm:
        raise WeightsError(
            f"timm cannot express patch_bias={config.patch_bias} with pre_norm={config.pre_norm}: its models have a "
            "patch bias if and only if they have no pre_norm"
        )
    return arguments


def _embedding(module: Any) -> dict[str, Any]:
    """What stands before the blocks: patches, prefix tokens and positions."""
    if class_name(module) == "NaFlexVit":
        own, factorised = module.embeds, module.embeds.pos_embed_y is not None
        patch, positions = own, own.pos_embed if own.pos_embed is not None else own.pos_embed_y
        grid = (own.pos_embed_y.shape[1], own.pos_embed_x.shape[1]) if factorised else tuple(own.pos_embed_grid_size)
        image_size = tuple(side * own.patch_size[0] for side in grid)
        on_prefix = False
    else:
        own, patch, positions = module, module.patch_embed, getattr(module, "pos_embed", None)
        image_size = tuple(patch.img_size)
        on_prefix = not getattr(module, "no_embed_class", False)
    stem = stem_of(patch) if class_name(patch) == "HybridEmbed" else None
    side, has_bias = patches_of(patch) if stem is not None else (patch.patch_size[0], patch.proj.bias is not None)
    registers = getattr(own, "reg_token", None)
    return {
        "stem": stem,
        "patch_size": side,
        "image_size": image_size,
        "norm": not is_identity(getattr(patch, "norm", None)),
        "bias": has_bias,
        "class_token": own.cls_token is not None,
        "registers": 0 if registers is None else registers.shape[1],
        "position_table": positions is not None,
        "position_on_prefix": on_prefix and positions is not None,
    }
