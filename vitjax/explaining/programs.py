"""The compiled programs of explanations: all quick methods in one, each slow one in its own."""

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
from vitjax.layerwise.fold import choose_target
from vitjax.layerwise.run import backward_fold, collect
from vitjax.models.model import accumulation_dtype
from vitjax.nn.network import Config, network, params_dtype
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array

TRACES: Counter[tuple] = Counter()
"""How often each (config, requests, shape) was traced by JAX; more than once is a bug."""


def image_key(seed: Array, image_seed: Array) -> Array:
    """The PRNG key of one image: by the seed and the image's id alone."""
    return jax.random.fold_in(jax.random.key(seed), image_seed)


image_keys = jax.jit(jax.vmap(image_key, in_axes=(None, 0)))


def compiled(config: Config, requests: tuple[Request, ...], plan: ExecutionPlan | None = None) -> Program:
    """All requests for a batch: (params, x [b,H,W,3], targets [b], seeds [b], seed) -> (logits, target, maps).

    plan: the active one where not given.
    """
    return _compiled(config, requests, plan or active_plan(config))


@lru_cache(maxsize=64)
def _compiled(config: Config, requests: tuple[Request, ...], plan: ExecutionPlan) -> Program:
    backward = any(map(partial(_runs_backward, config), requests))

    def one(params, image, target, image_seed, seed):
        dtype = params_dtype(params)
        image = image.astype(dtype)
        folds = [each.method.fold(config, **dict(each.options)) for each in requests if each.method.fold]
        if folds and isinstance(config, ViTConfig):
            logits, target, results = backward_fold(config, params, image, target, folds)
        else:
            logits = network(config).apply({"params": params}, image)
            target, results = choose_target(logits, target), ()
        from_sweep = iter(results)
        key = image_key(seed, image_seed)
        maps = tuple(
            next(from_sweep)
            if each.method.explain is None
            else all_rounds(_explained(each, config, params, image, target, key))
            for each in requests
        )
        out = accumulation_dtype(dtype)
        return logits.astype(out), target, tuple(m.astype(out) for m in maps)

    axes = (None, 0, 0, 0, None)

    def batched(params, x, targets, seeds, seed):
        TRACES[config, tuple(each.label for each in requests), x.shape] += 1
        return microbatched_vmap(one, axes, microbatch_size=plan.microbatch(backward=backward))(
            params, x, targets, seeds, seed
        )

    return Program(batched, axes, plan)


@lru_cache(maxsize=64)
def spread(config: Config, each: Request, plan: ExecutionPlan) -> ParallelMapReduce:
    """One slow method for fewer images than there are lanes: (params, [(image, target, its seed), ...], seed) -> maps;
    each target is a class."""

    def explain(params, image, target, image_seed, seed):
        dtype = params_dtype(params)
        found = _explained(each, config, params, image.astype(dtype), target, image_key(seed, image_seed))
        return found if isinstance(found, MapReduce) else found.astype(accumulation_dtype(dtype))

    return ParallelMapReduce(explain, plan)


def _explained(each: Request, config, params, image, target, key) -> Array | MapReduce:
    assert each.method.explain is not None
    return each.method.explain(config, params, image, target, key=key, **dict(each.options))


def _runs_backward(config: Config, each: Request) -> bool:
    """Whether a method may take gradients or relevance; one that is no fold and not free of cost may."""
    if each.method.fold is None:
        return each.method.cost != "0"
    fold = each.method.fold(config, **dict(each.options))
    return fold.gradient is not None or fold.rules is not None


@lru_cache(maxsize=8)
def _compiled_trace(config: ViTConfig, score: Any, plan: ExecutionPlan):
    def one(params, image, target):
        image = jnp.asarray(image, params_dtype(params))
        return collect(config, params, image, target, gradient=score)[1]._replace(params=None)

    return Program(microbatched_vmap(one, (None, 0, 0), microbatch_size=plan.backward_microbatch), (None, 0, 0), plan)
