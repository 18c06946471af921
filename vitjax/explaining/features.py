"""Feature maps of a ResNet's stages: the counterpart of `trace`, which needs a network of tokens."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError
from vitjax.execution.microbatch import microbatched_vmap
from vitjax.execution.plan import ExecutionPlan, active_plan
from vitjax.execution.program import Program
from vitjax.explaining.inputs import prepare
from vitjax.models.model import Model
from vitjax.nn.network import kind_of, network, params_dtype
from vitjax.nn.resnet import LAYERS, ResNetConfig
from vitjax.shapes import Array, Image, Params, at_least_float32


def stage_features(
    model: Model, images: Any, *, batch_size: int = 16, normalised: bool = False
) -> dict[str, np.ndarray]:
    """Outputs of the four stages of a ResNet, after the last ReLU of each.

    Args:
        model: a ResNet.
        images: as for `vitjax.explain`.
        batch_size: images in one device call.
        normalised: as for `vitjax.explain`.

    Returns:
        Feature maps [b, h, w, c] by name, "layer1" to "layer4", float32 or the model's dtype if that is wider.

    Raises:
        ConfigError: the model has no stages; of a ViT use `trace`.
        ImageError: an image is missing, damaged or malformed.

    Cost: 1F. Memory: 5.5 MiB per image for ResNet-50.

    Example: `stage_features(vitjax.load("resnet50"), "cat.jpg")["layer4"]`
    """
    batch = prepare(model, images, normalised=normalised)
    model = model.at_size(batch.x.shape[1:3])
    if not isinstance(model.config, ResNetConfig):
        raise ConfigError(f"stage_features needs a ResNet; {model.name!r} is {kind_of(model.config)}")
    program = _compiled_stages(model.config, active_plan(model.config))
    batches = [batch.x[start : start + batch_size] for start in range(0, len(batch), batch_size)]
    with model.settings():
        results = [jax.device_get(program(model.params, x)) for x in batches]
    by_stage = zip(*results, strict=True)
    return {stage: np.concatenate(parts) for stage, parts in zip(LAYERS, by_stage, strict=True)}


@lru_cache(maxsize=8)
def _compiled_stages(config: ResNetConfig, plan: ExecutionPlan) -> Program:
    """The program (params, x [b, H, W, 3]) -> outputs of the stages."""

    def one(params: Params, image: Image) -> tuple[Array, ...]:
        image = jnp.asarray(image, params_dtype(params))
        return tuple(map(at_least_float32, network(config).apply({"params": params}, image, method="stages")))

    return Program(microbatched_vmap(one, (None, 0), microbatch_size=plan.forward_microbatch), (None, 0), plan)
