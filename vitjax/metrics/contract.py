"""The interface of a metric: the numbers it records for one map of one image, and how a data set aggregates them."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_type_hints

import jax
import numpy as np

from vitjax.methods.options import checked_options
from vitjax.shapes import Array

Columns = dict[str, Array]
Better = Literal["higher", "lower"]


@dataclass(eq=False)
class Case:
    """One map of ONE image with everything a metric may read. Created inside the compiled program: arrays are traced.

    Attributes:
        raw: the method's map, [h, w] on the patch grid or [H, W] in pixels; not normalised.
        heatmap: [H, W], `maps.to_pixels(raw)`: upsampled and min-max scaled to [0, 1].
        mask: uint8 [H, W]: 0 background, 255 object, IGNORE not counted; IGNORE everywhere if the image has no mask.
        image: [H, W, 3], normalised, the model's input.
        logits: [k], the model's output for `image`.
        target: the explained class.
        label: the true class; -1 if unknown.
        grid: (rows, columns) of patches.
        covered: (height, width) in pixels of the upper left part of the image that the grid covers; None is the whole.
        key: PRNG key that depends only on the run's seed and the image's id.
        black: [3], a black pixel in normalised space (the mean colour is 0).
        forward: the model: images [s, H, W, 3] -> logits [s, k].
        explain: the method with its PRNG key: (params, image, target) -> raw map.
        params: the parameters that `forward` uses.
        layered: whether `params` are those of a ViT or a ResNet, whose layers have a known order.
        ends: logits [k] of images that curves start or end with, computed by `removal.ends_of` once per batch instead
            of once per method. Keys are `removal.Endpoint` names; a missing one is computed when it is needed.
        shared: intermediate values that several metrics of this map use; see `once`.
    """

    raw: Array
    heatmap: Array
    mask: Array
    image: Array
    logits: Array
    target: Array
    label: Array
    grid: tuple[int, int]
    key: Array
    black: Array | np.ndarray
    forward: Callable[[Array], Array]
    explain: Callable[[Any, Array, Array], Array] | None = None
    params: Any = None
    covered: tuple[int, int] | None = None
    layered: bool = True
    ends: Mapping[str, Array] = field(default_factory=dict)
    shared: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """`compute()`, cached by `key`, so that metrics of one map share their curves."""
        if key not in self.shared:
            self.shared[key] = compute()
        return self.shared[key]

    def key_for(self, purpose: str) -> Array:
        """A PRNG key of this image for one purpose, so that different metrics draw independent random numbers."""
        return jax.random.fold_in(self.key, zlib.crc32(purpose.encode()))


def mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, in float64."""
    return np.asarray(values, np.float64).mean(axis=-1)


class Statistic(NamedTuple):
    """One number of a table.

    Attributes:
        columns: the record columns that it reads. An image with NaN in one of them is excluded and counted as such.
        aggregate: maps the columns, each float64 [..., n images], to [...]. It reduces only the last axis, so that a
            bootstrap can pass [resamples, n].
        better: the direction that is better; None if neither is.
        percent: whether tables multiply the number by 100 and show it in percent.
        unit: of a number that is not multiplied: "%" for a column that is already in percent, "nats".
        title: heading of its column in tables for people; the metric's title and the statistic's name if not given.

    Example:
        >>> float(vitjax.metrics.Statistic(("value",)).aggregate(np.array([0.25, 0.75])))
        0.5
    """

    columns: tuple[str, ...]
    aggregate: Callable[..., np.ndarray] = mean
    better: Better | None = "higher"
    percent: bool = True
    unit: str = ""
    title: str = ""


class Metric(NamedTuple):
    """A metric.

    Attributes:
        title: name in prose.
        cite: the publication.
        family: "localisation", "faithfulness", "robustness", "randomisation" or "complexity".
        cost: forward passes (F) or explanations (E) for each map.
        function: the plain function on arrays of one image that a user calls; its docstring has the formula.
        record: (case, **options) -> columns, each a number or a vector of ONE image; NaN where undefined. Pure and
            jit-able.
        figures: (options) -> statistics by name; "" stands for the metric's own name.
        curves: (options) -> x values, by the name of each column that holds a curve [levels], for plots. None stands
            for 0, 1, 2 ..., for a vector whose length depends on the model or on the image size. Raises ConfigError as
            `record` does.
        axes: (column, options) -> titles of the x and the y axis of a curve, with units. Curves with the same title of
            y are drawn on the same scale. x values that are None run from 0 to 100 if their title ends with "(%)".
        ends: (options) -> names of the images whose logits `record` reads from `Case.ends`; see `removal.ends_of`.
        needs: "mask" or "label" if the data set must provide it; "head" if the metric reads probabilities of classes;
            "class" if it reads that of the explained class, which a difference of classes does not have; "explainer"
            if the metric computes further explanations, which is slow.
        use_when: what the metric is a good choice for, in one sentence; "" if nothing is known.

    Example:
        >>> metric = vitjax.METRICS["iou"]
        >>> metric.family, metric.options
        ('localisation', {'threshold': 'mean', 'resolution': 'pixels', 'mask_to_grid': 'nearest'})
    """

    title: str
    cite: str
    family: str
    cost: str
    function: Callable[..., Any]
    record: Callable[..., Columns]
    figures: Callable[[Mapping[str, Any]], Mapping[str, Statistic]]
    curves: Callable[[Mapping[str, Any]], Mapping[str, np.ndarray | None]] = lambda options: {}
    axes: Callable[[str, Mapping[str, Any]], tuple[str, str]] = lambda column, options: ("level", "value")
    ends: Callable[[Mapping[str, Any]], frozenset[str]] = lambda options: frozenset()
    needs: frozenset[str] = frozenset()
    use_when: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """Option names and their defaults."""
        parameters = inspect.signature(self.record).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    def check_options(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """`options` with defaults filled in and lists turned into tuples.

        Args:
            name: the metric's name, for error messages.

        Raises:
            UnknownNameError: the metric has no such option.
            ConfigError: a value does not have the option's type, is not among its choices, or is outside its range.
        """
        hints = get_type_hints(self.record, include_extras=True)
        checked = checked_options(f"metric {name!r}", self.options, hints, options)
        self.curves(checked)
        return checked
