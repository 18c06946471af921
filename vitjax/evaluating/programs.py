"""The compiled programs of an evaluation: pixels -> model input, maps -> metric columns."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax import maps
from vitjax.evaluating.job import MetricRequest
from vitjax.execution.microbatch import microbatched_vmap
from vitjax.execution.plan import ExecutionPlan, active_plan, planned
from vitjax.explaining.programs import image_key
from vitjax.explaining.requests import Request
from vitjax.images.geometry import Preprocessing
from vitjax.metrics.contract import Case
from vitjax.metrics.removal import ends_of
from vitjax.models.model import Model, accumulation_dtype
from vitjax.nn.network import Config, network, params_dtype
from vitjax.nn.vit_config import ViTConfig

METRIC_STREAM = 1
"""Folded into an image's key, so that a metric's random draws are not its method's."""


@lru_cache(maxsize=16)
def model_input(preprocessing: Preprocessing, dtype: Any) -> Any:
    """jit: uint8 [b, H, W, 3] -> normalised [b, H, W, 3] in the model's dtype. A quarter of the bytes travel."""
    mean, std = (np.asarray(each, np.float32) for each in (preprocessing.mean, preprocessing.std))
    return jax.jit(lambda pixels: ((pixels.astype(jnp.float32) / 255 - mean) / std).astype(dtype))


@lru_cache(maxsize=16)
def verdicts(dtype: Any) -> Any:
    """jit: logits [b, k] -> predicted class and its probability."""

    def run(logits):
        probabilities = jax.nn.softmax(logits.astype(accumulation_dtype(dtype)))
        return logits.argmax(axis=-1).astype(jnp.int32), probabilities.max(axis=-1)

    return jax.jit(run)


@lru_cache(maxsize=16)
def curve_ends(config: Config, preprocessing: Preprocessing, wanted: tuple[str, ...], plan: ExecutionPlan) -> Any:
    """jit: (params, x) -> logits of fully removed and of blurred images, which the curves of all methods share."""

    def run(params, x):
        return ends_of(partial(_forward, config, params), x, black(preprocessing, x.dtype), wanted)

    return jax.jit(planned(plan, microbatched_vmap(run, (None, 0), microbatch_size=plan.forward_microbatch)))


@lru_cache(maxsize=16)
def heat_maps(size: tuple[int, int], dtype: Any) -> Any:
    """jit: raw maps [b, h, w] or [b, H, W] -> H [b, H, W], rounded as `Explanation.pixels` rounds."""
    return jax.jit(lambda raw: maps.all_to_pixels(raw.astype(dtype), size))


@lru_cache(maxsize=64)
def metric_columns(
    config: Config,
    preprocessing: Preprocessing,
    metrics: tuple[MetricRequest, ...],
    method: Request | None,
    plan: ExecutionPlan,
) -> Any:
    """jit: (params, x, raw, heat, mask, logits, target, label, seeds, seed, ends) -> columns, degenerate, finite.

    One program serves all methods whose maps have the same shape; only metrics that explain changed images need to
    know the `method`.
    """

    def one(params, image, raw, heatmap, mask, logits, target, label, image_seed, seed, ends):
        key = image_key(seed, image_seed)
        explain = None
        if method is not None:
            options = dict(method.options)

            def explain(changed, picture, asked):
                return method.method.one(config, changed, picture, asked, key=key, **options)

        wide = raw.astype(accumulation_dtype(raw.dtype))
        case = Case(
            raw=wide,
            heatmap=heatmap,
            mask=mask,
            image=image,
            logits=logits,
            target=target,
            label=label,
            grid=_grid(config),
            key=jax.random.fold_in(key, METRIC_STREAM),
            black=black(preprocessing, image.dtype),
            forward=partial(_forward, config, params),
            explain=explain,
            params=params,
            ends=ends,
        )
        columns = {
            f"{each.label}.{name}": value
            for each in metrics
            for name, value in each.metric.record(case, **dict(each.options)).items()
        }
        return columns, maps.is_degenerate(raw), jnp.isfinite(raw).all()

    axes = (None, 0, 0, 0, 0, 0, 0, 0, 0, None, 0)
    return jax.jit(planned(plan, microbatched_vmap(one, axes, microbatch_size=plan.forward_microbatch)))


def column_shapes(
    model: Model,
    metrics: tuple[MetricRequest, ...],
    method: Request | None,
    ends: Iterable[str],
    plan: ExecutionPlan,
) -> dict[str, tuple[int, ...]]:
    """Shape of one image's number in each column of these metrics. Cost: one abstract trace."""
    config, dtype = model.config, accumulation_dtype(model.dtype)

    def of(*shape: int, kind: Any = dtype) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, *shape), kind)

    image, number = of(*config.image_size, 3, kind=model.dtype), of(kind=np.int32)
    heatmap, mask = of(*config.image_size), of(*config.image_size, kind=np.uint8)
    logits, seed = of(config.num_classes), jax.ShapeDtypeStruct((), np.uint32)
    drawn = of(kind=np.uint32), seed, dict.fromkeys(ends, logits)
    program = metric_columns(config, model.preprocessing, metrics, method, plan)
    columns, *_ = jax.eval_shape(program, model.params, image, heatmap, heatmap, mask, logits, number, number, *drawn)
    return {name: each.shape[1:] for name, each in columns.items()}


def _grid(config: Config) -> tuple[int, int]:
    """Patches of a ViT, positions of a ResNet's last stage."""
    if isinstance(config, ViTConfig):
        return config.grid
    return config.image_size[0] // 32, config.image_size[1] // 32


def black(preprocessing: Preprocessing, dtype: Any) -> np.ndarray:
    """A black pixel [3] in normalised space."""
    return np.asarray([-m / s for m, s in zip(preprocessing.mean, preprocessing.std, strict=True)], dtype)


def _forward(config: Config, params: Any, images: jax.Array) -> jax.Array:
    module, dtype = network(config), params_dtype(params)

    def one(image):
        return module.apply({"params": params}, image.astype(dtype))

    microbatch_size = active_plan(config).forward_microbatch
    return microbatched_vmap(one, (0,), microbatch_size=microbatch_size)(images).astype(accumulation_dtype(dtype))
