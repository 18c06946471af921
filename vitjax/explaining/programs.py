"""Compiled programs of explanations: one for all quick methods together, one for each slow method."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from vitjax.execution.map_reduce import MapReduce, all_rounds
from vitjax.execution.microbatch import microbatched_vmap
from vitjax.execution.parallel_map_reduce import ParallelMapReduce
from vitjax.execution.plan import ExecutionPlan, active_plan
from vitjax.execution.program import Program
from vitjax.explaining.requests import Request
from vitjax.layerwise.collect import collect
from vitjax.layerwise.fold import LayerTrace
from vitjax.layerwise.run import backward_fold
from vitjax.layerwise.target import choose_target
from vitjax.nn.network import Config, network, params_dtype
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target, accumulation_dtype

TRACES: Counter[tuple] = Counter()
"""Number of times that JAX traced each (config, requests, shape). More than once is a defect."""


def image_key(seed: Array, image_seed: Array) -> Array:
    """The PRNG key of one image, a function of the seed and the image's id only."""
    return jax.random.fold_in(jax.random.key(seed), image_seed)


image_keys = jax.jit(jax.vmap(image_key, in_axes=(None, 0)))


def compiled(config: Config, requests: tuple[Request, ...], plan: ExecutionPlan | None = None) -> Program:
    """The program of all `requests` for a batch of images.

    Args:
        plan: how the program is laid out; the active plan where it is None.

    Returns: (params, x [b, H, W, 3], targets [b], image seeds [b], seed) -> (logits, target, a tuple of maps).
    """
    return _compiled(config, requests, plan or active_plan(config))


@lru_cache(maxsize=64)
def _compiled(config: Config, requests: tuple[Request, ...], plan: ExecutionPlan) -> Program:
    backward = any(map(partial(_runs_backward, config), requests))

    def one(params: Params, image: Image, target: Target, image_seed: Array, seed: Array) -> tuple[Any, ...]:
        dtype = params_dtype(params)
        image = image.astype(dtype)
        folds = [wanted.method.fold(config, **dict(wanted.options)) for wanted in requests if wanted.method.fold]
        if folds and isinstance(config, ViTConfig):
            logits, target, results = backward_fold(config, params, image, target, folds)
        else:
            logits = network(config).apply({"params": params}, image)
            target, results = choose_target(logits, target), ()
        of_shared_pass = iter(results)
        key = image_key(seed, image_seed)
        maps = tuple(
            next(of_shared_pass)
            if wanted.method.explain is None
            else all_rounds(_explained(wanted, config, params, image, target, key))
            for wanted in requests
        )
        out = accumulation_dtype(dtype)
        return logits.astype(out), target, tuple(one_map.astype(out) for one_map in maps)

    axes = (None, 0, 0, 0, None)
    batched = microbatched_vmap(one, axes, microbatch_size=plan.microbatch(backward=backward))

    def counted(params: Params, x: Array, targets: Array, seeds: Array, seed: Array) -> tuple[Any, ...]:
        TRACES[config, tuple(wanted.label for wanted in requests), x.shape] += 1
        return batched(params, x, targets, seeds, seed)

    return Program(counted, axes, plan)


@lru_cache(maxsize=64)
def parallel_map_reduce(config: Config, wanted: Request, plan: ExecutionPlan) -> ParallelMapReduce:
    """The program of one slow method for fewer images than there are worker threads.

    Returns: (params, [(image, class index, image seed), ...], seed) -> maps [b, ...].
    """

    def explain(params: Params, image: Image, target: Target, image_seed: Array, seed: Array) -> Array | MapReduce:
        dtype = params_dtype(params)
        result = _explained(wanted, config, params, image.astype(dtype), target, image_key(seed, image_seed))
        return result if isinstance(result, MapReduce) else result.astype(accumulation_dtype(dtype))

    return ParallelMapReduce(explain, plan)


def _explained(
    wanted: Request, config: Config, params: Params, image: Image, target: Target, key: Array
) -> Array | MapReduce:
    assert wanted.method.explain is not None
    return wanted.method.explain(config, params, image, target, key=key, **dict(wanted.options))


def _runs_backward(config: Config, wanted: Request) -> bool:
    """Whether a method may compute gradients or relevance. Of methods other than folds only free ones do not."""
    if wanted.method.fold is None:
        return wanted.method.cost != "0"
    fold = wanted.method.fold(config, **dict(wanted.options))
    return fold.gradient is not None or fold.rules is not None


@lru_cache(maxsize=8)
def compiled_trace(config: ViTConfig, score: Any, plan: ExecutionPlan) -> Program:
    """The program of `vitjax.trace`: (params, x [b, H, W, 3], targets [b]) -> LayerTrace without parameters."""

    def one(params: Params, image: Image, target: Target) -> LayerTrace:
        image = jnp.asarray(image, params_dtype(params))
        return collect(config, params, image, target, gradient=score)[1]._replace(params=None)

    axes = (None, 0, 0)
    return Program(microbatched_vmap(one, axes, microbatch_size=plan.backward_microbatch), axes, plan)
