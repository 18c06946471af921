"""What a method is: a pure function of one image, its options, its cost and what it needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from vitjax.errors import ConfigError, unknown_name
from vitjax.execution.map_reduce import MapReduce, all_rounds
from vitjax.layerwise.fold import Fold
from vitjax.layerwise.run import backward_fold
from vitjax.nn.network import Config
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array

OnProgress = Callable[[int], None]


class Method(NamedTuple):
    """An explainer. Exactly one of `fold`, `explain` and `explain_on_host` says how it is computed.

    fold: (config, **options) -> Fold, for recurrences over layers: all that are asked for share one sweep.
    explain: (config, params, image, target, *, key, **options) -> map, pure and for ONE image; `target` is a
        class index and `key` a PRNG key that depends on the image's id alone. Or -> Queries, where many of the
        model make the map.
    cnn: as `explain`, on a ResNet, with the same options; None: the method is about what only transformers have.
    explain_on_host: (config, params, images [b, H, W, 3], targets [b], *, keys [b], on_progress, **options) -> maps,
        for what cannot be compiled as a whole; calls on_progress(1) after each image.
    level: "token" maps are [h, w] on the patch grid (or a ResNet's stage), "pixel" maps [H, W]; an option `at`
        chooses otherwise.
    needs: what the model must have: "class_token", "head".
    cost: in forwards (F) and backwards (B) of one image.
    slow: tens of forwards and more; not part of "all" on the command line, run in smaller batches.
    complete: maps sum to s(image) - s(0).
    ill_conditioned: float32 maps have no digits to compare; parity is checked in float64 alone.
    """

    title: str
    cite: str
    cost: str
    fold: Callable[..., Fold] | None = None
    explain: Callable[..., Array | MapReduce] | None = None
    explain_on_host: Callable[..., Any] | None = None
    cnn: Callable[..., Array | MapReduce] | None = None
    level: Literal["token", "pixel"] = "token"
    class_specific: bool = True
    needs: frozenset[str] = frozenset()
    slow: bool = False
    complete: bool = False
    ill_conditioned: bool = False

    @property
    def definition(self) -> Callable[..., Any]:
        """The function that holds the formula and its docstring."""
        function = self.fold or self.explain or self.explain_on_host
        assert function is not None
        return function

    def level_of(self, options: Mapping[str, Any]) -> Literal["token", "pixel"]:
        """The level of maps with these options."""
        levels: dict[Any, Literal["token", "pixel"]] = {"tokens": "token", "pixels": "pixel"}
        return levels.get(options.get("at"), self.level)

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

    def on(self, config: Config) -> Method:
        """The method as it is computed on that kind of model."""
        return (
            self if isinstance(config, ViTConfig) else self._replace(fold=None, explain=self.cnn, explain_on_host=None)
        )

    def one(self, config: Config, params, image, target, *, key, **options) -> Array:
        """This method's map of one image, whichever way it is defined."""
        if not isinstance(config, ViTConfig):
            assert self.cnn is not None
            return all_rounds(self.cnn(config, params, image, target, key=key, **options))
        if self.explain_on_host is not None:
            return self.explain_on_host(
                config, params, image[None], target[None], keys=key[None], on_progress=lambda count: None, **options
            )[0]
        if self.explain is not None:
            return all_rounds(self.explain(config, params, image, target, key=key, **options))
        assert self.fold is not None
        return backward_fold(config, params, image, target, [self.fold(config, **options)]).results[0]
