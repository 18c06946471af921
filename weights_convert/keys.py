"""The map between timm's state dict and vitjax parameters: one line per parameter, usable in both directions.

vitjax parameters are named by flax's path joined with dots. Parameters under `blocks` have a leading layer axis, where
timm has one key per layer. The map covers all models; the lines that apply to a model are those of the parameters that
`ViT(config).init` creates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from vitjax.errors import WeightsError
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig

State = dict[str, np.ndarray]
"""A PyTorch state dict: key -> numpy array."""


LINES = 5
"""Number of keys that do not fit up to which a message has a line for each."""


class Layout(NamedTuple):
    """Conversion of one array between PyTorch's axes and vitjax's."""

    read: Callable[[np.ndarray], np.ndarray]  # PyTorch -> vitjax
    write: Callable[[np.ndarray], np.ndarray]  # vitjax -> PyTorch


class Source(NamedTuple):
    """Origin of one vitjax parameter in a state dict.

    names: keys, with `{}` for the layer number. Several keys are concatenated along the output axis.
    layout: conversion of the (concatenated) array.
    """

    names: tuple[str, ...]
    layout: Layout


KeyMap = dict[str, Source]
"""Dotted flax path -> origin in the state dict."""


def _patch_side(kernel: np.ndarray) -> int:
    """Patch side p of a [p*p*3, c] kernel."""
    return round((kernel.shape[0] / 3) ** 0.5)


SAME = Layout(lambda a: a, lambda a: a)
MATRIX = Layout(lambda a: a.T, lambda a: a.T)  # [out, in] <-> [in, out]
TOKENS = Layout(lambda a: a[0], lambda a: a[None])  # [1, n, c] <-> [n, c]
PATCHES = Layout(  # [c, 3, p, p] <-> [p*p*3, c], in the order of vitjax's PatchEmbed: row, column, channel
    lambda a: a.transpose(2, 3, 1, 0).reshape(-1, a.shape[0]),
    lambda a: a.reshape(_patch_side(a), _patch_side(a), 3, -1).transpose(3, 2, 0, 1),
)

CONVOLUTION = Layout(  # [o, i, side, side] <-> [side, side, i, o]
    lambda a: a.transpose(2, 3, 1, 0),
    lambda a: a.transpose(3, 2, 0, 1),
)


def linear(ours: str, *theirs: str, kernel: Layout = MATRIX) -> KeyMap:
    """The entries of a linear layer: kernel and bias."""
    return {
        f"{ours}.kernel": Source(tuple(f"{name}.weight" for name in theirs), kernel),
        f"{ours}.bias": Source(tuple(f"{name}.bias" for name in theirs), SAME),
    }


def norm(ours: str, theirs: str) -> KeyMap:
    """The entries of a LayerNorm: scale and bias."""
    return {
        f"{ours}.scale": Source((f"{theirs}.weight",), SAME),
        f"{ours}.bias": Source((f"{theirs}.bias",), SAME),
    }


def tokens(ours: str, theirs: str) -> KeyMap:
    """The entry of learned tokens or positions."""
    return {ours: Source((theirs,), TOKENS)}


TIMM: KeyMap = {
    **tokens("cls_token", "cls_token"),
    **tokens("dist_token", "dist_token"),
    **tokens("reg_token", "reg_token"),
    **tokens("pos_embed", "pos_embed"),
    **linear("patch_embed.proj", "patch_embed.proj", kernel=PATCHES),
    **norm("patch_embed.norm", "patch_embed.norm"),
    **norm("norm_pre", "norm_pre"),
    **norm("blocks.norm1", "blocks.{}.norm1"),
    **linear("blocks.attn.qkv", "blocks.{}.attn.qkv"),
    **norm("blocks.attn.q_norm", "blocks.{}.attn.q_norm"),
    **norm("blocks.attn.k_norm", "blocks.{}.attn.k_norm"),
    "blocks.attn.rotary_frequencies": Source(("blocks.{}.attn.rotary_frequencies",), SAME),
    "blocks.attn.position_bias": Source(("blocks.{}.attn.relative_position_bias_table",), SAME),
    **norm("blocks.attn.norm", "blocks.{}.attn.norm"),
    **linear("blocks.attn.proj", "blocks.{}.attn.proj"),
    "blocks.ls1.gamma": Source(("blocks.{}.ls1.gamma",), SAME),
    **norm("blocks.norm2", "blocks.{}.norm2"),
    **norm("blocks.post_norm1", "blocks.{}.post_norm1"),
    **norm("blocks.post_norm2", "blocks.{}.post_norm2"),
    **linear("blocks.mlp.fc1", "blocks.{}.mlp.fc1"),
    **norm("blocks.mlp.norm", "blocks.{}.mlp.norm"),
    **linear("blocks.mlp.fc2", "blocks.{}.mlp.fc2"),
    "blocks.ls2.gamma": Source(("blocks.{}.ls2.gamma",), SAME),
    **norm("norm", "norm"),
    **tokens("attn_pool.latent", "attn_pool.latent"),
    **linear("attn_pool.q", "attn_pool.q"),
    **linear("attn_pool.kv", "attn_pool.kv"),
    **linear("attn_pool.proj", "attn_pool.proj"),
    **norm("attn_pool.norm", "attn_pool.norm"),
    **linear("attn_pool.mlp.fc1", "attn_pool.mlp.fc1"),
    **linear("attn_pool.mlp.fc2", "attn_pool.mlp.fc2"),
    **norm("fc_norm", "fc_norm"),
    **linear("head", "head"),
    **linear("head_dist", "head_dist"),
    **linear("classes", "classes"),
}


@cache
def parameter_shapes(config: ViTConfig) -> dict[str, tuple[int, ...]]:
    """Dotted flax path -> shape of every parameter of the architecture. Cost: one abstract trace."""

    def init() -> Any:
        return ViT(config).init(jax.random.key(0), jnp.zeros((*config.image_size, 3)))["params"]

    return {path: leaf.shape for path, leaf in flatten(jax.eval_shape(init)).items()}


def flatten(params: Any) -> dict[str, Any]:
    """Nested parameters -> {dotted path: array}."""
    return flatten_dict(params, sep=".")


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{dotted path: array} -> nested parameters."""
    return unflatten_dict(dict(flat), sep=".")


