"""From a configuration to its network, the same for a ViT and a ResNet."""

from __future__ import annotations

from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.nn.resnet import STATISTICS, ResNet, ResNetConfig
from vitjax.nn.vit import ViT
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Params

Config = ViTConfig | ResNetConfig
"""Configuration of any supported architecture."""


def network(config: Config) -> Any:
    """The flax module of a configuration. `apply({"params": params}, image)` returns the logits [k] of ONE image."""
    return ViT(config) if isinstance(config, ViTConfig) else ResNet(config)


def params_dtype(params: Params) -> Any:
    """The dtype in which a network with these parameters computes."""
    return jax.tree.leaves(params)[0].dtype


def features(config: Config) -> int:
    """Number of outputs of the model without its classes: the pooled features, or the embedding made of them."""
    return config.embedding or config.width if isinstance(config, ViTConfig) else config.features


def transformer(config: Config, what: str, name: str) -> ViTConfig:
    """`config` itself, which must be that of a ViT.

    Args:
        what: what needs a ViT, for the error message.
        name: name of the model, for the error message.

    Raises:
        ConfigError: `WHAT needs a transformer; 'NAME' is a ResNet`.
    """
    if not isinstance(config, ViTConfig):
        raise ConfigError(f"{what} needs a transformer; {name!r} is a ResNet")
    return config


def parameter_count(config: Config) -> int:
    """Number of trained parameters, without the running statistics of batch norms. Cost: one abstract trace."""
    image = jax.ShapeDtypeStruct((*config.image_size, 3), jnp.float32)
    shapes = jax.eval_shape(network(config).init, jax.random.key(0), image)["params"]
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    return sum(prod(leaf.shape) for path, leaf in leaves if path[-1].key not in STATISTICS)
