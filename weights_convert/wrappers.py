"""What training scripts put around a state dict: a dict with other entries, prefixes of modules, unused tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vitjax.errors import WeightsError
from weights_convert.keys import State, printable
from weights_convert.naming import recognised, wrapper_prefix

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "teacher")
"""Keys of averaged weights, which are those that a training script evaluates and timm's loader prefers."""
RAW = ("state_dict", "model", "model_state_dict", "student", "net", "module")
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "visual.", "vit.")
"""What DataParallel, torch.compile, Lightning and models with a backbone put before a name."""
_DEEPEST = 3
"""Dicts within dicts that are opened."""
UNUSED = (
    (r"(.*\.)?mask_token", "which only pretraining uses"),
    (r"(decoder|decoder_\w+|dino_head|ibot_head)\b.*|head\.(mlp\.\d|last_layer)\b.*", "of pretraining"),
    (r"([a-z_0-9]+\.)?pooler\.dense\.\w+", "a pooler behind the features"),
    (
        r"(text|text_model|transformer|token_embedding|ln_final|text_projection|logit_scale|logit_bias"
        r"|context_length|vocab_size|positional_embedding|attn_mask)(\..*)?",
        "of the text tower",
    ),
    (r"(.*\.)?(rope_embed\.periods|relative_position_index|num_batches_tracked)", "constants"),
)
"""(pattern of a key, what the tensor is) of tensors that no image classifier reads."""


def unwrapped(loaded: Any, source: object, ema: bool = True) -> tuple[Any, list[str]]:
    """The state dict inside of what a training script saved.

    Args:
        loaded: what the file contains.
        source: name of the file, for error messages.
        ema: whether averaged weights are preferred where a file contains raw ones, too.

    Returns:
        The state dict, and a sentence for each choice that was made.

    Raises:
        WeightsError: the file contains dicts under other keys only; the message names them.
    """
    notes: list[str] = []
    usual = (*AVERAGED, *RAW) if ema else (*RAW, *AVERAGED)
    for _ in range(_DEEPEST):
        keys = _state_dicts(loaded, usual)
        if not keys or _is_state_dict(loaded):
            break
        if len(keys) > 1:
            kind = "averaged weights " if keys[0] in AVERAGED else "raw weights "
            kind = kind if any(key in AVERAGED for key in keys) else ""
            rest = ", ".join(map(repr, keys[1:]))
            notes.append(f"read the {kind}{keys[0]!r}; the file also contains {rest}")
        loaded = loaded[keys[0]]
    others = _state_dicts(loaded, loaded) if isinstance(loaded, Mapping) and not _is_state_dict(loaded) else []
    if others:
        raise WeightsError(
            f"{source}: contains state dicts under {', '.join(map(repr, others[:8]))}, none of which is a usual key "
            f"({', '.join((*AVERAGED, *RAW))}); save one of them alone: torch.save(torch.load(FILE)[KEY], NEW_FILE)"
        )
    return loaded, notes


def _state_dicts(loaded: Any, keys: Iterable[Any]) -> list[Any]:
    """Those of `keys` under which there is a state dict, or a dict that contains one under a usual key."""
    if not isinstance(loaded, Mapping):
        return []

    def holds_one(value: Any) -> bool:
        return _is_state_dict(value) or (
            isinstance(value, Mapping) and any(_is_state_dict(value.get(key)) for key in (*AVERAGED, *RAW))
        )

    return [key for key in keys if holds_one(loaded.get(key))]


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        hasattr(tensor, "dtype") and hasattr(tensor, "shape") for tensor in value.values()
    )


def without_prefix(state: State) -> tuple[State, list[str]]:
    """The state dict without the prefix of a wrapper, and a sentence if there was one.

    The prefix is what stands before the patch embedding of a ViT; of other models, a chain of `PREFIXES` before all
    keys. A key with the outer part of it only, such as that of a head beside a backbone, loses that part. Nothing is
    removed if two keys would become one.

    Raises:
        WeightsError: the state dict contains several ViTs.
    """
    prefix = _prefix(state)
    if not prefix:
        return state, []
    parts = prefix.split(".")
    outer = [".".join(parts[:count]) + "." for count in range(len(parts) - 1, 0, -1)]  # the whole prefix first

    def without(key: str) -> str:
        return key.removeprefix(next((wrapper for wrapper in outer if key.startswith(wrapper)), ""))

    plain = {without(key): array for key, array in state.items()}
    if len(plain) < len(state):
        return state, []
    return plain, [f"removed the prefix {prefix!r} of the keys"]


def _prefix(state: State) -> str:
    recognition = recognised(state)
    if recognition is not None:
        return wrapper_prefix(*recognition)
    prefix = ""
    while longer := [prefix + part for part in PREFIXES if all(key.startswith(prefix + part) for key in state)]:
        prefix = longer[0]
    return prefix


def without_unused(state: State) -> tuple[State, list[str]]:
    """The state dict without tensors that no classifier reads, and a sentence if there were any.

    Of a CLIP tower that was saved alone, `transformer` and `positional_embedding` are the image tower's own.
    """
    both_towers = any(key.startswith(("visual.", "vision_model.")) for key in state)
    plain, reasons = dict(state), []
    for pattern, what in UNUSED:
        if "text tower" in what and not both_towers:
            continue
        unused = [key for key in plain if re.fullmatch(pattern, key)]
        for key in unused:
            del plain[key]
        if unused:
            named = ", ".join(map(printable, unused)) if len(unused) < 4 else f"{len(unused)} tensors"
            reasons.append(f"{named} aside, {what}")
    return plain, [f"left {'; '.join(reasons)}"] if reasons else []
