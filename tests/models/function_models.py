"""A small CNN and a small ViT in flax linen, flax nnx and equinox, each as a function for `vitjax.from_function`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

SIDE, CLASSES, CHANNELS = 32, 3, 4


class Built(NamedTuple):
    """apply, params: as `vitjax.from_function` takes them. features, head: the model in two halves, for references."""

    apply: Callable[..., Any]
    params: Any
    features: Callable[[Any], Any]
    head: Callable[[Any], Any]


class LinenCNN(linen.Module):
    def setup(self):
        self.first, self.second = linen.Conv(CHANNELS, (3, 3), (2, 2)), linen.Conv(CHANNELS, (3, 3), (2, 2))
        self.norm, self.fc = linen.BatchNorm(use_running_average=True), linen.Dense(CLASSES)

    def features(self, image):
        return linen.relu(self.second(self.norm(linen.relu(self.first(image)))))

    def head(self, features):
        return self.fc(jnp.tanh(features).mean((0, 1)))

    def __call__(self, image):
        return self.head(self.features(image))


class LinenViT(linen.Module):
    def setup(self):
        self.embed = linen.Conv(8, (8, 8), (8, 8))
        self.attention = linen.MultiHeadDotProductAttention(num_heads=2)
        self.norm, self.fc = linen.LayerNorm(), linen.Dense(CLASSES)

    def features(self, image):
        patches = self.embed(image)
        tokens = patches.reshape(-1, 8)
        return (tokens + self.attention(self.norm(tokens))).reshape(patches.shape)

    def head(self, features):
        return self.fc(jnp.tanh(features).mean((0, 1)))

    def __call__(self, image):
        return self.head(self.features(image))


class NnxCNN(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Conv(3, CHANNELS, (3, 3), (2, 2), rngs=rngs)
        self.second = nnx.Conv(CHANNELS, CHANNELS, (3, 3), (2, 2), rngs=rngs)
        self.norm, self.dropout = nnx.BatchNorm(CHANNELS, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
        self.fc = nnx.Linear(CHANNELS, CLASSES, rngs=rngs)

    def features(self, image):
        return nnx.relu(self.second(self.norm(nnx.relu(self.first(image)))))

    def head(self, features):
        return self.fc(self.dropout(jnp.tanh(features).mean((0, 1))))

    def __call__(self, image):
        return self.head(self.features(image))


class NnxViT(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Conv(3, 8, (8, 8), (8, 8), rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.norm, self.fc = nnx.LayerNorm(8, rngs=rngs), nnx.Linear(8, CLASSES, rngs=rngs)

    def features(self, image):
        patches = self.embed(image)
        tokens = patches.reshape(-1, 8)
        return (tokens + self.attention(self.norm(tokens))).reshape(patches.shape)

    def head(self, features):
        return self.fc(jnp.tanh(features).mean((0, 1)))

    def __call__(self, image):
        return self.head(self.features(image))


def linen_model(kind: str) -> Built:
    module = {"cnn": LinenCNN, "vit": LinenViT}[kind]()
    variables = module.init(jax.random.key(0), jnp.zeros((SIDE, SIDE, 3)))

    def apply(variables, image):
        features = module.apply(variables, image, method="features")
        return module.apply(variables, features, method="head"), {"features": features}

    return Built(
        apply,
        variables,
        lambda image: module.apply(variables, image, method="features"),
        lambda features: module.apply(variables, features, method="head"),
    )


def nnx_model(kind: str) -> Built:
    model = {"cnn": NnxCNN, "vit": NnxViT}[kind](nnx.Rngs(0))
    model.eval()
    graph, state = nnx.split(model)

    def apply(state, image):
        model = nnx.merge(graph, state)
        features = model.features(image)
        return model.head(features), {"features": features}

    return Built(apply, state, model.features, model.head)


def equinox_model(kind: str) -> Built:
    eqx = pytest.importorskip("equinox")

    class CNN(eqx.Module):
        first: eqx.nn.Conv2d
        second: eqx.nn.Conv2d
        fc: eqx.nn.Linear

        def __init__(self, key):
            a, b, c = jax.random.split(key, 3)
            self.first, self.second = (
                eqx.nn.Conv2d(inputs, CHANNELS, 3, 2, 1, key=each) for inputs, each in ((3, a), (CHANNELS, b))
            )
            self.fc = eqx.nn.Linear(CHANNELS, CLASSES, key=c)

        def features(self, image):
            return jax.nn.relu(self.second(jax.nn.relu(self.first(image.transpose(2, 0, 1))))).transpose(1, 2, 0)

        def head(self, features):
            return self.fc(jnp.tanh(features).mean((0, 1)))

    class ViT(eqx.Module):
        embed: eqx.nn.Conv2d
        attention: eqx.nn.MultiheadAttention
        fc: eqx.nn.Linear

        def __init__(self, key):
            a, b, c = jax.random.split(key, 3)
            self.embed = eqx.nn.Conv2d(3, 8, 8, 8, key=a)
            self.attention, self.fc = eqx.nn.MultiheadAttention(2, 8, key=b), eqx.nn.Linear(8, CLASSES, key=c)

        def features(self, image):
            patches = self.embed(image.transpose(2, 0, 1)).transpose(1, 2, 0)
            tokens = patches.reshape(-1, 8)
            return (tokens + self.attention(tokens, tokens, tokens)).reshape(patches.shape)

        def head(self, features):
            return self.fc(jnp.tanh(features).mean((0, 1)))

    model = {"cnn": CNN, "vit": ViT}[kind](jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_array)

    def apply(params, image):
        model = eqx.combine(params, static)
        features = model.features(image)
        return model.head(features), {"features": features}

    return Built(apply, params, model.features, model.head)


BUILDERS = {"linen": linen_model, "nnx": nnx_model, "equinox": equinox_model}


def plain_model(outputs: int = CLASSES, seed: int = 0) -> tuple[Callable[..., Any], Any]:
    """A function without a library, and its parameters: one strided convolution, tanh, mean, linear layer."""
    rng = np.random.default_rng(seed)
    params = {
        "kernel": jnp.asarray(rng.normal(size=(4, 4, 3, CHANNELS)) / 7, jnp.float32),
        "head": jnp.asarray(rng.normal(size=(CHANNELS, outputs)), jnp.float32),
    }
    return plain_apply, params


def plain_apply(params, image):
    dimensions = ("NHWC", "HWIO", "NHWC")
    features = jax.lax.conv_general_dilated(
        image[None], params["kernel"], (4, 4), "SAME", dimension_numbers=dimensions
    )[0]
    features = jnp.tanh(features)
    return features.mean((0, 1)) @ params["head"], {"features": features}
