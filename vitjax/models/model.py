"""A network with its weights, its preprocessing and its class names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.execution.microbatch import microbatched_vmap
from vitjax.execution.plan import ExecutionPlan, active_plan
from vitjax.execution.program import Program
from vitjax.images.reading import Exif, Preprocessing, preprocess
from vitjax.models import describe
from vitjax.models.class_names import Labels
from vitjax.nn.function import FunctionConfig, config_of
from vitjax.nn.network import Config, network, params_dtype
from vitjax.nn.positions import params_at_size
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, accumulation_dtype


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A model as `vitjax.load` returns it. Immutable.

    config: architecture.
    params: parameters, a pytree of the structure that `network(config).init` returns; of a function, those given.
    preprocessing: transform from images to the model's input.
    labels: class names; None if unknown.
    name: name of the model.
    weights: source, format and sha256 of the weights, as recorded in manifests.
    text: the text tower of a CLIP or SigLIP, a `vitjax.models.text.TextTower`; None for other models.
    precision: `jax.default_matmul_precision` of float32 matrix products. The default excludes TF32 and bf16 passes.

    Example:
        >>> model = vitjax.load("vitjax_scenes")
        >>> model.name, model.config.tokens, model.labels.names[3:5]
        ('vitjax_scenes', 65, ('plain ring', 'striped star'))
        >>> model
        Model 'vitjax_scenes': ViT, 6 blocks of 4 heads, width 128, 829.6 k parameters in float32
          64 x 64 pixels, 8 x 8 patches; 10 classes: striped disc, ...
    """

    config: Config
    params: Params
    preprocessing: Preprocessing
    labels: Labels | None = None
    name: str = "custom"
    weights: dict[str, Any] = field(default_factory=dict)
    precision: str = "highest"
    text: Any = None

    def __repr__(self) -> str:
        """Two lines: architecture and parameters, input and classes."""
        return describe.two_lines(self.name, self.config, self.params, self._class_names)

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        names, preprocessing = self._class_names, self.preprocessing
        return describe.as_html(self.name, self.config, self.params, names, preprocessing, self.weights)

    @property
    def _class_names(self) -> tuple[str, ...] | None:
        return None if self.labels is None else self.labels.names

    @property
    def dtype(self) -> Any:
        """Dtype of the forward pass."""
        return params_dtype(self.params)

    @property
    def probability(self) -> str | None:
        """How logits become probabilities: "softmax", "sigmoid" for one output, None without a head.

        A single similarity is no logit of a sigmoid, except in SigLIP, which is trained with one and has a bias: None.
        """
        single = self.config.num_classes == 1
        if single and isinstance(self.config, ViTConfig) and self.config.similarity:
            return "sigmoid" if self.text is not None and self.text.bias else None
        return {0: None, 1: "sigmoid"}.get(self.config.num_classes, "softmax")

    @contextmanager
    def settings(self) -> Iterator[None]:
        """JAX's settings for programs of this model: its precision, and 64-bit types only if its parameters have them.

        So constants and random numbers of a float32 model are the same with and without JAX_ENABLE_X64.

        Example:
            >>> with model.settings():
            ...     jax.config.jax_default_matmul_precision
            'highest'
        """
        wide = self.dtype == np.float64
        with jax.default_matmul_precision(self.precision), jax.enable_x64(wide):
            yield

    def preprocess(self, images: Any, *, exif: Exif = "ignore") -> np.ndarray:
        """Model input from images, by timm's transform for evaluation.

        Args:
            images: path, PIL image or uint8 array [H, W, 3]; or a list of these or an array [b, H, W, 3].
            exif: "apply" first turns the image upright by its EXIF orientation, which timm ignores.

        Returns:
            float32 [b, H, W, 3], normalised.

        Raises:
            ImageError: an image cannot be read or used; the message names the file and the cause.

        Example:
            >>> model.preprocess([image, image]).shape
            (2, 64, 64, 3)
        """
        return np.stack([preprocess(image, self.preprocessing, exif=exif) for image in as_list(images)])

    def logits(self, x: Any) -> jax.Array:
        """Logits [b, k] of preprocessed images [b, H, W, 3], in float32 (float64 for a float64 model).

        Cost: one forward per image. The whole batch is passed to one compiled program; split it if memory is short.

        Example:
            >>> logits = model.logits(model.preprocess(image))
            >>> logits.shape, model.label(int(logits.argmax()))
            ((1, 10), 'striped star')
        """
        x = jnp.asarray(x)
        model = self.at_size((x.shape[1], x.shape[2]))
        with jax.default_matmul_precision(self.precision):
            return jnp.asarray(_batched_logits(model.config, active_plan(model.config))(model.params, x))

    def at_size(self, image_size: tuple[int, int]) -> Model:
        """The same model for images of another size, (height, width) in pixels.

        The position embedding of a ViT is resampled as in timm, and `weights["positions"]` records it.

        Raises:
            ConfigError: the size is not a multiple of the ViT's patch size, is larger than a table of positions that
                is cropped, is below 32 pixels for a ResNet, or is one that a function cannot take.

        Example:
            >>> wide = model.at_size((64, 128))
            >>> wide.config.grid, wide.weights["positions"]
            ((8, 16), 'resampled 8x8 -> 8x16')
        """
        if tuple(image_size) == self.config.image_size:
            return self
        config = self._config_at(image_size)
        params, resampled = self.params, {}
        if isinstance(self.config, ViTConfig) and isinstance(config, ViTConfig):
            params = params_at_size(params, self.config, config)
            grids = ["{}x{}".format(*cfg.grid) for cfg in (self.config, config)]
            resampled = {"positions": "resampled " + " -> ".join(grids)} if grids[0] != grids[1] else {}
        return replace(
            self,
            config=config,
            params=params,
            preprocessing=replace(self.preprocessing, size=config.image_size),
            weights={**self.weights, **resampled},
        )

    def _config_at(self, image_size: tuple[int, int]) -> Config:
        config = self.config
        if not isinstance(config, FunctionConfig):
            return config.at_size(image_size)
        image = jax.ShapeDtypeStruct((*image_size, 3), self.dtype)
        with self.settings():
            return config_of(config.apply, self.params, image, config.num_classes, config.map_names)

    def label(self, index: int) -> str:
        """Name of a class, or "class INDEX" if the model has no class names, "feature INDEX" if it has no head.

        Example:
            >>> model.label(4)
            'striped star'
        """
        if self.config.num_classes == 0:
            return f"feature {index}"
        return self.labels.names[index] if self.labels is not None else f"class {index}"


def as_list(images: Any) -> Sequence[Any]:
    """Sequence of single images from one image, a list of images or an array [b, H, W, 3]."""
    if isinstance(images, (list, tuple)):
        return images
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return list(images)
    return [images]


@lru_cache(maxsize=64)
def _batched_logits(config: Config, plan: ExecutionPlan) -> Program:
    """Program (params, images [b, H, W, 3]) -> logits [b, k]."""
    module = network(config)

    def one(params: Params, image: Image) -> Array:
        dtype = params_dtype(params)
        return module.apply({"params": params}, image.astype(dtype)).astype(accumulation_dtype(dtype))

    return Program(microbatched_vmap(one, (None, 0), microbatch_size=plan.forward_microbatch), (None, 0), plan)
