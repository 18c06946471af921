"""explain, explain_many, trace: images in, maps out, one compiled program per request and shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError
from vitjax.execution import compilation_cache
from vitjax.execution.plan import active_plan
from vitjax.execution.worker_threads import worker_count
from vitjax.explaining.explanation import Explanation
from vitjax.explaining.inputs import Images, prepare
from vitjax.explaining.programs import _compiled_trace, compiled, image_keys, spread
from vitjax.explaining.requests import Request, check_needs, request
from vitjax.explaining.targets import resolve_targets
from vitjax.layerwise.fold import SCORES, LayerTrace
from vitjax.models.model import Model, accumulation_dtype
from vitjax.nn.network import transformer


def explain(
    model: Model,
    images: Any,
    method: str = "rollout",
    target: Any = None,
    *,
    batch_size: int = 16,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> Explanation:
    """Explain images by one method.

    Args:
        images: path(s), PIL image(s), uint8 array(s), or normalised floats [b, H, W, 3] (any size that is a
            multiple of the patch: positions are then resampled).
        target: None (predicted class), class number, class name, "top2" (second class), or a list, one per image.
        batch_size: images per device call; memory grows with it, results do not depend on it.
        seed: of methods that draw random numbers; each image's draws depend on (seed, image id) alone.
        progress: called with the number of images finished, after each batch: once an image for all quick methods
            together, and once more for each slow one.

    Returns an Explanation; `.maps` are raw: [b, h, w] on the patch grid (of a ResNet: a stage's positions) or
    [b, H, W] for pixel methods.
    Raises UnknownNameError, ConfigError, LabelError, ImageError before any computation.

    Example: `vitjax.explain(model, "cat.jpg", method="transformer_mm", target="tabby").overlay(0)`
    """
    wanted = request(method, **options)
    found = explain_many(
        model,
        images,
        [{"method": method, **options}],
        target,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    return found[wanted.label]


def explain_many(
    model: Model,
    images: Any,
    methods: Sequence[str | dict[str, Any]],
    target: Any = None,
    *,
    batch_size: int = 16,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Explanation]:
    """Explain images by several methods; all that are recurrences over layers share one sweep.

    `methods` are names or {"method": name, **options}. Returns a dict in the order asked for, keyed by the name,
    with the options that were given in parentheses: "rollout", "rollout(head_fusion=max)".
    Arguments and errors otherwise as `explain`.
    """
    requests = tuple(dict.fromkeys(request(method) for method in methods))
    if not requests:
        raise ConfigError("no method was asked for")
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: must be at least 1")
    for each in requests:
        check_needs(model, each)
    requests = tuple(each._replace(method=each.method.on(model.config)) for each in requests)
    batch = prepare(model, images)
    targets = resolve_targets(model, target, len(batch))
    model = model.at_size(batch.x.shape[1:3])
    outputs = _run(model, batch, targets, requests, batch_size, seed, progress)
    return {
        each.label: Explanation(
            maps=outputs["maps"][i],
            target=outputs["target"],
            logits=outputs["logits"],
            method=each.name,
            label=each.label,
            options=dict(each.options),
            level=each.method.level_of(dict(each.options)),
            images=batch,
            model=model,
        )
        for i, each in enumerate(requests)
    }


def trace(
    model: Model, images: Any, target: Any = None, *, score: str | None = "logit", batch_size: int = 16
) -> LayerTrace:
    """Everything the layers saw, stacked: arrays lead with [b, l].

    Args: score: gradients of the "logit" or the "probability"; None for none, and one forward instead of two and a
        backward. The others as for `explain`.
    Returns a LayerTrace: `.attention`, `.attention_grad`, `.scores` [b, l, h, n, m], `.tokens` (entering each
    block), `.middle`, `.output` [b, l, n, c], `.values` [b, l, h, n, d] ... `.params` are the blocks' parameters.
    Memory: about 5·b·l·h·n² floats; 54 images of DeiT-Tiny are 1.8 GiB.
    """
    if score not in (*SCORES, None):
        raise ConfigError(f"score={score!r} is not one of 'logit', 'probability', None")
    batch = prepare(model, images)
    targets = resolve_targets(model, target, len(batch))
    model = model.at_size(batch.x.shape[1:3])
    config = transformer(model.config, "trace", model.name)
    run = _compiled_trace(config, score, active_plan(config))
    parts = []
    with jax.default_matmul_precision(model.precision):
        for start in range(0, len(batch), batch_size):
            rows = slice(start, start + batch_size)
            parts.append(jax.device_get(run(model.params, batch.x[rows], targets[rows])))
    stacked = jax.tree.map(lambda *each: np.concatenate(each), *parts)
    return stacked._replace(params=model.params["blocks"])


def _run(model, batch: Images, targets, requests, batch_size, seed, progress) -> dict[str, Any]:
    """One program for all that is quick, one for each slow method; every batch is padded to one shape."""
    compilation_cache.enable()
    quick = tuple(each for each in requests if not each.method.slow)
    slow = tuple(each for each in requests if each.method.slow)
    on_progress = progress or (lambda count: None)
    run = partial(_batches, model.params, batch, seed=np.uint32(seed))
    with jax.default_matmul_precision(model.precision):
        logits, target, maps = run(compiled(model.config, quick), targets, size=batch_size, on_progress=on_progress)
        found = dict(zip(quick, maps, strict=True))
        for each in slow:
            if each.method.explain_on_host is None:
                found[each] = _slow_maps(
                    model, each, batch, target, max(worker_count(), batch_size // 8), seed, on_progress
                )
            else:
                keys = image_keys(jnp.uint32(seed), jnp.asarray(batch.seeds()))
                images = jnp.asarray(batch.x, model.dtype)
                options = dict(each.options)
                maps = each.method.explain_on_host(
                    model.config, model.params, images, target, keys=keys, on_progress=on_progress, **options
                )
                found[each] = np.asarray(maps, accumulation_dtype(model.dtype))
    return {"logits": logits, "target": target, "maps": [found[each] for each in requests]}


def _slow_maps(model, each: Request, batch: Images, targets, size: int, seed: int, on_progress) -> np.ndarray:
    """Of one method in a program of its own; of fewer images than there are lanes, each goes to several of them."""
    if len(batch) >= worker_count() or each.method.explain is None:
        program = compiled(model.config, (each,))
        return _batches(
            model.params, batch, program, targets, seed=np.uint32(seed), size=size, on_progress=on_progress
        )[2][0]
    images = list(zip(batch.x, targets, batch.seeds(), strict=True))
    maps = spread(model.config, each, active_plan(model.config))(model.params, images, np.uint32(seed))
    on_progress(len(batch))
    return maps


def _batches(params, batch: Images, program, targets, *, seed, size: int, on_progress):
    """(logits, target, maps) of all images, in equal batches: the last is padded."""
    size = min(size, len(batch))
    seeds = batch.seeds()
    parts = []
    for start in range(0, len(batch), size):
        kept = min(size, len(batch) - start)
        rows = np.minimum(np.arange(start, start + size), len(batch) - 1)
        out = jax.device_get(program(params, batch.x[rows], targets[rows], seeds[rows], seed))
        parts.append(jax.tree.map(partial(_head, count=kept), out))
        on_progress(kept)
    return jax.tree.map(lambda *each: np.concatenate(each), *parts)


def _head(array: np.ndarray, count: int) -> np.ndarray:
    return array[:count]
