"""What a page shows of a model: its maps, curves and attention for every image, computed and ready to be embedded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vitjax.errors import ConfigError
from vitjax.execution.progress import OnProgress
from vitjax.explaining.explanation import Explanation
from vitjax.explaining.inputs import Images
from vitjax.explaining.requests import Methods, check_needs, expanded, passes, request, requests_for
from vitjax.explaining.run import explain_many, trace
from vitjax.explaining.targets import resolve_targets
from vitjax.explaining.text_targets import with_target_classes
from vitjax.explore.quantise import Quantised, quantise_heads, quantise_mean, rollout_bounds
from vitjax.explore.removal import Removal, removals
from vitjax.layerwise.fold import LayerTrace
from vitjax.methods import METHODS
from vitjax.models.model import Model
from vitjax.nn.vit_config import ViTConfig
from vitjax.output.terminal import say

DEFAULT_METHODS = {
    "transformer": ("rollout", "grad_rollout", "transformer_mm", "legrad", "attn_lrp"),
    "other": ("grad_cam", "gradient_x_input", "saliency"),
}
"""What is shown unless methods are given, as far as the model can have it."""
CLASSES = 3
"""Number of the most probable classes that are explained unless targets are given."""
Heads = Literal["all", "mean"]


@dataclass(frozen=True)
class AttentionOfImage:
    """Attention of all blocks for one image.

    heads: of every head, [l, h, n, n]; None if only the mean is shown. mean: the mean over heads, [l, n, n].
    bounds: see `rollout_bounds`. readout: weights by which the head pools the tokens, [n].
    """

    heads: Quantised | None
    mean: Quantised
    bounds: np.ndarray
    readout: np.ndarray


@dataclass(frozen=True)
class Explored:
    """One model's part of a page.

    images: the images as the model sees them. explanations: by label, with one map for each image and target.
    class_agnostic: labels of methods whose maps are the same for every target. removals: by (label, number of the
    map); empty if no curves were computed. attention: of each image; empty for a model without attention.
    """

    model: Model
    images: Images
    explanations: Mapping[str, Explanation]
    class_agnostic: frozenset[str]
    removals: dict[tuple[str, int], Removal]
    attention: tuple[AttentionOfImage, ...]


@dataclass(frozen=True)
class Request:
    """What to compute, checked by `plan` before anything is computed."""

    model: Model
    methods: tuple[str | dict[str, Any], ...]
    target: Any
    heads: Heads
    curves: bool

    def steps(self, images: int) -> int:
        """How often `explore_images` calls `on_progress`, summed, for this number of images."""
        maps = len(resolve_targets(self.model, _for_each(self.target, images), images).image_index)
        requests = requests_for(self.model, list(self.methods), self.target) if self.methods else ()
        per_map = passes(requests) if requests else 0
        curves = sum(maps if wanted.method.class_specific else images for wanted in requests) if self.curves else 0
        return maps * per_map + curves + images

    def bytes(self, images: int) -> int:
        """Size of the attention in the page, without compression."""
        config = self.model.config
        if not isinstance(config, ViTConfig):
            return 0
        per_weight = 2 + (config.heads if self.heads == "all" else 0)
        return images * config.depth * config.tokens**2 * per_weight * 4 // 3


def plan(
    model: Model,
    methods: Methods | None = None,
    target: Any = None,
    *,
    heads: Heads = "all",
    curves: bool = True,
    required: bool = True,
) -> Request:
    """Check what is asked for.

    Args:
        model: the model.
        methods: as for `vitjax.explain_many`; None takes DEFAULT_METHODS.
        target: as for `vitjax.explain`, or a list of targets, which all images get. None stands for the three most
            probable classes.
        heads: "all" shows the attention of every head, "mean" only their mean, which keeps pages of large models small.
        curves: whether to compute the curves of removed pixels, 38 forwards for each map.
        required: whether a method that is asked for and that the model cannot have is an error; otherwise it is left
            out and named on stderr.

    Raises:
        UnknownNameError, ConfigError, LabelError: as `vitjax.explain_many`; `heads` is neither "all" nor "mean".
    """
    if heads not in ("all", "mean"):
        raise ConfigError(f"heads={heads!r} is not one of 'all', 'mean'")
    classes = model.config.num_classes
    if target is None and classes:
        target = f"top{min(CLASSES, classes)}" if classes > 1 else None
    model, target = with_target_classes(model, target)
    if methods is None:
        methods, required = DEFAULT_METHODS["transformer" if isinstance(model.config, ViTConfig) else "other"], False
    possible = []
    for method in expanded(model, methods, target):
        wanted = request(method)
        try:
            check_needs(model, wanted, target)
        except ConfigError as error:
            if required:
                raise
            say(f"left out: {error}", error=True)
        else:
            possible.append(method)
    resolve_targets(model, _for_each(target, 1), 1)
    return Request(model, tuple(possible), target, heads, curves and classes > 0)


def explore_images(
    wanted: Request,
    images: Images,
    *,
    batch_size: int = 16,
    seed: int = 0,
    on_progress: OnProgress = lambda count: None,
) -> Explored:
    """Compute all that a page shows of one model.

    Args:
        wanted: what `plan` returned.
        images: prepared for the model.
        batch_size, seed: as for `vitjax.explain_many`.
        on_progress: called with the number of finished steps, `Request.steps` in all.

    Cost: the methods', 38 forwards for each map with curves, and 1 forward for each image.

    Example:
        >>> from vitjax.explaining.inputs import prepare
        >>> from vitjax.explore.view import explore_images, plan
        >>> explored = explore_images(plan(model, ["rollout"], curves=False), prepare(model, image))
        >>> explored.explanations["rollout"].target_names[0], explored.attention[0].heads.codes.shape
        ('striped star', (6, 4, 65, 65))
    """
    model, methods = wanted.model, list(wanted.methods)
    targets = _for_each(wanted.target, len(images))
    explanations: Mapping[str, Explanation] = {}
    if methods:
        explanations = explain_many(
            model, images, methods, targets, batch_size=batch_size, seed=seed, progress=on_progress
        )
    agnostic = {label for label, explanation in explanations.items() if not METHODS[explanation.method].class_specific}
    chosen = [
        (label, number)
        for label, explanation in explanations.items()
        for number in (explanation.starts if label in agnostic else range(len(explanation)))
    ]
    curves: list[Removal] = []
    if wanted.curves:
        maps = [(explanations[label], number) for label, number in chosen]
        curves = removals(model, maps, seed=seed, on_progress=on_progress)
    attention = []
    for index in range(len(images)):
        if isinstance(model.config, ViTConfig):
            attention.append(_attention(trace(model, images.take([index]), score=None), wanted.heads))
        on_progress(1)
    by_map = dict(zip(chosen, curves, strict=True)) if curves else {}
    return Explored(model, images, explanations, frozenset(agnostic), by_map, tuple(attention))


def _attention(traced: LayerTrace, heads: Heads) -> AttentionOfImage:
    """The attention of the only image of a trace."""
    attention = np.asarray(traced.attention)[0]
    mean = attention.mean(axis=1, dtype=np.float64)
    quantised = quantise_mean(mean)
    return AttentionOfImage(
        heads=quantise_heads(attention) if heads == "all" else None,
        mean=quantised,
        bounds=rollout_bounds(mean, quantised, attention.shape[1]),
        readout=np.asarray(traced.readout)[0, -1],
    )


def _for_each(target: Any, images: int) -> Any:
    """The target for `vitjax.explain_many`: a list of several is for every image."""
    return [target] * images if isinstance(target, list) else target
