"""What a metric is: numbers of one map of one image, and how a data set's figure is made of them."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import jax
import numpy as np

from vitjax.errors import ConfigError, unknown_name
from vitjax.shapes import Array

Columns = dict[str, Array]
Better = Literal["higher", "lower"]
IGNORE = 128
"""Value of a mask's pixels that count nowhere; 0 is background, 255 the object."""


@dataclass(eq=False)
class Case:
    """One map of ONE image and what may be asked of it. Made inside the compiled program, so the arrays are traced.

    raw: the method's map, [h, w] on the patch grid or [H, W]; not normalised.
    heat: [H, W], `maps.to_pixels(raw)`: upsampled, min-max scaled to [0, 1].
    mask: uint8 [H, W]: 0 background, 255 object, IGNORE counts nowhere (everywhere where there is no mask).
    image: [H, W, 3], as the model takes it. logits: [k], of `image`. target: the class explained. label: the true
    class, -1 where there is none. grid: (rows, columns) of patches.
    key: PRNG key that depends on the image's id alone.
    black: [3], the value of a black pixel in normalised space (the mean colour is 0).
    forward: images [s, H, W, 3] -> logits [s, k], the model.
    explain: (params, image, target) -> raw map, the method with its key; params is what `forward` uses.
    ends: logits [k] of what every method's curves begin or end with, computed once a batch and not per method
        (`removal.ends_of`): by the name of the picture, "mean", "black", "blur"; a missing one is computed.
    shared: values that several metrics of this map need, by a key of their own; see `once`.
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
    ends: Mapping[str, Array] = field(default_factory=dict)
    shared: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """`compute()`, or what it gave the first time for that key: metrics of one map share their curves."""
        if key not in self.shared:
            self.shared[key] = compute()
        return self.shared[key]

    def key_for(self, purpose: str) -> Array:
        """A PRNG key of this image for one purpose: metrics that draw do not draw the same numbers."""
        return jax.random.fold_in(self.key, zlib.crc32(purpose.encode()))


def mean(values: np.ndarray) -> np.ndarray:
    """Over the last axis, in float64."""
    return np.asarray(values, np.float64).mean(axis=-1)


class Statistic(NamedTuple):
    """One number of a table.

    columns: the record columns it reads; an image with NaN in one of them is excluded and counted.
    aggregate: columns, each [..., n images] float64 -> [...]: reduces the last axis alone, so that a bootstrap passes
        [resamples, n].
    better: which way is good; None where neither is.
    percent: shown times 100 (unless the column already is in percent).
    """

    columns: tuple[str, ...]
    aggregate: Callable[..., np.ndarray] = mean
    better: Better | None = "higher"
    percent: bool = True


class Metric(NamedTuple):
    """A metric.

    function: the plain function on arrays of one image that a user calls; its docstring has the formula.
    record: (case, **options) -> columns, each a number or a vector of ONE image; NaN where undefined. Pure, jit-able.
    figures: (options) -> figures by name; "" is the metric's own name.
    curves: (options) -> x values by the name of a column that holds a curve [levels], for plots; None for x values
        0, 1, 2 ... of a vector whose length depends on the model. Raises ConfigError as `record` does.
    ends: (options) -> names of the pictures whose logits `record` reads from `Case.ends`; see `removal.ends_of`.
    needs: "mask", "label" (the data must have it), "explainer" (maps are computed anew: slow).
    family: "localisation", "faithfulness", "robustness", "randomisation", "complexity".
    cost: in forwards (F) or explanations (E) for each map.
    """

    title: str
    cite: str
    family: str
    cost: str
    function: Callable[..., Any]
    record: Callable[..., Columns]
    figures: Callable[[Mapping[str, Any]], Mapping[str, Statistic]]
    curves: Callable[[Mapping[str, Any]], Mapping[str, np.ndarray | None]] = lambda options: {}
    ends: Callable[[Mapping[str, Any]], frozenset[str]] = lambda options: frozenset()
    needs: frozenset[str] = frozenset()

    @property
    def options(self) -> dict[str, Any]:
        """Option names and their defaults."""
        parameters = inspect.signature(self.record).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    def check_options(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options with defaults filled in, lists as tuples. Raises on an unknown option or an unfit value."""
        defaults, hints = self.options, get_type_hints(self.record)
        given = {option: tuple(value) if isinstance(value, list) else value for option, value in options.items()}
        for option, value in given.items():
            if option not in defaults:
                raise unknown_name(f"option of metric {name!r}", option, defaults)
            if not _accepts(hints.get(option), value):
                raise ConfigError(f"metric {name!r}: {option}={value!r} is not {_described(hints[option])}")
        return {**defaults, **given}


def _accepts(hint: Any, value: Any) -> bool:
    """Whether a value is of an option's type: choices, numbers, truth values, None, tuples and unions of them."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin in (Union, UnionType):
        return any(_accepts(each, value) for each in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_accepts(inner[0], each) for each in value)
    if hint in (int, float):
        return isinstance(value, int if hint is int else (int, float)) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str, NoneType) else True


def _described(hint: Any) -> str:
    """The values that `_accepts` accepts, in words."""
    inner = get_args(hint)
    if get_origin(hint) is Literal:
        return f"{'one of ' if len(inner) > 1 else ''}{', '.join(map(repr, inner))}"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_described, inner))
    if get_origin(hint) is tuple:
        return f"a list, each {_described(inner[0])}"
    words = {int: "a whole number", float: "a number", bool: "true or false", NoneType: "none"}
    return words.get(hint, str(hint))
