"""`explain`, `explain_many` and `trace`: images in, maps out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError
from vitjax.execution import compilation_cache
from vitjax.execution.plan import active_plan
from vitjax.execution.program import Program
from vitjax.execution.progress import OnProgress
from vitjax.execution.worker_threads import worker_count
from vitjax.explaining.explanation import Explanation
from vitjax.explaining.inputs import Images, prepare
from vitjax.explaining.programs import compiled, compiled_trace, image_keys, parallel_map_reduce
from vitjax.explaining.requests import Request, check_needs, request
from vitjax.explaining.targets import resolve_targets
from vitjax.layerwise.fold import SCORES, LayerTrace
from vitjax.models.model import Model
from vitjax.nn.network import transformer
from vitjax.shapes import accumulation_dtype


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
        model: what `vitjax.load` returns.
        images: path(s), PIL image(s), uint8 array(s) [H, W, 3], or normalised floats [b, H, W, 3]. Floats may have any
            size that is a multiple of the patch: the position embedding is then resampled.
        method: name of a method, see `vitjax.METHODS`, also with options as in "rollout:head_fusion=max"; `options` are
            the method's own.
        target: None (the predicted class), a class index, a class name, "top2" (the second most probable class), or a
            list with one of these for each image.
        batch_size: images in a device call. Memory grows with it; results do not depend on it.
        seed: of methods that draw random numbers. An image's draws depend on (seed, image id) only.
        progress: called after each batch with the number of its images: once for all quick methods together, and once
            for each slow method.

    Returns: an Explanation whose `maps` are raw relevance: [b, h, w] on the patch grid (for a ResNet, the positions of
        a stage), or [b, H, W] for methods at pixels.

    Raises: UnknownNameError, ConfigError, LabelError, ImageError, all before any computation.

    Example:
        >>> import vitjax
        >>> from vitjax.data.scenes import scene
        >>> model, image = vitjax.load("vitjax_scenes"), scene(3).image
        >>> e = vitjax.explain(model, image, method="transformer_mm", target="striped star")
        >>> e.maps.shape, e.overlay(0).size
        ((1, 8, 8), (64, 64))
    """
    wanted = request(method, **options)
    explanations = explain_many(
        model,
        images,
        [{"method": wanted.name, **dict(wanted.options)}],
        target,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    (explanation,) = explanations.values()
    return replace(explanation, label=wanted.label)


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
    """Explain images by several methods. All methods that are recurrences over layers share one pass.

    Args:
        methods: names, also with options as in "gmar:norm=l2", or {"method": name, **options}.

    Other arguments, and errors, are those of `explain`.

    Returns: explanations in the order of `methods`. A key is the method's name, with the options that were given in
        parentheses: "rollout", "rollout(head_fusion=max)".

    Example:
        >>> import vitjax
        >>> from vitjax.data.scenes import scene
        >>> model, image = vitjax.load("vitjax_scenes"), scene(3).image
        >>> list(vitjax.explain_many(model, image, ["rollout", "gmar:norm=l2", {"method": "legrad", "layers": 2}]))
        ['rollout', 'gmar(norm=l2)', 'legrad(layers=2)']
    """
    requests = tuple(dict.fromkeys(request(method) for method in methods))
    if not requests:
        raise ConfigError("no methods requested")
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: must be at least 1")
    for wanted in requests:
        check_needs(model, wanted)
    requests = tuple(wanted._replace(method=wanted.method.on(model.config)) for wanted in requests)
    batch = prepare(model, images)
    targets = resolve_targets(model, target, len(batch))
    model = model.at_size(batch.x.shape[1:3])
    logits, target, maps = _compute(model, batch, targets, requests, batch_size, seed, progress)
    return {
        wanted.label: Explanation(
            maps=maps[wanted],
            target=target,
            logits=logits,
            method=wanted.name,
            label=wanted.label,
            options=dict(wanted.options),
            level=wanted.method.level_of(dict(wanted.options)),
            images=batch,
            model=model,
        )
        for wanted in requests
    }


def trace(
    model: Model, images: Any, target: Any = None, *, score: str | None = "logit", batch_size: int = 16
) -> LayerTrace:
    """Activations and gradients of every layer, stacked: arrays lead with [b, l].

    Args:
        score: gradients are of the "logit" or the "probability"; None computes none.

    Other arguments are those of `explain`.

    Returns: a LayerTrace: `.attention`, `.attention_grad`, `.scores` [b, l, h, n, m], `.tokens` (entering each block),
        `.middle`, `.output` [b, l, n, c], `.values` [b, l, h, n, d]; `.params` are the blocks' parameters.

    Cost: 2F + 1B; 1F without gradients. Memory: about 5·b·l·h·n² floats, 1.8 GiB for 54 images of DeiT-Tiny.

    Example:
        >>> import vitjax
        >>> from vitjax.data.scenes import scene
        >>> model, image = vitjax.load("vitjax_scenes"), scene(3).image
        >>> vitjax.trace(model, image, score=None).attention.shape
        (1, 6, 4, 65, 65)
    """
    if score not in (*SCORES, None):
        raise ConfigError(f"score={score!r} is not one of 'logit', 'probability', None")
    batch = prepare(model, images)
    targets = resolve_targets(model, target, len(batch))
    model = model.at_size(batch.x.shape[1:3])
    config = transformer(model.config, "trace", model.name)
    program = compiled_trace(config, score, active_plan(config))
    parts = []
    with jax.default_matmul_precision(model.precision):
        for start in range(0, len(batch), batch_size):
            indices = slice(start, start + batch_size)
            parts.append(jax.device_get(program(model.params, batch.x[indices], targets[indices])))
    stacked = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    return stacked._replace(params=model.params["blocks"])


def _compute(
    model: Model,
    batch: Images,
    targets: np.ndarray,
    requests: Sequence[Request],
    batch_size: int,
    seed: int,
    progress: OnProgress | None,
) -> tuple[np.ndarray, np.ndarray, dict[Request, np.ndarray]]:
    """(logits, target, maps by request): one program for all quick methods, then each slow method on its own."""
    compilation_cache.enable()
    quick = tuple(wanted for wanted in requests if not wanted.method.slow)
    on_progress = progress or (lambda count: None)
    with jax.default_matmul_precision(model.precision):
        program = compiled(model.config, quick)
        logits, target, quick_maps = _in_batches(program, model, batch, targets, seed, batch_size, on_progress)
        maps = dict(zip(quick, quick_maps, strict=True))
        for wanted in requests:
            if wanted.method.slow:
                compute = _slow_maps if wanted.method.explain_on_host is None else _host_maps
                maps[wanted] = compute(model, wanted, batch, target, batch_size, seed, on_progress)
    return logits, target, maps


def _slow_maps(
    model: Model,
    wanted: Request,
    batch: Images,
    targets: np.ndarray,
    batch_size: int,
    seed: int,
    on_progress: OnProgress,
) -> np.ndarray:
    """Maps of one slow method, in smaller batches. Where there are fewer images than worker threads, the evaluations
    of each image are divided among several threads."""
    if len(batch) >= worker_count() or wanted.method.explain is None:
        size = max(worker_count(), batch_size // 8)
        program = compiled(model.config, (wanted,))
        return _in_batches(program, model, batch, targets, seed, size, on_progress)[2][0]
    images = list(zip(batch.x, targets, batch.seeds(), strict=True))
    parallel = parallel_map_reduce(model.config, wanted, active_plan(model.config))
    maps = parallel(model.params, images, np.uint32(seed))
    on_progress(len(batch))
    return maps


def _host_maps(
    model: Model,
    wanted: Request,
    batch: Images,
    targets: np.ndarray,
    batch_size: int,
    seed: int,
    on_progress: OnProgress,
) -> np.ndarray:
    """Maps of one method that runs on the host."""
    assert wanted.method.explain_on_host is not None
    keys = image_keys(jnp.uint32(seed), jnp.asarray(batch.seeds()))
    images, options = jnp.asarray(batch.x, model.dtype), dict(wanted.options)
    maps = wanted.method.explain_on_host(
        model.config, model.params, images, targets, keys=keys, on_progress=on_progress, **options
    )
    return np.asarray(maps, accumulation_dtype(model.dtype))


def _in_batches(
    program: Program,
    model: Model,
    batch: Images,
    targets: np.ndarray,
    seed: int,
    size: int,
    on_progress: OnProgress,
) -> Any:
    """(logits, target, maps) of all images in batches of one shape: the last batch is padded with its last image."""
    size, seeds = min(size, len(batch)), batch.seeds()
    parts = []
    for start in range(0, len(batch), size):
        valid = min(size, len(batch) - start)
        indices = np.minimum(np.arange(start, start + size), len(batch) - 1)
        arguments = batch.x[indices], targets[indices], seeds[indices], np.uint32(seed)
        results = jax.device_get(program(model.params, *arguments))
        parts.append(jax.tree.map(partial(_first, count=valid), results))
        on_progress(valid)
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _first(array: np.ndarray, count: int) -> np.ndarray:
    return array[:count]
