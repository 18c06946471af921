"""From a configuration to its network, the same for a ViT, a ResNet and a function."""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.nn.function import FunctionConfig, FunctionNetwork
from vitjax.nn.resnet import STATISTICS, ResNet, ResNetConfig
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Params

ModuleConfig = ViTConfig | ResNetConfig
"""Configuration of the architectures that vitjax builds, and whose checkpoints it reads."""
Config = ModuleConfig | FunctionConfig
"""Configuration of any model."""


def network(config: Config) -> Any:
    """The network of a configuration. `apply({"params": params}, image)` returns the logits [k] of ONE image."""
    if isinstance(config, FunctionConfig):
        return FunctionNetwork(config)
    return ViT(config) if isinstance(config, ViTConfig) else ResNet(config)


def kind_of(config: Config) -> str:
    """What a model is, for error messages: "a transformer", "a ResNet" or "a function"."""
    if isinstance(config, FunctionConfig):
        return "a function"
    return "a transformer" if isinstance(config, ViTConfig) else "a ResNet"


def params_dtype(params: Params) -> Any:
    """The dtype in which a network with these parameters computes: the widest of its floating-point parameters.

    A function's parameters may also hold integers and PRNG keys.
    """
    return reduce(jnp.promote_types, {leaf.dtype for leaf in jax.tree.leaves(params) if is_floating(leaf)})


def is_floating(leaf: Any) -> bool:
    """Whether a leaf of a tree of parameters is an array of floating-point numbers."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def features(config: Config) -> int:
    """Number of outputs of the model without its classes: the pooled features, or the embedding made of them."""
    return config.embedding or config.features if isinstance(config, ViTConfig) else config.features


def transformer(config: Config, what: str, name: str) -> ViTConfig:
    """`config` itself, which must be that of a ViT.

    Args:
        what: what needs a ViT, for the error message.
        name: name of the model, for the error message.

    Raises:
        ConfigError: `WHAT needs a transformer; 'NAME' is a ResNet`.
    """
    if not isinstance(config, ViTConfig):
        raise ConfigError(f"{what} needs a transformer; {name!r} is {kind_of(config)}")
    return config


def parameter_count(config: ModuleConfig) -> int:
    """Number of trained parameters, without the running statistics of batch norms. Cost: one abstract trace."""
    image = jax.ShapeDtypeStruct((*config.image_size, 3), jnp.float32)
    shapes = jax.eval_shape(network(config).init, jax.random.key(0), image)["params"]
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    return sum(prod(leaf.shape) for path, leaf in leaves if path[-1].key not in STATISTICS)
