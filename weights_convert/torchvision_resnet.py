"""The map between torchvision's (and timm's) ResNet state dict and the parameters of `vitjax.nn.resnet`.

Module names are the same on both sides, so that only the last part of a key is mapped. Keys and shapes do not reveal
where a bottleneck has its stride: weights trained with the stride on the first 1x1 convolution (Caffe's and Keras's)
load without an error, but were trained for a different computation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import WeightsError
from vitjax.nn.resnet import ResNet, ResNetConfig
from weights_convert import keys
from weights_convert.keys import SAME, KeyMap, Layout, Source, State, differences, flatten, unflatten
from weights_convert.tensors import check_finite, check_kinds

KERNEL = Layout(  # [out, in, ...] <-> [..., in, out], for convolutions and the head
    lambda a: a.transpose(*range(2, a.ndim), 1, 0),
    lambda a: a.transpose(-1, -2, *range(a.ndim - 2)),
)

LEAVES: dict[str, tuple[str, Layout]] = {
    "kernel": ("weight", KERNEL),
    "scale": ("weight", SAME),
    "bias": ("bias", SAME),
    "mean": ("running_mean", SAME),
    "var": ("running_var", SAME),
}
"""Last part of a vitjax path -> (last part of the torchvision key, layout)."""

UNUSED = ".num_batches_tracked"
"""Suffix of the training-step counters of PyTorch's batch norms, which inference does not use."""


def key_map(paths: Iterable[str]) -> KeyMap:
    """Dotted vitjax paths -> their origin in a torchvision state dict."""
    sources = {}
    for path in paths:
        module, _, leaf = path.rpartition(".")
        theirs, layout = LEAVES[leaf]
        sources[path] = Source((f"{module}.{theirs}",), layout)
    return sources


@cache
def parameter_shapes(config: ResNetConfig) -> dict[str, tuple[int, ...]]:
    """Dotted flax path -> shape of every parameter, including running statistics. Cost: one abstract trace."""

    def init() -> Any:
        return ResNet(config).init(jax.random.key(0), jnp.zeros((*config.image_size, 3)))["params"]

    return {path: leaf.shape for path, leaf in flatten(jax.eval_shape(init)).items()}


def state_shapes(config: ResNetConfig) -> dict[str, tuple[int, ...]]:
    """Key -> shape of every array in the architecture's state dict. No array is allocated."""
    shapes = parameter_shapes(config)
    empty = {path: np.broadcast_to(np.float32(0), shape) for path, shape in shapes.items()}
    return {source.names[0]: source.layout.write(empty[path]).shape for path, source in key_map(shapes).items()}


def params_of(
    state: Mapping[str, np.ndarray], config: ResNetConfig, source: str, dtype: str = "float32"
) -> dict[str, Any]:
    """A state dict with torchvision's names -> parameters in numpy (half precision becomes float32).

    Args:
        state: the state dict; `num_batches_tracked` is ignored.
        config: the architecture.
        source: name of the file or hub id, for error messages.
        dtype: dtype of the model, whose range the values must not exceed.

    Raises:
        WeightsError: keys are missing, extra or have another shape (the message gives examples, with the shapes),
            tensors are not floating-point numbers, or contain NaN, Inf or values too large for `dtype` (the message
            lists all of them).
    """
    state = {key: array for key, array in state.items() if not key.endswith(UNUSED)}
    problems = differences({key: array.shape for key, array in state.items()}, state_shapes(config))
    if problems:
        headline = f"{source}: {len(problems)} keys do not fit a ResNet with {summary(config)}:"
        raise WeightsError("\n  ".join([headline, *keys.shortened(problems)]))
    check_kinds(state, source)
    check_finite(state, source, dtype)
    sources = key_map(parameter_shapes(config)).items()
    return unflatten({path: _read_parameter(state[origin.names[0]], origin.layout) for path, origin in sources})


def to_state(params: Any) -> State:
    """vitjax parameters -> torchvision's state dict (numpy). The inverse of `params_of`.

    PyTorch's strict `load_state_dict` accepts it, although the `num_batches_tracked` are missing.
    """
    return keys.to_state(params, key_map(flatten(params)))


def summary(config: ResNetConfig) -> str:
    """Sizes of a configuration. Example: "3-4-6-3 blocks, width 64, 1000 classes"."""
    head = f"{config.num_classes} classes" if config.num_classes else "no head"
    return f"{'-'.join(map(str, config.depths))} blocks, width {config.width}, {head}"


def _read_parameter(array: np.ndarray, layout: Layout) -> np.ndarray:
    wide = array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
    return np.ascontiguousarray(layout.read(wide))
