"""`explain`, `explain_many` and `trace`: images in, maps out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from vitjax.errors import ConfigError
from vitjax.execution import compilation_cache
from vitjax.execution.arguments import check_seed, check_whole_number
from vitjax.execution.plan import active_plan
from vitjax.execution.progress import OnProgress
from vitjax.execution.worker_threads import worker_count
from vitjax.explaining.batch_runner import BatchRunner, batches, take, take_padded
from vitjax.explaining.explanation import Explanation
from vitjax.explaining.explanations import Explanations
from vitjax.explaining.inputs import Images, prepare, say
from vitjax.explaining.programs import compiled_trace
from vitjax.explaining.requests import Methods, Request, check_probability, check_score, request, requests_for
from vitjax.explaining.targets import resolve_targets
from vitjax.explaining.text_targets import with_target_classes
from vitjax.images.picture import Exif
from vitjax.layerwise.fold import LayerTrace
from vitjax.layerwise.target import SCORES
from vitjax.maps import deliberate_nans
from vitjax.models.model import Model
from vitjax.nn.network import transformer


def explain(
    model: Model,
    images: Any,
    method: str = "rollout",
    target: Any = None,
    *,
    batch_size: int = 16,
    seed: int = 0,
    exif: Exif = "apply",
    normalised: bool = False,
    progress: OnProgress | None = None,
    **options: Any,
) -> Explanation:
    """Explain images by one method.

    Args:
        model: what `vitjax.load` returns.
        images: path(s), PIL image(s), uint8 array(s) [H, W, 3], or normalised floats [b, H, W, 3]. Floats may have any
            size that is a multiple of the patch: the position embedding is then resampled.
        method: name of a method, also with options as in "rollout:head_fusion=max"; `options` are the method's own.
            `vitjax.METHODS` lists all methods, `vitjax.METHODS["gmar"]` shows the options of one with their defaults,
            and `help(vitjax.METHODS["gmar"].definition)` its formula and what each option does, as does
            `vitjax methods gmar` on the command line.
        target: None (the predicted class), a class index, a class name, "top2" (the second most probable class), "topK"
            for another K (each of the K most probable classes, one map for each), "A - B" (the difference of two
            logits), weights over the outputs [k], or a function of the logits [k]; of a CLIP or SigLIP with both towers
            "text:WORDS", and of a model without classes an embedding [e]: its similarity. Or a list with one of these
            (but functions) for each image, or with a list of several for an image: `[["tabby", "top5"], None]`. For a
            model without a head the number of a feature, which methods that explain one output then need.
        batch_size: images in a device call. Memory grows with it; results do not depend on it.
        seed: of methods that draw random numbers. An image's draws depend on (seed, image id) only.
        exif: "apply" turns images upright by their EXIF orientation; "ignore" takes them as stored, as timm does.
        normalised: floats are normalised whatever their range. Without it, those that look like pixels of 0..1 or
            0..255 are an error.
        progress: called after each batch with the number of its images: once for all quick methods together, and once
            for each slow method, which also reports fractions of a single image.

    Returns: an Explanation whose `maps` are raw relevance: [b, h, w] on the patch grid (for a ResNet, the positions of
        a stage), or [b, H, W] for methods at pixels. Where images have several targets, b is the number of all targets:
        the maps of an image stand together, `image_index` tells which image a map is of and `target_names` what it
        explains.

    Raises: UnknownNameError, ConfigError, LabelError, ImageError, all before any computation.

    Example:
        >>> import vitjax
        >>> from vitjax.data.scenes import scene
        >>> model, image = vitjax.load("vitjax_scenes"), scene(3).image
        >>> e = vitjax.explain(model, image, method="transformer_mm", target="striped star")
        >>> e.maps.shape, e.overlay(0).size
        ((1, 8, 8), (64, 64))
        >>> e = vitjax.explain(model, [image], "transformer_mm", [["striped star", "striped star - plain ring"]])
        >>> e.maps.shape, e.image_index.tolist(), e.target_names
        ((2, 8, 8), [0, 0], ('striped star', 'striped star - plain ring'))
    """
    wanted = request(method, **options)
    explanations = explain_many(
        model,
        images,
        [{"method": wanted.name, **dict(wanted.options)}],
        target,
        batch_size=batch_size,
        seed=seed,
        exif=exif,
        normalised=normalised,
        progress=progress,
    )
    (explanation,) = explanations.values()
    return replace(explanation, label=wanted.label)


@deliberate_nans
def explain_many(
    model: Model,
    images: Any,
    methods: Methods,
    target: Any = None,
    *,
    batch_size: int = 16,
    seed: int = 0,
    exif: Exif = "apply",
    normalised: bool = False,
    progress: OnProgress | None = None,
) -> Explanations:
    """Explain images by several methods. All methods that are recurrences over layers share one pass.

    Args:
        methods: names, also with options as in "gmar:norm=l2", or {"method": name, **options}; `vitjax.METHODS` lists
            them with their options. Or a group: "all", every method that is not slow, or "everything". What the model
            cannot have is left out of a group, in a line on stderr that says why; such a method asked for by name is an
            error.

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
    batch_size, seed = check_whole_number("batch_size", batch_size, 1), check_seed(seed)
    model, target = with_target_classes(model, target)
    requests = requests_for(model, methods, target)
    batch = _read(model, images, exif, normalised)
    targets = resolve_targets(model, target, len(batch))
    for wanted in requests:
        check_score(model, wanted, targets)
    model = model.at_size(batch.x.shape[1:3])
    targets = targets.looked_up(partial(_logits, model, batch.x, batch_size))
    batch = batch if targets.one_each else batch.take(targets.image_index.tolist())
    logits, values, maps = _compute(model, batch, targets.values, requests, batch_size, seed, progress)
    targets = targets.with_classes(values, predicts=model.config.num_classes > 0)
    return Explanations(
        {
            wanted.label: Explanation(
                maps=maps[wanted],
                target=targets.classes,
                logits=logits,
                method=wanted.name,
                label=wanted.label,
                options=dict(wanted.options),
                level=wanted.method.level_of(dict(wanted.options)),
                images=batch,
                model=model,
                targets=targets,
            )
            for wanted in requests
        }
    )


