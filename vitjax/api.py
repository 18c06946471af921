"""explain, explain_many, trace: images in, maps out, one compiled program per request and shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vitjax import compilation_cache
from vitjax.batching import Program, lanes, over_images
from vitjax.errors import ConfigError
from vitjax.execution.plan import ExecutionPlan, active_plan
from vitjax.explanation import Explanation
from vitjax.fold import SCORES, LayerTrace, choose_target
from vitjax.images import Images, prepare
from vitjax.methods import METHODS, Method, find_method
from vitjax.model import Model, accumulation_dtype
from vitjax.network import Config, network, params_dtype, transformer
from vitjax.queries import Queries, all_rounds
from vitjax.shapes import Array
from vitjax.spread import Spread
from vitjax.targets import resolve_targets
from vitjax.trace import backward_fold, collect
from vitjax.vit import ViTConfig

TRACES: Counter[tuple] = Counter()
"""How often each (config, requests, shape) was traced by JAX; more than once is a bug."""


class Request(NamedTuple):
    """A method with all its options, hashable."""

    label: str
    name: str
    method: Method
    options: tuple[tuple[str, Any], ...]


def request(method: str | dict[str, Any], **options: Any) -> Request:
    """A method name with options, or {"method": name, **options} -> Request. Raises on unknown names."""
    if isinstance(method, dict):
        if "method" not in method:
            raise ConfigError(f"a method given as a dict needs the key 'method': {method!r}")
        options = {**method, **options}
        name = str(options.pop("method"))
    else:
        name = method
    found = find_method(name)
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    label = name + (f"({', '.join(f'{k}={v}' for k, v in options.items())})" if options else "")
    return Request(label, name, found, tuple(sorted(found.check_options(name, options).items())))


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


def check_needs(model: Model, wanted: Request) -> None:
    """Raises ConfigError where the method is not for that kind of model, or needs what the model does not have."""
    config = model.config
    if wanted.method.cnn is None and not isinstance(config, ViTConfig):
        able = ", ".join(name for name, method in METHODS.items() if method.cnn is not None)
        raise ConfigError(
            f"method {wanted.name!r} needs a transformer; {model.name!r} is a ResNet, for which there are {able}"
        )
    has = {"class_token": isinstance(config, ViTConfig) and config.class_token, "head": config.num_classes > 0}
    missing = sorted(need for need in wanted.method.needs if not has[need])
    if missing:
        raise ConfigError(
            f"method {wanted.name!r} needs a model with {' and '.join(missing).replace('_', ' ')}; "
            f"{model.name!r} has none"
        )


def _run(model, batch: Images, targets, requests, batch_size, seed, progress) -> dict[str, Any]:
    """One program for all that is quick, one for each slow method; every batch is padded to one shape."""
    compilation_cache.enable()
    quick = tuple(each for each in requests if not each.method.slow)
    slow = tuple(each for each in requests if each.method.slow)
    tick = progress or (lambda count: None)
    run = partial(_batches, model.params, batch, seed=np.uint32(seed))
    with jax.default_matmul_precision(model.precision):
        logits, target, maps = run(compiled(model.config, quick), targets, size=batch_size, tick=tick)
        found = dict(zip(quick, maps, strict=True))
        for each in slow:
            if each.method.host is None:
                found[each] = _slow_maps(model, each, batch, target, max(lanes(), batch_size // 8), seed, tick)
            else:
                keys = _keys(jnp.uint32(seed), jnp.asarray(batch.seeds()))
                images = jnp.asarray(batch.x, model.dtype)
                options = dict(each.options)
                maps = each.method.host(model.config, model.params, images, target, keys=keys, tick=tick, **options)
                found[each] = np.asarray(maps, accumulation_dtype(model.dtype))
    return {"logits": logits, "target": target, "maps": [found[each] for each in requests]}


def _slow_maps(model, each: Request, batch: Images, targets, size: int, seed: int, tick) -> np.ndarray:
    """Of one method in a program of its own; of fewer images than there are lanes, each goes to several of them."""
    if len(batch) >= lanes() or each.method.explain is None:
        program = compiled(model.config, (each,))
        return _batches(model.params, batch, program, targets, seed=np.uint32(seed), size=size, tick=tick)[2][0]
    images = list(zip(batch.x, targets, batch.seeds(), strict=True))
    maps = spread(model.config, each, active_plan(model.config))(model.params, images, np.uint32(seed))
    tick(len(batch))
    return maps


def passes(requests: Sequence[Request]) -> int:
    """How often `progress` hears of each image."""
    return 1 + sum(each.method.slow for each in requests)


def _batches(params, batch: Images, program, targets, *, seed, size: int, tick):
    """(logits, target, maps) of all images, in equal batches: the last is padded."""
    size = min(size, len(batch))
    seeds = batch.seeds()
    parts = []
    for start in range(0, len(batch), size):
        kept = min(size, len(batch) - start)
        rows = np.minimum(np.arange(start, start + size), len(batch) - 1)
        out = jax.device_get(program(params, batch.x[rows], targets[rows], seeds[rows], seed))
        parts.append(jax.tree.map(partial(_head, count=kept), out))
        tick(kept)
    return jax.tree.map(lambda *each: np.concatenate(each), *parts)


def image_key(seed: Array, image_seed: Array) -> Array:
    """The PRNG key of one image: by the seed and the image's id alone."""
    return jax.random.fold_in(jax.random.key(seed), image_seed)


_keys = jax.jit(jax.vmap(image_key, in_axes=(None, 0)))


def _head(array: np.ndarray, count: int) -> np.ndarray:
    return array[:count]


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
        return over_images(one, axes, at_once=plan.microbatch(backward=backward))(params, x, targets, seeds, seed)

    return Program(batched, axes, plan)


@lru_cache(maxsize=64)
def spread(config: Config, each: Request, plan: ExecutionPlan) -> Spread:
    """One slow method for fewer images than there are lanes: (params, [(image, target, its seed), ...], seed) -> maps;
    each target is a class."""

    def explain(params, image, target, image_seed, seed):
        dtype = params_dtype(params)
        found = _explained(each, config, params, image.astype(dtype), target, image_key(seed, image_seed))
        return found if isinstance(found, Queries) else found.astype(accumulation_dtype(dtype))

    return Spread(explain, plan)


def _explained(each: Request, config, params, image, target, key) -> Array | Queries:
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

    return Program(over_images(one, (None, 0, 0), at_once=plan.backward_microbatch), (None, 0, 0), plan)
