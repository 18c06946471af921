"""A network with its weights, its preprocessing and its class names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.execution.microbatch import microbatched_vmap
from vitjax.execution.plan import ExecutionPlan, active_plan
from vitjax.execution.program import Program
from vitjax.images.reading import Preprocessing, preprocess
from vitjax.models.class_names import Labels
from vitjax.nn.network import Config, network, params_dtype
from vitjax.nn.positions import resample_positions
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Params


@dataclass(frozen=True, eq=False)
class Model:
    """What `vitjax.load` returns. Frozen; parameters are a pytree as `network(config).init` makes it."""

    config: Config
    params: Params
    preprocessing: Preprocessing
    labels: Labels | None = None
    name: str = "custom"
    weights: dict[str, Any] = field(default_factory=dict)  # where from, sha256: what a manifest records
    precision: str = "highest"  # of float32 matrix products: TF32 or bf16 passes only when asked for

    @property
    def dtype(self) -> Any:
        """The dtype the forward pass runs in."""
        return params_dtype(self.params)

    def preprocess(self, images: Any, *, exif: bool = False) -> np.ndarray:
        """Path(s), PIL image(s) or uint8 array(s) [H, W, 3] -> float32 [b, H, W, 3], timm's eval transform.

        `exif=True` first turns the picture as its EXIF orientation says (timm does not).
        Raises ImageError with the file and the cause.
        """
        return np.stack([preprocess(image, self.preprocessing, exif=exif) for image in as_list(images)])

    def logits(self, x: Any) -> jax.Array:
        """Logits [b, k] of preprocessed images [b, H, W, 3], in float32 (float64 for a float64 model).

        Cost: one forward. A 54-image stack is one program; chunk it yourself where memory matters.
        """
        x = jnp.asarray(x)
        model = self.at_size((x.shape[1], x.shape[2]))
        with jax.default_matmul_precision(self.precision):
            return jnp.asarray(_batched_logits(model.config, active_plan(model.config))(model.params, x))

    def at_size(self, image_size: tuple[int, int]) -> Model:
        """The same model for images of another size (height, width) in pixels.

        A ViT's position embedding is resampled as timm does it, and `weights["positions"]` says so. Raises ConfigError
        for a size that is not a multiple of the patch, or below a ResNet's 32 pixels.
        """
        if tuple(image_size) == self.config.image_size:
            return self
        config = self.config.at_size(image_size)
        params, resampled = self.params, {}
        if isinstance(self.config, ViTConfig) and isinstance(config, ViTConfig):
            params = {**params, "pos_embed": resample_positions(params["pos_embed"], self.config, config)}
            grids = ["{}x{}".format(*each.grid) for each in (self.config, config)]
            resampled = {"positions": "resampled " + " -> ".join(grids)} if grids[0] != grids[1] else {}
        return replace(
            self,
            config=config,
            params=params,
            preprocessing=replace(self.preprocessing, size=config.image_size),
            weights={**self.weights, **resampled},
        )

    def label(self, index: int) -> str:
        """Class name, or the number where the model has no names."""
        return self.labels.names[index] if self.labels is not None else f"class {index}"


def as_list(images: Any) -> Sequence[Any]:
    """One image or many -> a sequence of single images."""
    if isinstance(images, (list, tuple)):
        return images
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return list(images)
    return [images]


def accumulation_dtype(dtype: Any) -> Any:
    """Relevance and logits never have less than float32, whatever the model runs in."""
    return jnp.promote_types(dtype, jnp.float32)


@lru_cache(maxsize=64)
def _batched_logits(config: Config, plan: ExecutionPlan):
    module = network(config)

    def one(params, image):
        dtype = params_dtype(params)
        return module.apply({"params": params}, image.astype(dtype)).astype(accumulation_dtype(dtype))

    return Program(microbatched_vmap(one, (None, 0), microbatch_size=plan.forward_microbatch), (None, 0), plan)
