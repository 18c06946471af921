"""What a ResNet's stages put out: `trace` of a network without tokens."""

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
from vitjax.layerwise.fold import wide
from vitjax.models.model import Model
from vitjax.nn.network import network, params_dtype
from vitjax.nn.resnet import LAYERS, ResNetConfig


def stage_features(model: Model, images: Any, *, batch_size: int = 16) -> dict[str, np.ndarray]:
    """Outputs of "layer1" to "layer4", [b, down, across, c] each, after the last ReLU.

    Raises ConfigError for a ViT, which has no stages: see `trace`. Memory: 5.5 MiB an image of ResNet-50.
    """
    batch = prepare(model, images)
    model = model.at_size(batch.x.shape[1:3])
    if not isinstance(model.config, ResNetConfig):
        raise ConfigError(f"stage_features needs a ResNet; {model.name!r} is a transformer")
    run = _compiled_stages(model.config, active_plan(model.config))
    chunks = [batch.x[start : start + batch_size] for start in range(0, len(batch), batch_size)]
    with jax.default_matmul_precision(model.precision):
        parts = [jax.device_get(run(model.params, chunk)) for chunk in chunks]
    return {name: np.concatenate(each) for name, each in zip(LAYERS, zip(*parts, strict=True), strict=True)}


@lru_cache(maxsize=8)
def _compiled_stages(config: ResNetConfig, plan: ExecutionPlan):
    def one(params, image):
        image = jnp.asarray(image, params_dtype(params))
        return tuple(map(wide, network(config).apply({"params": params}, image, method="stages")))

    return Program(microbatched_vmap(one, (None, 0), microbatch_size=plan.forward_microbatch), (None, 0), plan)
