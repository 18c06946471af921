"""The map between torchvision's (and timm's) ResNet state dict and the parameters of `vitjax.nn.resnet`.

Module names are the same on either side, so that the map is about the last part of a name only. What no name tells:
weights trained with the stride on the first 1x1 convolution (Caffe's, Keras's) fit too, but compute something else.
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
from weights_convert.load import check_finite

KERNEL = Layout(  # [out, in, ...] <-> [..., in, out], of convolutions and of the head
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
"""Last part of our path -> (last part of their key, layout)."""

UNUSED = ".num_batches_tracked"
"""What a batch norm counts while it trains."""


def key_map(paths: Iterable[str]) -> KeyMap:
    """Our dotted paths -> where they are found in a torchvision state dict."""
    found = {}
    for path in paths:
        module, _, leaf = path.rpartition(".")
        theirs, layout = LEAVES[leaf]
        found[path] = Source((f"{module}.{theirs}",), layout)
    return found


@cache
def parameter_shapes(config: ResNetConfig) -> dict[str, tuple[int, ...]]:
    """Dotted flax path -> shape, of every parameter, running statistics included. Cost: one abstract trace."""

    def init():
        return ResNet(config).init(jax.random.key(0), jnp.zeros((*config.image_size, 3)))["params"]

    return {path: leaf.shape for path, leaf in flatten(jax.eval_shape(init)).items()}


def state_shapes(config: ResNetConfig) -> dict[str, tuple[int, ...]]:
    """Key -> shape, of the state dict that belongs to the architecture. No array is allocated."""
    shapes = parameter_shapes(config)
    empty = {path: np.broadcast_to(np.float32(0), shape) for path, shape in shapes.items()}
    return {source.names[0]: source.layout.write(empty[path]).shape for path, source in key_map(shapes).items()}


def params_of(state: Mapping[str, np.ndarray], config: ResNetConfig, source: str) -> dict[str, Any]:
    """A state dict in torchvision's names -> parameters in numpy (half precision becomes float32).

    `source` is what errors call it, and `num_batches_tracked` is not read. Raises WeightsError: every key that is
    missing, extra or misshaped at once, with the shapes; or every tensor with NaN or Inf.
    """
    state = {key: array for key, array in state.items() if not key.endswith(UNUSED)}
    problems = differences({key: array.shape for key, array in state.items()}, state_shapes(config))
    if problems:
        headline = f"{source}: {len(problems)} keys do not fit a ResNet with {summary(config)}:"
        raise WeightsError("\n  ".join([headline, *problems]))
    check_finite(state, source)
    lines = key_map(parameter_shapes(config)).items()
    return unflatten({path: _read(state[line.names[0]], line.layout) for path, line in lines})


def to_state(params: Any) -> State:
    """Our parameters -> torchvision's state dict (numpy). The inverse of `params_of`.

    PyTorch's strict `load_state_dict` takes it: it makes up the `num_batches_tracked` that are not in it.
    """
    return keys.to_state(params, key_map(flatten(params)))


def summary(config: ResNetConfig) -> str:
    """`3-4-6-3 blocks, width 64, 1000 classes`."""
    head = f"{config.num_classes} classes" if config.num_classes else "no head"
    return f"{'-'.join(map(str, config.depths))} blocks, width {config.width}, {head}"


def _read(array: np.ndarray, layout: Layout) -> np.ndarray:
    wide = array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
    return np.ascontiguousarray(layout.read(wide))
