"""What the metrics' plain functions accept: shapes, kinds and ranges of their arrays, and their options.

Shapes and kinds are checked under `jax.jit` and `jax.vmap` as well, where they are static; values only where they are
known. Nothing of it is left in a compiled program.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.errors import ConfigError
from vitjax.images.mask_values import IGNORE
from vitjax.maps import deliberate_nans
from vitjax.methods.options import checked_options
from vitjax.shapes import Array, at_least_float32

SLACK = 1e-5
"""How far a map in [0, 1] may lie outside by rounding."""
P = ParamSpec("P")
R = TypeVar("R")


def checks_options(function: Callable[P, R]) -> Callable[P, R]:
    """The function with its keyword options checked as those of a request are, and its NaN as `deliberate_nans`.

    Arrays pass as they are.

    Raises:
        ConfigError: a value does not have the option's type, is not among its choices, or is outside its range.
    """
    parameters = inspect.signature(function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}

    @functools.cache
    def hints() -> dict[str, Any]:
        return get_type_hints(function, include_extras=True)

    @functools.wraps(function)
    @deliberate_nans
    def checked(*arguments: P.args, **given: P.kwargs) -> R:
        options = {
            name: value
            for name, value in given.items()
            if name in defaults and hints()[name] is not Any and not isinstance(value, jax.Array)
        }
        if options:
            values = checked_options(f"metric {function.__name__!r}", defaults, hints(), options)
            given.update({name: values[name] for name in options})
        return function(*arguments, **given)

    return checked


def one_map(heatmap: Any, *, unit: bool = True, name: str = "heatmap") -> Array:
    """The map of ONE image, [height, width], float32 or float64.

    Args:
        unit: whether its values must lie in [0, 1].
        name: of the argument, for error messages.

    Raises:
        ConfigError: another shape, a batch for example, or no floats, or values outside [0, 1].
    """
    heatmap = floats(heatmap, name)
    if heatmap.ndim != 2 or 0 in heatmap.shape:
        hint = "; jax.vmap computes a batch" if heatmap.ndim == 3 else ""
        raise ConfigError(f"{name} {list(heatmap.shape)}: must be one map [height, width]{hint}")
    if unit and _is_known(heatmap):
        values = np.asarray(heatmap)
        values = values[np.isfinite(values)]
        if values.size and (values.min() < -SLACK or values.max() > 1 + SLACK):
            raise ConfigError(
                f"{name} {list(heatmap.shape)}: values from {values.min():.4g} to {values.max():.4g}, must be in "
                "[0, 1]; vitjax.maps.to_pixels scales a raw map"
            )
    return heatmap


def map_with_mask(heatmap: Any, mask: Any, *, unit: bool = True) -> tuple[Array, Array]:
    """A map and its mask, both [height, width].

    Args:
        unit: whether the map's values must lie in [0, 1].

    Raises:
        ConfigError: as `one_map`, or the mask has another shape than the map, is neither bool nor integer, or has
            values without a meaning.
    """
    shapes = f"heatmap {list(np.shape(heatmap))} and mask {list(np.shape(mask))}"
    mask = _one_mask(mask)
    if np.shape(heatmap) != mask.shape:
        raise ConfigError(f"{shapes}: must have one shape, [height, width]")
    return one_map(heatmap, unit=unit), mask


def grid_with_mask(raw: Any, mask: Any) -> tuple[Array, Array]:
    """A raw map on a grid of patches, and the mask in pixels that the grid divides into square cells.

    Raises:
        ConfigError: another shape of one of them; the mask has fewer pixels than the grid has cells, or another aspect.
    """
    raw, mask = one_map(raw, unit=False, name="raw"), _one_mask(mask)
    down, across = (pixels / cells for pixels, cells in zip(mask.shape, raw.shape, strict=True))
    # The grid of a ResNet leaves out the pixels beyond the last full cell, less than one cell on each side.
    if min(down, across) < 1 or max(down, across) > (1 + 1 / min(raw.shape)) * min(down, across):
        raise ConfigError(
            f"raw {list(raw.shape)} and mask {list(mask.shape)}: the mask must be in pixels, with the aspect of the map"
        )
    return raw, mask


def floats(array: Any, name: str) -> Array:
    """The array as float32 or float64.

    Raises:
        ConfigError: it holds integers or booleans, as an image or a mask does.
    """
    return at_least_float32(floats_as_given(array, name))


def floats_as_given(array: Any, name: str) -> Array:
    """`floats`, also of half precision.

    Raises:
        ConfigError: as `floats`.
    """
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ConfigError(f"{name} {list(array.shape)}: {array.dtype}, must be floats")
    return jnp.asarray(array)


def same_shape(first: Array, second: Array, names: str) -> None:
    """Raises: ConfigError if two maps of one image differ in shape."""
    if np.shape(first) != np.shape(second):
        raise ConfigError(f"{names}: shapes {list(np.shape(first))} and {list(np.shape(second))}, must be equal")


def class_number(value: Any, classes: int, name: str, *, unknown: bool = False) -> Array:
    """A class of the model as an integer array [].

    Args:
        classes: number of classes.
        name: of the argument, for error messages.
        unknown: whether -1 stands for an unknown class.

    Raises:
        ConfigError: not one integer, or no class of the model.
    """
    lowest = -1 if unknown else 0
    array = value if isinstance(value, jax.Array) else np.asarray(value)
    if array.shape != () or not jnp.issubdtype(array.dtype, jnp.integer):
        raise ConfigError(f"{name}={value!r}: must be one whole number, {lowest} to {classes - 1}")
    if _is_known(array) and not lowest <= int(array) < classes:
        raise ConfigError(f"{name}={int(array)}: the model has classes 0 to {classes - 1}")
    return jnp.asarray(array)


def _one_mask(mask: Any) -> Array:
    array = mask if isinstance(mask, jax.Array) else np.asarray(mask)
    if array.ndim != 2 or 0 in array.shape:
        raise ConfigError(f"mask {list(array.shape)}: must be one mask [height, width]")
    if array.dtype == bool:
        return jnp.asarray(array)
    meaning = f"bool, or 0 (background), {IGNORE} (ignored) and 255 (object)"
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise ConfigError(f"mask {list(array.shape)}: {array.dtype}, must be {meaning}")
    if _is_known(array):
        values = set(np.unique(array).tolist())
        if not values <= {0, IGNORE, 255} and not values <= {0, 1}:
            others = ", ".join(map(str, sorted(values - {0, IGNORE, 255})[:5]))
            raise ConfigError(f"mask {list(array.shape)}: contains {others}, must be {meaning}")
    return jnp.asarray(array)


def _is_known(array: Any) -> bool:
    """Whether the values can be read: they cannot inside of jit or vmap."""
    return not isinstance(array, jax.core.Tracer)
