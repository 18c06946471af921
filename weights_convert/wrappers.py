"""What training scripts put around a state dict: a dict with other entries, prefixes of modules, unused tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vitjax.errors import WeightsError
from weights_convert import huggingface
from weights_convert.keys import State, printable

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "teacher")
"""Keys of averaged weights, which are those that a training script evaluates and timm's loader prefers."""
RAW = ("state_dict", "model", "model_state_dict", "student", "net", "module")
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "vit.")
"""What DataParallel, torch.compile, Lightning and models with a backbone put before a name."""
UNUSED = re.compile(r"(^|\.)mask_token$")
"""Tensors of pretraining that no classifier reads."""
_DEEPEST = 3
"""Dicts within dicts that are opened."""
_ANCHOR = "patch_embed.proj.weight"
"""A key that every ViT with timm's names has; what stands before it is the prefix."""


def unwrapped(loaded: Any, source: object) -> tuple[Any, list[str]]:
    """The state dict inside of what a training script saved.

    Args:
        loaded: what the file contains.
        source: name of the file, for error messages.

    Returns:
        The state dict, and a sentence for each choice that was made.

    Raises:
        WeightsError: the file contains dicts under other keys only; the message names them.
    """
    notes: list[str] = []
    for _ in range(_DEEPEST):
        found = _state_dicts(loaded, (*AVERAGED, *RAW))
        if not found or _is_state_dict(loaded):
            break
        if len(found) > 1:
            kind = "averaged weights " if found[0] in AVERAGED else ""
            rest = ", ".join(map(repr, found[1:]))
            notes.append(f"read the {kind}{found[0]!r}; the file also contains {rest}")
        loaded = loaded[found[0]]
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
        hasattr(each, "dtype") and hasattr(each, "shape") for each in value.values()
    )


def without_prefix(state: State) -> tuple[State, list[str]]:
    """The state dict without the prefix of a wrapper, and a sentence if there was one.

    The prefix is a chain of `PREFIXES` before all keys, or before `patch_embed.proj.weight`. A key without it keeps its
    name. Nothing is removed if two keys would become one.
    """
    prefix = _prefix(state)
    if not prefix:
        return state, []
    plain = {key.removeprefix(prefix): array for key, array in state.items()}
    if len(plain) < len(state):
        return state, []
    return plain, [f"removed the prefix {prefix!r} of the keys"]


def _prefix(state: State) -> str:
    anchors = [key.removesuffix(_ANCHOR) for key in state if key.endswith(_ANCHOR)]
    if len(anchors) == 1:
        chain = rf"({'|'.join(map(re.escape, PREFIXES))})*"
        return anchors[0] if re.fullmatch(chain, anchors[0]) else ""
    prefix = ""
    while not huggingface.is_huggingface(key.removeprefix(prefix) for key in state):
        longer = [prefix + part for part in PREFIXES if all(key.startswith(prefix + part) for key in state)]
        if not longer:
            break
        prefix = longer[0]
    return prefix


def without_unused(state: State) -> tuple[State, list[str]]:
    """The state dict without tensors that no classifier reads, and a sentence if there were any."""
    unused = [key for key in state if UNUSED.search(key)]
    if not unused:
        return state, []
    plain = {key: array for key, array in state.items() if key not in unused}
    return plain, [f"left {', '.join(map(printable, unused))} aside, which only pretraining uses"]
