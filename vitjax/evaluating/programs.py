"""The jitted programs of an evaluation: pixels -> model input, logits -> predictions, maps -> metric columns."""

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
from vitjax.execution.plan import ExecutionPlan, active_plan, plan_for, planned
from vitjax.explaining.programs import image_key
from vitjax.explaining.requests import Request
from vitjax.images.geometry import Preprocessing
from vitjax.layerwise.probability import probabilities
from vitjax.metrics.contract import Case
from vitjax.metrics.removal import ends_of, wanted_ends
from vitjax.models.model import Model
from vitjax.nn.function import FunctionConfig
from vitjax.nn.network import Config, features, network, params_dtype
from vitjax.shapes import Array, Image, Logits, Params, Target, accumulation_dtype

METRIC_STREAM = 1
"""Folded into an image's PRNG key, so that metrics and methods draw independent random numbers."""


@lru_cache(maxsize=16)
def model_input(preprocessing: Preprocessing, dtype: Any) -> Any:
    """jit: uint8 [b, H, W, 3] -> normalised [b, H, W, 3] in the model's dtype.

    Normalising on the device reduces the transfer to a quarter of the bytes.
    """
    mean, std = (np.asarray(values, np.float32) for values in (preprocessing.mean, preprocessing.std))
    return jax.jit(lambda pixels: ((pixels.astype(jnp.float32) / 255 - mean) / std).astype(dtype))


@lru_cache(maxsize=16)
def predictions(dtype: Any, *, head: bool) -> Any:
    """jit: logits [b, k] -> predicted classes int32 [b] and their probabilities [b].

    Without a head the outputs are features: the class is then -1 and the probability NaN.
    """

    def run(logits: Logits) -> Any:
        confidence = probabilities(logits.astype(accumulation_dtype(dtype))).max(axis=-1)
        if not head:
            return jnp.full(len(logits), -1, jnp.int32), jnp.full_like(confidence, jnp.nan)
        return logits.argmax(axis=-1).astype(jnp.int32), confidence

    return jax.jit(run)


@lru_cache(maxsize=16)
def curve_ends(config: Config, preprocessing: Preprocessing, names: tuple[str, ...], plan: ExecutionPlan) -> Any:
    """jit: (params, x) -> logits of the endpoint images, which the curves of all methods share; see `ends_of`."""

    def run(params: Params, x: Array) -> Any:
        return ends_of(partial(_forward, config, params), x, black(preprocessing, x.dtype), names)

    return jax.jit(planned(plan, microbatched_vmap(run, (None, 0), microbatch_size=plan.forward_microbatch)))


@lru_cache(maxsize=16)
def heat_maps(config: Config, dtype: Any) -> Any:
    """jit: raw maps [b, h, w] or [b, H, W] -> heatmaps [b, H, W], equal to `Explanation.pixels`, including rounding."""
    return jax.jit(lambda raw: maps.all_to_pixels(raw.astype(dtype), config.image_size, config.covered))


@lru_cache(maxsize=64)
def metric_columns(
    config: Config,
    preprocessing: Preprocessing,
    metrics: tuple[MetricRequest, ...],
    method: Request | None,
    plan: ExecutionPlan,
) -> Any:
    """jit: (params, x, raw, heatmap, mask, logits, target, label, seeds, seed, ends) -> columns, degenerate, finite.

    All methods whose maps have the same shape use one program. `method` is needed only by metrics that explain
    perturbed images; otherwise it is None.

    The program returns the metric columns by name, each [b] or [b, levels], and two arrays bool [b]: whether the map is
    constant, and whether it is finite.
    """

    def one(
        params: Params,
        image: Image,
        raw: Array,
        heatmap: Array,
        mask: Array,
        logits: Logits,
        target: Target,
        label: Array,
        image_seed: Array,
        seed: Array,
        ends: Any,
    ) -> tuple[dict[str, Array], Array, Array]:
        key = image_key(seed, image_seed)
        explain = None
        if method is not None:
            options = dict(method.options)

            def explain(changed_params: Params, changed_image: Image, changed_target: Target) -> Array:
                return method.method.one(config, changed_params, changed_image, changed_target, key=key, **options)

        wide = raw.astype(accumulation_dtype(raw.dtype))
        case = Case(
            raw=wide,
            heatmap=heatmap,
            mask=mask,
            image=image,
            logits=logits,
            target=target,
            label=label,
            grid=config.grid,
            covered=config.covered,
            key=jax.random.fold_in(key, METRIC_STREAM),
            black=black(preprocessing, image.dtype),
            forward=partial(_forward, config, params),
            explain=explain,
            params=params,
            layered=not isinstance(config, FunctionConfig),
            ends=ends,
        )
        columns = {
            f"{metric.label}.{name}": value
            for metric in metrics
            for name, value in metric.metric.record(case, **dict(metric.options)).items()
        }
        return columns, maps.is_degenerate(raw), jnp.isfinite(raw).all()

    axes = (None, 0, 0, 0, 0, 0, 0, 0, 0, None, 0)
    return jax.jit(planned(plan, microbatched_vmap(one, axes, microbatch_size=plan.forward_microbatch)))


