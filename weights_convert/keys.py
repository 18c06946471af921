"""The map between timm's state dict and our parameters: one line per parameter, usable in both directions.

Our side is flax's path joined by dots. `blocks` carry a leading layer axis; timm numbers them instead. Which
lines apply to a model is decided by the parameters that `ViT(config).init` makes, so there is no second list.
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
"""A PyTorch state dict in numpy."""


class Layout(NamedTuple):
    """How one array is laid out on either side."""

    read: Callable[[np.ndarray], np.ndarray]  # theirs -> ours
    write: Callable[[np.ndarray], np.ndarray]  # ours -> theirs


class Source(NamedTuple):
    """Where a parameter is found: `{}` is the layer number; several names are concatenated over outputs."""

    names: tuple[str, ...]
    layout: Layout


KeyMap = dict[str, Source]


def _side(kernel: np.ndarray) -> int:
    """Patch side of a [p*p*3, c] kernel."""
    return round((kernel.shape[0] / 3) ** 0.5)


SAME = Layout(lambda a: a, lambda a: a)
MATRIX = Layout(lambda a: a.T, lambda a: a.T)  # [out, in] <-> [in, out]
TOKENS = Layout(lambda a: a[0], lambda a: a[None])  # [1, n, c] <-> [n, c]
PATCHES = Layout(  # [c, 3, p, p] <-> [p*p*3, c], flattened as PatchEmbed flattens: row, column, channel
    lambda a: a.transpose(2, 3, 1, 0).reshape(-1, a.shape[0]),
    lambda a: a.reshape(_side(a), _side(a), 3, -1).transpose(3, 2, 0, 1),
)


def linear(ours: str, *theirs: str, kernel: Layout = MATRIX) -> KeyMap:
    """The two lines of a linear layer."""
    return {
        f"{ours}.kernel": Source(tuple(f"{name}.weight" for name in theirs), kernel),
        f"{ours}.bias": Source(tuple(f"{name}.bias" for name in theirs), SAME),
    }


def norm(ours: str, theirs: str) -> KeyMap:
    """The two lines of a LayerNorm."""
    return {
        f"{ours}.scale": Source((f"{theirs}.weight",), SAME),
        f"{ours}.bias": Source((f"{theirs}.bias",), SAME),
    }


def tokens(ours: str, theirs: str) -> KeyMap:
    """The line of learned tokens or positions."""
    return {ours: Source((theirs,), TOKENS)}


TIMM: KeyMap = {
    **tokens("cls_token", "cls_token"),
    **tokens("dist_token", "dist_token"),
    **tokens("reg_token", "reg_token"),
    **tokens("pos_embed", "pos_embed"),
    **linear("patch_embed.proj", "patch_embed.proj", kernel=PATCHES),
    **norm("norm_pre", "norm_pre"),
    **norm("blocks.norm1", "blocks.{}.norm1"),
    **linear("blocks.attn.qkv", "blocks.{}.attn.qkv"),
    **linear("blocks.attn.proj", "blocks.{}.attn.proj"),
    "blocks.ls1.gamma": Source(("blocks.{}.ls1.gamma",), SAME),
    **norm("blocks.norm2", "blocks.{}.norm2"),
    **linear("blocks.mlp.fc1", "blocks.{}.mlp.fc1"),
    **linear("blocks.mlp.fc2", "blocks.{}.mlp.fc2"),
    "blocks.ls2.gamma": Source(("blocks.{}.ls2.gamma",), SAME),
    **norm("norm", "norm"),
    **norm("fc_norm", "fc_norm"),
    **linear("head", "head"),
    **linear("head_dist", "head_dist"),
}


@cache
def parameter_shapes(config: ViTConfig) -> dict[str, tuple[int, ...]]:
    """Dotted flax path -> shape, of every parameter of the architecture. Cost: one abstract trace."""

    def init():
        return ViT(config).init(jax.random.key(0), jnp.zeros((*config.image_size, 3)))["params"]

    return {path: leaf.shape for path, leaf in flatten(jax.eval_shape(init)).items()}


def flatten(params: Any) -> dict[str, Any]:
    """Nested parameters -> {dotted path: array}."""
    return flatten_dict(params, sep=".")


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{dotted path: array} -> nested parameters."""
    return unflatten_dict(dict(flat), sep=".")


def state_shapes(config: ViTConfig, keys: KeyMap = TIMM) -> dict[str, tuple[int, ...]]:
    """Key -> shape, of the state dict that belongs to the architecture. No array is allocated."""
    empty = {path: np.broadcast_to(np.float32(0), shape) for path, shape in parameter_shapes(config).items()}
    return {key: array.shape for key, array in _write(empty, keys).items()}


def to_state(params: Any, keys: KeyMap = TIMM) -> State:
    """Our parameters -> their state dict (numpy, float32 or wider). The inverse of `to_params`."""
    flat = {path: np.asarray(array) for path, array in flatten(params).items()}
    return {key: np.ascontiguousarray(array) for key, array in _write(flat, keys).items()}


def to_params(state: Mapping[str, np.ndarray], config: ViTConfig, keys: KeyMap = TIMM) -> dict[str, Any]:
    """Their state dict -> our parameters (numpy; half precision becomes float32).

    Raises WeightsError naming every missing, extra and misshaped key at once, with both shapes.
    """
    problems = differences({key: array.shape for key, array in state.items()}, state_shapes(config, keys))
    if problems:
        raise WeightsError("\n  ".join([f"{len(problems)} keys do not fit:", *problems]))
    flat = {}
    for path in parameter_shapes(config):
        source = keys[path]
        if path.startswith("blocks."):
            layers = [_read(state, source, str(layer)) for layer in range(config.depth)]
            flat[path] = np.stack(layers)
        else:
            flat[path] = np.ascontiguousarray(_read(state, source, ""))
    return unflatten(flat)


def differences(found: Mapping[str, tuple[int, ...]], needed: Mapping[str, tuple[int, ...]]) -> list[str]:
    """One line per key that is missing, extra or of another shape."""
    return [
        *(f"missing: {key} {list(needed[key])}" for key in needed if key not in found),
        *(f"extra: {key} {list(found[key])}" for key in found if key not in needed),
        *(
            f"misshaped: {key} is {list(found[key])}, needs {list(needed[key])}"
            for key in needed
            if key in found and tuple(found[key]) != tuple(needed[key])
        ),
    ]


def _read(state: Mapping[str, np.ndarray], source: Source, layer: str) -> np.ndarray:
    parts = [_wide(state[name.format(layer)]) for name in source.names]
    return source.layout.read(np.concatenate(parts) if len(parts) > 1 else parts[0])


def _wide(array: np.ndarray) -> np.ndarray:
    """Half precision is stored, float32 is computed with."""
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def _write(flat: Mapping[str, np.ndarray], keys: KeyMap) -> State:
    state: State = {}
    for path, array in flat.items():
        source = keys[path]
        layers = enumerate(array) if path.startswith("blocks.") else [("", array)]
        for layer, values in layers:
            theirs = source.layout.write(values)
            share = theirs.shape[0] // len(source.names)
            for number, name in enumerate(source.names):
                part = theirs[number * share : (number + 1) * share] if len(source.names) > 1 else theirs
                state[name.format(layer)] = part
    return state
