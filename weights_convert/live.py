"""A timm module in memory -> configuration, and back. Reads the module's attributes, not its name."""

from __future__ import annotations

from typing import Any, Literal

from vitjax.errors import WeightsError
from vitjax.nn.vit_config import ViTConfig

_CLASSES = {
    ("timm.models.vision_transformer", "VisionTransformer"),
    ("timm.models.deit", "VisionTransformerDistilled"),
}
_WRAPPERS = {"OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module"}
_ACTIVATIONS: dict[str, Literal["gelu", "quick_gelu"]] = {"GELU": "gelu", "QuickGELU": "quick_gelu"}


def unwrapped(module: Any) -> Any:
    """The module inside of `torch.compile`, `DataParallel` and `DistributedDataParallel`, which compute the same."""
    while attribute := _WRAPPERS.get(type(module).__name__):
        module = getattr(module, attribute)
    return module


def config_of(module: Any) -> ViTConfig:
    """The configuration with which vitjax computes the same as a timm VisionTransformer[Distilled] in eval mode.

    Raises:
        WeightsError: the module is of another class, or has a feature that vitjax does not support. The message names
            the class and the feature.
    """
    module_class = type(module)
    if (module_class.__module__, module_class.__name__) not in _CLASSES:
        raise WeightsError(
            f"{module_class.__module__}.{module_class.__name__} is not supported: supported classes are timm's "
            "VisionTransformer and VisionTransformerDistilled (ViT, DeiT, DeiT-III, DINOv2, CLIP towers)"
        )
    for reason, present in _unsupported_features(module).items():
        if present:
            raise WeightsError(f"this {module_class.__name__} is not supported: {reason}")
    block, patch_embed = module.blocks[0], module.patch_embed
    fc_norm = not _is_identity(module.fc_norm)
    final = module.fc_norm if fc_norm else module.norm
    return ViTConfig(
        width=module.embed_dim,
        depth=len(module.blocks),
        heads=block.attn.num_heads,
        mlp_dim=block.mlp.fc2.in_features,
        patch_size=patch_embed.patch_size[0],
        image_size=tuple(patch_embed.img_size),
        num_classes=0 if _is_identity(module.head) else module.head.out_features,
        class_token=module.cls_token is not None,
        distilled=_is_distilled(module),
        registers=0 if module.reg_token is None else module.reg_token.shape[1],
        pool=module.global_pool,
        fc_norm=fc_norm,
        pre_norm=not _is_identity(module.norm_pre),
        qkv_bias=block.attn.qkv.bias is not None,
        patch_bias=patch_embed.proj.bias is not None,
        position_on_prefix=not module.no_embed_class,
        layer_scale=not _is_identity(block.ls1),
        mlp="swiglu" if _is_swiglu(block.mlp) else _ACTIVATIONS[type(block.mlp.act).__name__],
        norm_eps=final.eps,
    )


def timm_arguments(config: ViTConfig) -> dict[str, Any]:
    """Keyword arguments that give timm's VisionTransformer[Distilled] this architecture.

    Raises:
        WeightsError: timm cannot express the configuration (`patch_bias` and `pre_norm` are coupled there).
    """
    from functools import partial

    from timm.layers import LayerNorm, Mlp, QuickGELU, SwiGLUPacked
    from torch import nn

    swiglu = config.mlp == "swiglu"
    arguments = {
        "img_size": config.image_size,
        "patch_size": config.patch_size,
        "num_classes": config.num_classes,
        "global_pool": config.pool,
        "embed_dim": config.width,
        "depth": config.depth,
        "num_heads": config.heads,
        "mlp_ratio": (1 + swiglu) * config.mlp_dim / config.width,
        "qkv_bias": config.qkv_bias,
        "init_values": 1e-5 if config.layer_scale else None,
        "class_token": config.class_token,
        "no_embed_class": not config.position_on_prefix,
        "reg_tokens": config.registers,
        "pre_norm": config.pre_norm,
        "fc_norm": config.fc_norm,
        "norm_layer": partial(LayerNorm, eps=config.norm_eps),
        "act_layer": {"gelu": nn.GELU, "quick_gelu": QuickGELU, "swiglu": nn.SiLU}[config.mlp],
        "mlp_layer": SwiGLUPacked if swiglu else Mlp,
    }
    if config.patch_bias == config.pre_norm:
        raise WeightsError(
            f"timm cannot express patch_bias={config.patch_bias} with pre_norm={config.pre_norm}: its models have a "
            "patch bias if and only if they have no pre_norm"
        )
    return arguments