@deliberate_nans
def trace(
    model: Model,
    images: Any,
    target: Any = None,
    *,
    score: str | None = "logit",
    batch_size: int = 16,
    exif: Exif = "apply",
    normalised: bool = False,
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
    model, target = with_target_classes(model, target)
    if score not in (*SCORES, None):
        raise ConfigError(f"score={score!r} is not one of 'logit', 'probability', None")
    if score == "probability" and model.probability is None:
        has = "only a similarity" if model.config.num_classes else "no head, so that there are no classes"
        raise ConfigError(f"score='probability': model {model.name!r} has {has}")
    batch_size = check_whole_number("batch_size", batch_size, 1)
    batch = _read(model, images, exif, normalised)
    targets = resolve_targets(model, target, len(batch))
    if score is not None:
        check_probability(f"score={score!r}", score == "probability", targets)
    model = model.at_size(batch.x.shape[1:3])
    targets = targets.looked_up(partial(_logits, model, batch.x, batch_size))
    x = batch.x[targets.image_index]
    config = transformer(model.config, "trace", model.name)
    program = compiled_trace(config, score, active_plan(config))
    with model.settings():
        parts = [
            jax.device_get(program(model.params, *take((x, targets.values), indices)))
            for indices in batches(np.arange(len(x)), batch_size)
        ]
    stacked = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
    return stacked._replace(params=model.params["blocks"])


def _read(model: Model, images: Any, exif: Exif, normalised: bool) -> Images:
    """`prepare`, and a warning of what the user may not expect; a caller that passes `Images` has seen its remarks."""
    batch = prepare(model, images, exif=exif, normalised=normalised)
    if batch is not images:
        say(batch)
    return batch


def _compute(
    model: Model,
    batch: Images,
    targets: Any,
    requests: Sequence[Request],
    batch_size: int,
    seed: int,
    progress: OnProgress | None,
) -> tuple[np.ndarray, Any, dict[Request, np.ndarray]]:
    """(logits, targets with their classes, maps by request).

    One program computes all quick methods, then each slow method has its own.
    """
    compilation_cache.enable()
    runner, seeds = BatchRunner(model, requests, seed), batch.seeds()
    on_progress = progress or (lambda count: None)
    size, parts = min(batch_size, len(batch)), []
    with model.settings():
        for indices in batches(np.arange(len(batch)), size):
            results = runner.quick_maps(*(take_padded(array, indices, size) for array in (batch.x, targets, seeds)))
            parts.append(jax.tree.map(partial(_first, count=len(indices)), jax.device_get(results)))
            on_progress(len(indices))
        logits, target, quick_maps = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
        maps = dict(zip(runner.quick, quick_maps, strict=True))
        slow_size = min(max(worker_count(), batch_size // 8), len(batch))
        for wanted in runner.slow:
            maps[wanted] = runner.slow_maps(
                wanted, batch.x, target, seeds, batch_size=slow_size, on_progress=on_progress, divide_images=True
            )
    return logits, target, maps


def _logits(model: Model, x: np.ndarray, batch_size: int, indices: np.ndarray) -> np.ndarray:
    """Logits [i, k] of the images at `indices`."""
    return np.concatenate([np.asarray(model.logits(x[part])) for part in batches(indices, batch_size)])


def _first(array: np.ndarray, count: int) -> np.ndarray:
    return array[:count]