def check_metrics(model: Model, metrics: Iterable[MetricRequest], requests: Iterable[Request]) -> None:
    """Trace the metrics whose options were given, so that options out of range for this model are found at once.

    Raises:
        ConfigError: an option is out of range, such as a cut that the model does not have.
    """
    plan = plan_for(model.config)
    for metric in metrics:
        if dict(metric.options) != metric.metric.options:
            method = next(iter(requests)) if "explainer" in metric.metric.needs else None
            with model.settings():
                column_shapes(model, (metric,), method, wanted_ends([(metric.metric, dict(metric.options))]), plan)


def column_shapes(
    model: Model,
    metrics: tuple[MetricRequest, ...],
    method: Request | None,
    ends: Iterable[str],
    plan: ExecutionPlan,
) -> dict[str, tuple[int, ...]]:
    """Shape of one image's value in each column of these metrics.

    Cost: one abstract trace; nothing is compiled or computed.
    """
    config, dtype = model.config, accumulation_dtype(model.dtype)

    def batch_of(*shape: int, dtype: Any = dtype) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, *shape), dtype)

    image, class_number = batch_of(*config.image_size, 3, dtype=model.dtype), batch_of(dtype=np.int32)
    heatmap, mask = batch_of(*config.image_size), batch_of(*config.image_size, dtype=np.uint8)
    logits = batch_of(config.num_classes or features(config))
    image_seed, seed = batch_of(dtype=np.uint32), jax.ShapeDtypeStruct((), np.uint32)
    raw = heatmap if method is None else batch_of(*_map_shape(model, method))
    arguments = image, raw, heatmap, mask, logits, class_number, class_number, image_seed, seed
    program = metric_columns(config, model.preprocessing, metrics, method, plan)
    columns, *_ = jax.eval_shape(program, model.params, *arguments, dict.fromkeys(ends, logits))
    return {name: column.shape[1:] for name, column in columns.items()}


def _map_shape(model: Model, wanted: Request) -> tuple[int, ...]:
    """Shape of one raw map, by an abstract trace."""

    def one(params: Params, image: Image, target: Target, key: Array) -> Array:
        return wanted.method.one(model.config, params, image, target, key=key, **dict(wanted.options))

    image = jax.ShapeDtypeStruct((*model.config.image_size, 3), model.dtype)
    target = jax.ShapeDtypeStruct((), np.int32)
    return jax.eval_shape(one, model.params, image, target, jax.random.key(0)).shape


def black(preprocessing: Preprocessing, dtype: Any) -> np.ndarray:
    """A black pixel [3] in normalised space."""
    return np.asarray([-m / s for m, s in zip(preprocessing.mean, preprocessing.std, strict=True)], dtype)


def _forward(config: Config, params: Any, images: jax.Array) -> jax.Array:
    module, dtype = network(config), params_dtype(params)

    def one(image: Image) -> Array:
        return module.apply({"params": params}, image.astype(dtype))

    microbatch_size = active_plan(config).forward_microbatch
    return microbatched_vmap(one, (0,), microbatch_size=microbatch_size)(images).astype(accumulation_dtype(dtype))
