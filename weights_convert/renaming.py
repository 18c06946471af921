"""Renaming of a state dict's keys to timm's, by tables of regular expressions, and the joining of separate tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from weights_convert.keys import State

Table = tuple[tuple[str, str], ...]
"""(pattern of a whole key, its new name); the first pattern that matches counts."""

JOINED: dict[str, tuple[str, ...]] = {"attn.qkv": ("attn.q", "attn.k", "attn.v"), "mlp.fc1": ("mlp.gate", "mlp.up")}
"""timm's linear layer -> the layers whose outputs it concatenates, which other libraries keep apart."""


class Renamed(NamedTuple):
    """A state dict in timm's names.

    naming: whose names they were, for messages.
    state: timm's key -> array.
    fields: fields of ViTConfig that the names or the source state, and shapes do not.
    notes: a sentence for each choice that was made.
    """

    naming: str
    state: State
    fields: dict[str, Any]
    notes: list[str]


Renaming = Callable[[State], Renamed]


def renamed_by(table: Table, state: Mapping[str, np.ndarray]) -> State:
    """The state dict with renamed keys; a key that no pattern matches keeps its name."""
    compiled = [(re.compile(pattern), new) for pattern, new in table]

    def name(key: str) -> str:
        for pattern, new in compiled:
            match = pattern.fullmatch(key)
            if match:
                return match.expand(new)
        return key

    return {name(key): array for key, array in state.items()}


def joined(state: State) -> State:
    """The state dict with query, key and value, and gate and input of a gated MLP, as one linear layer each.

    A bias that one of the parts lacks, as the key's in BEiT and DINOv3, is zero.
    """
    result = dict(state)
    for whole, parts in JOINED.items():
        stems = {key.removesuffix(f"{parts[-1]}.weight") for key in state if key.endswith(f"{parts[-1]}.weight")}
        for stem in stems:
            names = [f"{stem}{part}" for part in parts]
            if all(f"{name}.weight" in state for name in names):
                result |= _one_layer(result, stem + whole, names)
    return result


def _one_layer(state: State, whole: str, names: Sequence[str]) -> State:
    """The entries of the joined layer; those of its parts are removed from `state`."""
    weights = [state.pop(f"{name}.weight") for name in names]
    layer = {f"{whole}.weight": np.concatenate(weights)}
    biases = [state.pop(f"{name}.bias", None) for name in names]
    given = next((bias for bias in biases if bias is not None), None)
    if given is not None:
        filled = [
            np.zeros(weight.shape[0], given.dtype) if bias is None else bias
            for weight, bias in zip(weights, biases, strict=True)
        ]
        layer[f"{whole}.bias"] = np.concatenate(filled)
    return layer


def as_rows(state: State, key: str) -> State:
    """The state dict with [n, c] or [c] at `key` as timm's [1, n, c]."""
    if key not in state or state[key].ndim == 3:
        return state
    return {**state, key: state[key].reshape(1, -1, state[key].shape[-1])}


def with_projection(state: State, key: str, transposed: bool) -> State:
    """The state dict with the projection of an embedding, which has no bias, as timm's head with a bias of zeros.

    Args:
        state: the state dict.
        key: of the projection.
        transposed: whether the projection is stored as [c, e]; else it is [e, c].
    """
    if key not in state:
        return state
    weight = state[key].T if transposed else state[key]
    rest = {name: array for name, array in state.items() if name != key}
    return {**rest, "head.weight": weight, "head.bias": np.zeros(weight.shape[0], weight.dtype)}
