"""What a method is, and the pieces that several methods share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import jax.numpy as jnp

from vitjax.errors import ConfigError, unknown_name
from vitjax.shapes import Array, Attention, Row, Square
from vitjax.trace import Fold, Gradient, LayerTrace, backward_fold
from vitjax.vit import ViTConfig

FUSIONS: dict[str, Callable[..., Array]] = {"mean": jnp.mean, "max": jnp.max, "min": jnp.min}
HeadFusion = Literal["mean", "max", "min"]


class Method(NamedTuple):
    """An explainer. Exactly one of `fold` and `explain` says how it is computed.

    fold: (config, **options) -> Fold, for recurrences over layers: all that are asked for share one sweep.
    explain: (config, params, image, target, *, key, **options) -> map, pure and for ONE image; `target` is a
        class index and `key` a PRNG key that depends on the image's id alone.
    level: "token" maps are [h, w] on the patch grid, "pixel" maps [H, W].
    needs: what the model must have: "class_token", "head".
    cost: in forwards (F) and backwards (B) of one image.
    """

    title: str
    cite: str
    cost: str
    fold: Callable[..., Fold] | None = None
    explain: Callable[..., Array] | None = None
    level: Literal["token", "pixel"] = "token"
    class_specific: bool = True
    needs: frozenset[str] = frozenset()

    @property
    def definition(self) -> Callable[..., Any]:
        """The function that holds the formula and its docstring."""
        function = self.fold or self.explain
        assert function is not None
        return function

    @property
    def options(self) -> dict[str, Any]:
        """Option names and their defaults."""
        parameters = inspect.signature(self.definition).parameters.values()
        return {
            p.name: p.default
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.default is not inspect.Parameter.empty
        }

    def check_options(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options with defaults filled in. Raises on an unknown option or a value that is not a choice."""
        defaults = self.options
        hints = get_type_hints(self.definition)
        for option, value in options.items():
            if option not in defaults:
                raise unknown_name(f"option of method {name!r}", option, defaults)
            choices = get_args(hints[option]) if get_origin(hints.get(option)) is Literal else ()
            if choices and value not in choices:
                raise ConfigError(f"method {name!r}: {option}={value!r} is not one of {', '.join(map(repr, choices))}")
        return {**defaults, **options}

    def one(self, config: ViTConfig, params, image, target, *, key, **options) -> Array:
        """This method's map of one image, whichever way it is defined."""
        if self.fold is None:
            assert self.explain is not None
            return self.explain(config, params, image, target, key=key, **options)
        return backward_fold(config, params, image, target, [self.fold(config, **options)]).results[0]


def patch_map(config: ViTConfig, row: Row) -> Array:
    """A value per token [n] -> the patches on their grid [h, w]."""
    return row[config.prefix :].reshape(config.grid)


def at_layer(
    config: ViTConfig,
    chosen: int,
    summarise: Callable[[LayerTrace], Array],
    *,
    relu: bool,
    gradient: Gradient | None,
) -> Fold:
    """A method that reads one block: `summarise` gives the patches' values [patches] there."""

    def finish(row, ends):
        return (jnp.maximum(row, 0) if relu else row).reshape(config.grid)

    return Fold(
        init=jnp.zeros(config.tokens - config.prefix),
        summarise=summarise,
        step=lambda row, here, layer: jnp.where(layer == chosen, here, row),
        finish=finish,
        gradient=gradient,
    )


def sum_over_layers(
    config: ViTConfig,
    summarise: Callable[[LayerTrace], Array],
    *,
    first: int = 0,
    gradient: Gradient | None,
) -> Fold:
    """A method that adds up what `summarise` gives [n] in the blocks from `first` on."""
    return Fold(
        init=jnp.zeros(config.tokens),
        summarise=summarise,
        step=lambda total, here, layer: jnp.where(layer >= first, total + here, total),
        finish=lambda total, ends: patch_map(config, total),
        gradient=gradient,
    )


def fuse_heads(attention: Attention, fusion: HeadFusion) -> Square:
    """[h, n, m] -> [n, m] by mean, max or min over heads."""
    return FUSIONS[fusion](attention, axis=0)


def discard_smallest(square: Square, ratio: float, *, keep_first: bool) -> Square:
    """Set the int(n·m·ratio) smallest entries to 0; `keep_first` spares entry [0, 0] (class to class)."""
    count = int(square.size * ratio)
    if count == 0:
        return square
    threshold = jnp.sort(square, axis=None)[count - 1]
    kept = square > threshold
    if keep_first:
        kept = kept.at[0, 0].set(True)
    return jnp.where(kept, square, 0)


def row_normalise(square: Square) -> Square:
    """Rows sum to 1."""
    return square / square.sum(axis=-1, keepdims=True)


def divide_columns_by_row_sums(square: Square) -> Square:
    """Column j divided by the sum of row j: a row normalisation whose sum lost its axis, as published."""
    return square / square.sum(axis=-1)


def checked_layer(config: ViTConfig, layer: int, option: str) -> int:
    """A block number in 0..depth-1; negative counts from the end."""
    index = layer + config.depth if layer < 0 else layer
    if not 0 <= index < config.depth:
        raise ConfigError(f"{option}={layer}: the model has blocks 0 to {config.depth - 1}")
    return index


def checked_ratio(ratio: float) -> float:
    if not 0 <= ratio < 1:
        raise ConfigError(f"discard_ratio={ratio}: must be in [0, 1)")
    return ratio