def state_shapes(config: ViTConfig, keys: KeyMap = TIMM) -> dict[str, tuple[int, ...]]:
    """Key -> shape of every array in the architecture's state dict. No array is allocated."""
    empty = {path: np.broadcast_to(np.float32(0), shape) for path, shape in parameter_shapes(config).items()}
    return {key: array.shape for key, array in _state_arrays(empty, keys).items()}


def to_state(params: Any, keys: KeyMap = TIMM) -> State:
    """vitjax parameters -> PyTorch state dict (numpy, float32 or wider). The inverse of `to_params`."""
    flat = {path: np.asarray(array) for path, array in flatten(params).items()}
    return {key: np.ascontiguousarray(array) for key, array in _state_arrays(flat, keys).items()}


def to_params(state: Mapping[str, np.ndarray], config: ViTConfig, keys: KeyMap = TIMM) -> dict[str, Any]:
    """PyTorch state dict -> vitjax parameters (numpy; half precision becomes float32).

    Raises:
        WeightsError: keys are missing, extra or have another shape. The message gives examples, with both shapes.
    """
    check_fit(state, config, keys)
    flat = {}
    for path, shape in parameter_shapes(config).items():
        source = _source(keys, path, len(shape))
        if path.startswith("blocks."):
            layers = [_read_parameter(state, source, str(layer)) for layer in range(config.depth)]
            flat[path] = np.stack(layers)
        else:
            flat[path] = np.ascontiguousarray(_read_parameter(state, source, ""))
    return unflatten(flat)


def check_fit(state: Mapping[str, np.ndarray], config: ViTConfig, keys: KeyMap = TIMM) -> None:
    """Check that a state dict has the keys and shapes of the architecture.

    Raises:
        WeightsError: as `to_params`.
    """
    problems = differences({key: array.shape for key, array in state.items()}, state_shapes(config, keys))
    if problems:
        raise WeightsError("\n  ".join([f"{len(problems)} keys do not fit:", *shortened(problems)]))


def differences(shapes: Mapping[str, tuple[int, ...]], needed: Mapping[str, tuple[int, ...]]) -> list[str]:
    """One line for each key that is missing, extra or has another shape.

    Args:
        shapes: key -> shape in the checkpoint.
        needed: key -> shape that the architecture requires.
    """
    return [
        *(f"missing: {key} {list(needed[key])}" for key in needed if key not in shapes),
        *(f"extra: {printable(key)} {list(shapes[key])}" for key in shapes if key not in needed),
        *(
            f"misshaped: {key} is {list(shapes[key])}, needs {list(needed[key])}"
            for key in needed
            if key in shapes and tuple(shapes[key]) != tuple(needed[key])
        ),
    ]


def shortened(problems: list[str]) -> list[str]:
    """What `differences` returns, or, if these are more than LINES, one line for each kind with three examples."""
    if len(problems) <= LINES:
        return problems
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kind, _, what = problem.partition(": ")
        kinds.setdefault(kind, []).append(what)
    return [
        f"{kind}: {', '.join(whats[:3])}" + (f" and {len(whats) - 3} more" if len(whats) > 3 else "")
        for kind, whats in kinds.items()
    ]


def printable(key: str) -> str:
    """A key of a file for a message: as it is, or escaped if it contains characters that control a terminal."""
    return key if key.isprintable() else repr(key)


def _source(keys: KeyMap, path: str, axes: int) -> Source:
    """Origin of a parameter with this number of axes.

    Of a convolutional stem and its projection, whose parameters depend on the stem, it follows from the path.
    """
    module, _, kind = path.rpartition(".")
    if module.startswith("patch_embed.stem.") or (module == "patch_embed.proj" and axes == 4):
        their_kind = "bias" if kind == "bias" else "weight"
        return Source((f"{module}.{their_kind}",), CONVOLUTION if kind == "kernel" else SAME)
    return keys[path]


def _read_parameter(state: Mapping[str, np.ndarray], source: Source, layer: str) -> np.ndarray:
    """One parameter, of one layer if it belongs to a block (otherwise layer is "")."""
    arrays = [_at_least_float32(state[name.format(layer)]) for name in source.names]
    return source.layout.read(np.concatenate(arrays) if len(arrays) > 1 else arrays[0])


def _at_least_float32(array: np.ndarray) -> np.ndarray:
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def _state_arrays(flat: Mapping[str, np.ndarray], keys: KeyMap) -> State:
    """{dotted path: array} -> state dict; arrays may be views of the parameters."""
    state: State = {}
    for path, array in flat.items():
        source = _source(keys, path, array.ndim)
        layers = enumerate(array) if path.startswith("blocks.") else [("", array)]
        for layer, values in layers:
            theirs = source.layout.write(values)
            outputs = theirs.shape[0] // len(source.names)
            for number, name in enumerate(source.names):
                part = theirs[number * outputs : (number + 1) * outputs] if len(source.names) > 1 else theirs
                state[name.format(layer)] = part
    return state