def _unsupported_features(module: Any) -> dict[str, bool]:
    """Description -> whether the module has it, of timm's options that ViTConfig cannot express.

    Features of attention and MLP are checked only if the rest is supported: other kinds of blocks do not have the
    attributes that are read for them.
    """
    patch_embed, blocks, distilled = module.patch_embed, list(module.blocks), _is_distilled(module)
    first = blocks[0]
    of_the_model = {
        "no position embedding": module.pos_embed is None,
        f"global_pool={module.global_pool!r} (only 'token' and 'avg')": module.global_pool not in ("token", "avg"),
        "average pooling includes the prefix tokens": module.global_pool == "avg" and module.pool_include_prefix,
        "registers or no_embed_class in a distilled model": distilled
        and (module.num_reg_tokens > 0 or module.no_embed_class),
        f"patch embedding {_name(patch_embed)}": _name(patch_embed) != "PatchEmbed",
        f"a head of type {_name(module.head)}, not one linear layer with bias": not all(
            _is_identity(head) or (_name(head) == "Linear" and getattr(head, "bias", None) is not None)
            for head in (module.head, getattr(module, "head_dist", None))
        ),
        f"{module.in_chans} input channels, not 3": module.in_chans != 3,
        "a norm inside the patch embedding": not _is_identity(getattr(patch_embed, "norm", None)),
        "patches that are not square": patch_embed.patch_size[0] != patch_embed.patch_size[-1],
        "no final norm": _is_identity(module.norm) and _is_identity(module.fc_norm),
        "two final norms": not (_is_identity(module.norm) or _is_identity(module.fc_norm)),
        f"blocks of type {_name(first)} (parallel or post-norm)": any(_name(b) != "Block" for b in blocks),
    }
    if any(of_the_model.values()):
        return of_the_model
    attn, mlp = first.attn, first.mlp
    norms = [module.norm_pre, module.norm, module.fc_norm, *(n for b in blocks for n in (b.norm1, b.norm2))]
    norms = [norm for norm in norms if not _is_identity(norm)]
    return {
        f"attention of type {_name(attn)}": any(_name(b.attn) != "Attention" for b in blocks),
        "qk_norm: normalised queries and keys": not _is_identity(getattr(attn, "q_norm", None)),
        "scale_attn_norm: a norm on the attention output": not _is_identity(getattr(attn, "norm", None)),
        "gated attention": getattr(attn, "gate", None) is not None,
        "attention narrower or wider than the tokens": attn.qkv.out_features != 3 * module.embed_dim,
        "projections without bias": attn.proj.bias is None or mlp.fc2.bias is None or mlp.fc1.bias is None
        if hasattr(mlp, "fc1")
        else False,
        f"MLP of type {_name(mlp)}": not (_name(mlp) == "Mlp" or _is_swiglu(mlp)),
        "scale_mlp_norm: a norm inside the MLP": not _is_identity(getattr(mlp, "norm", None)),
        f"activation {_name(mlp.act)}": not (_is_swiglu(mlp) or _plain_activation(mlp.act)),
        "LayerScale in one half of a block only": _is_identity(first.ls1) != _is_identity(first.ls2),
        "norms that are not LayerNorm with scale and bias": any(not _is_layernorm(norm) for norm in norms),
        "norms with different epsilons": len({getattr(norm, "eps", None) for norm in norms}) > 1,
        "blocks that differ from each other": len({_signature(b) for b in blocks}) > 1,
    }


def _name(module: Any) -> str:
    return type(module).__name__


def _is_identity(module: Any) -> bool:
    return module is None or _name(module) == "Identity"


def _is_distilled(module: Any) -> bool:
    return _name(module) == "VisionTransformerDistilled"


def _is_swiglu(mlp: Any) -> bool:
    return _name(mlp) == "GluMlp" and not mlp.gate_last and _name(mlp.act) == "SiLU"


def _plain_activation(act: Any) -> bool:
    return _name(act) in _ACTIVATIONS and getattr(act, "approximate", "none") == "none"


def _is_layernorm(norm: Any) -> bool:
    return _name(norm) == "LayerNorm" and norm.weight is not None and norm.bias is not None


def _signature(block: Any) -> tuple[Any, ...]:
    """What must be equal in all blocks, since vitjax stacks their parameters."""
    shapes = tuple((key, tuple(value.shape)) for key, value in block.state_dict().items())
    return block.attn.num_heads, _name(block.mlp), _name(block.mlp.act), shapes
