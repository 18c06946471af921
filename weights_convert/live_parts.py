"""Reads the parts of timm's plain transformers, which have other attributes in each of timm's classes."""

from __future__ import annotations

from typing import Any, Literal

from vitjax.nn.rotary import Rotary
from vitjax.nn.vit_config import MLP, Pool

ACTIVATIONS: dict[str, MLP] = {"GELU": "gelu", "QuickGELU": "quick_gelu", "GELUTanh": "gelu_tanh"}
BLOCKS = {
    **dict.fromkeys(("Block", "EvaBlock", "RelPosBlock", "ParallelThingsBlock", "DeepseekVitBlock"), False),
    **dict.fromkeys(("ResPostBlock", "EvaBlockPostNorm", "ResPostRelPosBlock"), True),
}
"""Class of a block -> whether its norms stand at the end of its branches."""
ATTENTIONS = ("Attention", "EvaAttention", "AttentionRope", "RelPosAttention")
NORMS: dict[str, Literal["layer", "rms"]] = {
    **dict.fromkeys(("LayerNorm", "LayerNormFp32"), "layer"),
    **dict.fromkeys(("RmsNorm", "RmsNormFp32"), "rms"),
}
ROTARY: dict[str, Literal["axial", "centred", "mixed"]] = {
    "RotaryEmbeddingCat": "axial",
    "RotaryEmbeddingDinoV3": "centred",
    "RotaryEmbeddingMixed": "mixed",
}


def parts_of(module: Any) -> tuple[Any, Any, Any, int]:
    """The first block, its (first) attention and MLP, and how many of each stand side by side."""
    block = module.blocks[0]
    if class_name(block) == "ParallelThingsBlock":
        return block, block.attns[0].attn, block.ffns[0].mlp, len(block.attns)
    return block, block.attn, block.mlp, 1


def norms_of(module: Any) -> list[Any]:
    """All norms of the module."""
    kinds = ("norm", "Norm", "NormFp32")
    return [
        part
        for name, part in module.named_modules()
        if class_name(part).endswith(kinds) and not is_identity(part) and not list(part.children())
    ]


def pool_of(module: Any) -> Pool:
    """The pooling of the head. Eva's pooling head attends to all tokens, whatever the option says."""
    kinds: dict[str, Pool] = {"avg": "avg_all", "map": "map_all"}
    included = getattr(module, "pool_include_prefix", False) or (
        class_name(module) == "Eva" and module.global_pool == "map"
    )
    return kinds.get(module.global_pool, module.global_pool) if included else module.global_pool


def rotary_of(module: Any) -> Rotary | None:
    rope = getattr(module, "rope", None)
    if rope is None:
        return None
    kind = ROTARY[class_name(rope)]
    reference = getattr(rope, "ref_feat_shape", None)
    return Rotary(
        kind=kind,
        temperature=1.0 if kind == "mixed" else float(rope.temperature),
        half=bool(getattr(rope, "rotate_half", False)),
        offset=float(getattr(rope, "grid_offset", 0.0)),
        reference=tuple(reference) if reference is not None else None,
        x_first=rope.grid_indexing == "xy",
    )


def head_width(attn: Any) -> int:
    width = getattr(attn, "head_dim", None)
    return width if width is not None else attn.proj.in_features // attn.num_heads


def has_qkv_bias(attn: Any) -> bool:
    if getattr(attn, "q_bias", None) is not None:
        return True
    return (attn.qkv if attn.qkv is not None else attn.q_proj).bias is not None


def has_position_bias(module: Any) -> bool:
    attn = getattr(module.blocks[0], "attn", None)
    kinds = (getattr(attn, "relative_position_bias_table", None), getattr(attn, "rel_pos", None))
    return any(kind is not None for kind in (*kinds, getattr(module, "shared_rel_pos", None)))


def has_layer_scale(block: Any) -> bool:
    return getattr(block, "gamma_1", None) is not None or not is_identity(getattr(block, "ls1", None))


def is_plain_pool(pool: Any) -> bool:
    plain = class_name(pool) == "AttentionPoolLatent" and pool.latent_len == 1 and pool.pos_embed is None
    return plain and is_identity(pool.q_norm) and pool.mlp is not None and class_name(pool.q) == "Linear"


def class_name(module: Any) -> str:
    return type(module).__name__


def is_identity(module: Any) -> bool:
    return module is None or class_name(module) == "Identity"


def is_distilled(module: Any) -> bool:
    return class_name(module) == "VisionTransformerDistilled"


def is_swiglu(mlp: Any) -> bool:
    packed = class_name(mlp) == "GluMlp" and not mlp.gate_last
    return (packed or class_name(mlp) == "SwiGLU") and class_name(mlp.act) == "SiLU"


def activation_of(act: Any) -> str:
    """Class of an activation; "GELUTanh" for PyTorch's GELU with that approximation."""
    return "GELUTanh" if getattr(act, "approximate", "none") == "tanh" else class_name(act)


def signature(block: Any) -> tuple[Any, ...]:
    """What must be equal in all blocks, since vitjax stacks their parameters."""
    # The widths of separate keys and values may differ: grouped heads are repeated for their queries.
    grouped = ("attn.k_proj.", "attn.v_proj.")
    shapes = tuple((k, tuple(value.shape)) for k, value in block.state_dict().items() if not k.startswith(grouped))
    attns = [branch.attn for branch in block.attns] if hasattr(block, "attns") else [getattr(block, "attn", None)]
    mlps = [branch.mlp for branch in block.ffns] if hasattr(block, "ffns") else [getattr(block, "mlp", None)]
    heads = tuple(getattr(attn, "num_heads", None) for attn in attns)
    kinds = tuple((class_name(mlp), activation_of(getattr(mlp, "act", None))) for mlp in mlps)
    return class_name(block), heads, kinds, shapes
