"""Which features of a timm module ViTConfig cannot express, in words for an error message."""

from __future__ import annotations

from typing import Any

from weights_convert.live_parts import (
    ACTIVATIONS,
    ATTENTIONS,
    BLOCKS,
    NORMS,
    ROTARY,
    activation_of,
    class_name,
    has_position_bias,
    is_distilled,
    is_identity,
    is_plain_pool,
    is_swiglu,
    norms_of,
    parts_of,
    signature,
)


def unsupported_around(module: Any) -> dict[str, bool]:
    """As `unsupported_in_model`, of a classifier around an encoder."""
    pool = getattr(module, "merging", "")
    return {
        f"the encoder merges several patches into one token (pooling {pool!r})": bool(pool),
        "norms with different epsilons": len({norm.eps for norm in getattr(module, "own_norms", ())}) > 1,
    }


def unsupported_in_model(module: Any) -> dict[str, bool]:
    """Description -> whether the module has it, of timm's options outside the blocks that ViTConfig cannot express."""
    flexible = class_name(module) == "NaFlexVit"
    patch, distilled = module.embeds if flexible else module.patch_embed, is_distilled(module)
    pool, first = getattr(module, "attn_pool", None), module.blocks[0]
    rope = getattr(module, "rope", None)
    positions = "pos_embed" if not flexible else "embeds"
    return {
        f"global_pool={module.global_pool!r}": module.global_pool not in ("token", "avg", "map"),
        "registers or no_embed_class in a distilled model": distilled
        and (module.num_reg_tokens > 0 or module.no_embed_class),
        f"patch embedding {class_name(patch)}": class_name(patch) not in ("PatchEmbed", "HybridEmbed", "NaFlexEmbeds"),
        f"a head of type {class_name(module.head)}, not one linear layer with bias": not all(
            is_identity(head) or (class_name(head) == "Linear" and getattr(head, "bias", None) is not None)
            for head in (module.head, getattr(module, "head_dist", None))
        ),
        f"{getattr(module, 'in_chans', 3)} input channels, not 3": getattr(module, "in_chans", 3) != 3,
        "images padded to whole patches": getattr(patch, "dynamic_img_pad", False)
        and any(side % patch.patch_size[0] for side in patch.img_size or ()),
        "patches that are not square": patch.patch_size[0] != patch.patch_size[-1],
        f"no position embedding ({positions})": not (
            getattr(patch if flexible else module, "pos_embed", None) is not None
            or getattr(patch, "pos_embed_y", None) is not None
            or rope is not None
            or has_position_bias(module)
        ),
        "two final norms": not (is_identity(module.norm) or is_identity(module.fc_norm)),
        "factorised positions that keep the aspect ratio, on a grid that is not square": getattr(
            patch, "pos_embed_y", None
        )
        is not None
        and patch.pos_embed_ar_preserving
        and patch.pos_embed_y.shape[1] != patch.pos_embed_x.shape[1],
        f"rotary positions of type {class_name(rope)}": rope is not None and class_name(rope) not in ROTARY,
        f"blocks of type {class_name(first)}": any(class_name(block) not in BLOCKS for block in module.blocks),
        "an attention pooling head with options": pool is not None and not is_plain_pool(pool),
    }


def unsupported_in_blocks(module: Any) -> dict[str, bool]:
    """As `unsupported_in_model`, of the blocks. Other kinds of blocks do not have the attributes that it reads."""
    block, attn, mlp, parallel = parts_of(module)
    norms = norms_of(module)
    biases = [getattr(mlp, name).bias is not None for name in ("fc1", "fc1_g", "fc1_x", "fc2") if hasattr(mlp, name)]
    return {
        f"attention of type {class_name(attn)}": class_name(attn) not in ATTENTIONS,
        "gated attention": getattr(attn, "gate", None) is not None,
        "a relative position bias shared between blocks and one in each": getattr(module, "rel_pos_bias", None)
        is not None,
        "an MLP with biases in some of its layers only": len(set(biases)) > 1,
        "an MLP with biases and an output projection without": all(biases) and attn.proj.bias is None,
        f"MLP of type {class_name(mlp)}": not (class_name(mlp) == "Mlp" or is_swiglu(mlp)),
        f"activation {activation_of(mlp.act)}": not (is_swiglu(mlp) or activation_of(mlp.act) in ACTIVATIONS),
        "LayerScale of the MLP only": is_identity(getattr(block, "ls1", None))
        and not is_identity(getattr(block, "ls2", None)),
        "norms without scale, or LayerNorm without bias": any(
            norm.weight is None or (NORMS.get(class_name(norm)) != "rms" and norm.bias is None) for norm in norms
        ),
        f"norms of type {', '.join(sorted({class_name(norm) for norm in norms} - NORMS.keys()))}": any(
            class_name(norm) not in NORMS for norm in norms
        ),
        "relative positions of Swin's kind": getattr(getattr(attn, "rel_pos", None), "mode", "cr") != "cr",
        "norms of different kinds": len({NORMS.get(class_name(norm)) for norm in norms}) > 1,
        "norms with different epsilons": len({getattr(norm, "eps", None) for norm in norms}) > 1,
        "blocks that differ from each other": len({signature(b) for b in module.blocks}) > 1,
        "parallel attention with norms of its own": parallel > 1 and len(norms) > 2 * parallel * len(module.blocks) + 2,
    }
