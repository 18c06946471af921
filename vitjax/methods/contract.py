"""`Method`: a pure function of one image with its options, citation, cost and requirements."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_type_hints

from vitjax.execution.map_reduce import MapReduce, all_rounds
from vitjax.layerwise.fold import Fold
from vitjax.layerwise.run import backward_fold
from vitjax.methods.options import checked_options
from vitjax.nn.network import Config
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Image, Params, Target


class Method(NamedTuple):
    """An explainer: exactly one of `fold`, `explain` and `explain_on_host` computes its map.

    title: name for figures and reports.
    cite: the publication.
    cost: forwards (F) and backwards (B) per image.
    fold: (config, **options) -> Fold, for recurrences over layers; all requested folds share one pass over the layers.
    explain: (config, params, image, target, *, key, **options) -> map, a pure function of ONE image. `target` is a
        class index, or another target of `vitjax.layerwise.target`, which `score_of` and folds take; `key` is a PRNG
        key that depends only on the seed and the image's id. A method that evaluates the model many times returns a
        MapReduce instead of the map.
    explain_on_host: (config, params, images [b, H, W, 3], targets [b], *, keys [b], on_progress, **options) -> maps,
        for methods that cannot be compiled as a whole; calls on_progress(1) after each image, or with fractions.
    cnn: as `explain`, for a ResNet or a function (`vitjax.from_function`), with the same options; None if the method is
        defined for transformers only.
    level: "token": maps are [h, w] on the patch grid (or the positions of a ResNet's stage); "pixel": maps are [H, W].
        An option `at` overrides it.
    class_specific: whether the map depends on the target.
    use_when: what the method is a good choice for, in one sentence; "" if nothing is known.
    needs: parts that the model must have: "class_token"; "head" for a method that explains one output, which for a
        model without a head is a feature that the user names; "probability" for one that explains the probability
        of a class, whatever its options; "feature_map", which of all models only a function that
        returns none lacks.
    slow: the method costs tens of forwards or more; the command line leaves it out of "all" and runs it in smaller
        batches.
    complete: maps sum to s(image) - s(0).
    ill_conditioned: rounding dominates maps in float32, so parity is checked in float64 only.

    Example:
        >>> method = vitjax.METHODS["legrad"]
        >>> method.cost, method.level, method.options
        ('2F + 1B', 'token', {'pool': 'cls', 'layers': None, 'variant': 'canonical'})
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
    use_when: str = ""
    slow: bool = False
    complete: bool = False
    ill_conditioned: bool = False

    def __repr__(self) -> str:
        """Two lines: title, cost and kind; options and reference."""
        kind = "class-specific" if self.class_specific else "class-agnostic"
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items()) or "none"
        return (
            f"Method {self.title!r}: {kind}, map of {self.level}s, cost {self.cost}{', slow' if self.slow else ''}\n"
            f"  options: {options}; {self.cite}"
        )

    @property
    def definition(self) -> Callable[..., Any]:
        """The function that computes the map on a ViT; its docstring states the formula."""
        function = self.fold or self.explain or self.explain_on_host
        assert function is not None
        return function

    def level_of(self, options: Mapping[str, Any]) -> Literal["token", "pixel"]:
        """Level of the maps that these options give."""
        levels: dict[Any, Literal["token", "pixel"]] = {"tokens": "token", "pixels": "pixel"}
        return levels.get(options.get("at"), self.level)

    @property
    def options(self) -> dict[str, Any]:
        """Names of the options and their defaults."""
        parameters = inspect.signature(self.definition).parameters.values()
        return {
            p.name: p.default
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.default is not inspect.Parameter.empty
        }

    def check_options(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """`options` completed with the defaults.

        Args:
            name: name of the method, for error messages.
            options: values by option name.

        Raises:
            UnknownNameError: the method has no such option.
            ConfigError: a value does not have the option's type, is not among its choices, or is outside its range.
        """
        hints = get_type_hints(self.definition, include_extras=True)
        return checked_options(f"method {name!r}", self.options, hints, options)

    def on(self, config: Config) -> Method:
        """The method for this kind of model: itself on a ViT; on others `cnn` takes the place of the functions."""
        return (
            self if isinstance(config, ViTConfig) else self._replace(fold=None, explain=self.cnn, explain_on_host=None)
        )

    def one(self, config: Config, params: Params, image: Image, target: Target, *, key: Array, **options: Any) -> Array:
        """Map of one image, whichever of the functions computes it."""
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
