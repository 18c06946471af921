"""A small image, a small classifier and a `Case` built from them."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax import maps
from vitjax.metrics.contract import Case

compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""`jax.jit` without optimisation: these programs run once, so compilation dominates."""

SIZE, GRID, CLASSES = (24, 16), (6, 4), 5
BLACK = np.asarray([-2.0, -1.5, -1.0])


def random_image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*SIZE, 3)).astype(np.float32)


def tie_free(seed: int = 0) -> np.ndarray:
    """Distinct values from 0 to 1 in equal steps, shuffled."""
    values = np.random.default_rng(seed).permutation(SIZE[0] * SIZE[1]) / (SIZE[0] * SIZE[1] - 1)
    return values.reshape(SIZE).astype(np.float32)


def mask_of(seed: int = 0, *, ignore: bool = False) -> np.ndarray:
    """A random mask, uint8: 0 and 255; with `ignore` also 128."""
    kinds = [0, 255, 128] if ignore else [0, 255]
    return np.random.default_rng(seed + 100).choice(kinds, SIZE).astype(np.uint8)


def weights() -> np.ndarray:
    size = (SIZE[0] * SIZE[1] * 3, CLASSES)
    return np.random.default_rng(7).normal(size=size).astype(np.float32) * 0.1


class Classifier:
    """Logits that are linear in tanh of the pixels; records the batch size of each traced call."""

    def __init__(self) -> None:
        self.batch_sizes: list[int] = []

    def __call__(self, images: Any) -> Any:
        self.batch_sizes.append(images.shape[0])
        return jnp.tanh(images.reshape(len(images), -1)) @ jnp.asarray(weights())


def probabilities(image: np.ndarray) -> np.ndarray:
    """Softmax of the classifier's logits for ONE image, by numpy in float64."""
    logits = np.tanh(np.asarray(image, np.float64).reshape(-1)) @ weights().astype(np.float64)
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


def case(heatmap: Any = None, image: Any = None, **changed: Any) -> Case:
    """A `Case` with a tie-free map and the `Classifier`; keywords replace its fields."""
    heatmap = tie_free() if heatmap is None else heatmap
    image = random_image() if image is None else image
    forward = changed.pop("forward", Classifier())
    fields = {
        "raw": jnp.asarray(heatmap),
        "heatmap": maps.to_pixels(jnp.asarray(heatmap), SIZE),
        "mask": jnp.asarray(mask_of()),
        "image": jnp.asarray(image),
        "logits": forward(jnp.asarray(image)[None])[0],
        "target": jnp.asarray(2),
        "label": jnp.asarray(1),
        "grid": GRID,
        "key": jax.random.key(3),
        "black": jnp.asarray(BLACK, jnp.float32),
        "forward": forward,
    }
    return Case(**{**fields, **changed})
