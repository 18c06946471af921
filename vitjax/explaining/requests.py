"""A requested method with all its options, checked against the model before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vitjax.errors import ConfigError
from vitjax.explaining.targets import Targets
from vitjax.methods import METHODS, Method, find_method
from vitjax.methods.options import label_of, name_and_options
from vitjax.models.model import Model
from vitjax.nn.vit_config import ViTConfig
from vitjax.shapes import Array, Params


class Request(NamedTuple):
    """A method with all its options; hashable.

    label: the name with the options that were given in parentheses, unique in a call.
    options: all options, defaults included, sorted by name.
    """

    label: str
    name: str
    method: Method
    options: tuple[tuple[str, Any], ...]


def request(method: str | dict[str, Any], **options: Any) -> Request:
    """The request of a method by name, as "NAME:OPTION=VALUE,...", or as {"method": NAME, **options}.

    Raises: UnknownNameError for an unknown method or option, with close matches; ConfigError for an invalid value.
    """
    name, given = name_and_options(method, "method")
    twice = sorted(given.keys() & options.keys())
    if twice:
        raise ConfigError(f"method {name!r}: {twice[0]} is given twice, in {method!r} and as an argument")
    given |= options
    known = find_method(name)
    checked = known.check_options(name, given)
    return Request(label_of(name, given, checked), name, known, tuple(sorted(checked.items())))


def check_needs(model: Model, wanted: Request) -> None:
    """Check a request against the model before anything is computed or written.

    Raises: ConfigError where the method does not apply to that kind of model, needs what the model lacks, or has an
        option out of range, such as a layer that the model does not have.
    """
    config = model.config
    if wanted.method.cnn is None and not isinstance(config, ViTConfig):
        able = ", ".join(name for name, method in METHODS.items() if method.cnn is not None)
        raise ConfigError(
            f"method {wanted.name!r} needs a transformer; {model.name!r} is a ResNet, for which there are {able}"
        )
    has = {"class_token": isinstance(config, ViTConfig) and config.class_token}
    has |= dict.fromkeys(("head", "probability"), config.num_classes > 0)
    missing = sorted(need for need in wanted.method.needs if not has[need])
    if missing:
        raise ConfigError(
            f"method {wanted.name!r} needs a model with {' and '.join(missing).replace('_', ' ')}; "
            f"{model.name!r} has none"
        )
    _check_ranges(model, wanted)


def check_score(model: Model, wanted: Request, targets: Targets) -> None:
    """Check that a method does not explain the probability of a target that has none.

    Raises: ConfigError where the method reads probabilities, by its option `score` or by its definition.
    """
    reads = dict(wanted.options).get("score") == "probability" or "probability" in wanted.method.needs
    hint = "; score=logit explains it" if "score" in wanted.method.options else ""
    if reads and model.config.num_classes and not model.has_probabilities:
        raise ConfigError(
            f"method {wanted.label!r} explains a probability, which a single text of model {model.name!r} does not have"
            f"{hint or '; vitjax.zero_shot makes several classes'}"
        )
    check_probability(f"method {wanted.label!r}", reads, targets, hint)


def check_probability(what: str, reads: bool, targets: Targets, hint: str = "") -> None:
    """Check that `what`, which may read probabilities, fits the targets.

    Raises: ConfigError where it reads probabilities and a target is not a class.
    """
    if reads and not targets.are_classes:
        name = next(name for name in targets.names if name is not None)
        raise ConfigError(f"{what} explains a probability, and target {name!r} is no class that has one{hint}")


def _check_ranges(model: Model, wanted: Request) -> None:
    """Build the method for this model, which raises ConfigError for options out of range. Defaults need no check.

    A method that runs on the host checks its own options when it starts.
    """
    method, options = wanted.method.on(model.config), dict(wanted.options)
    if options == method.options:
        return
    if method.fold is not None:
        method.fold(model.config, **options)
    elif method.explain is not None:
        explain = method.explain

        def build(params: Params, image: Array, target: Array, key: Array) -> int:
            explain(model.config, params, image, target, key=key, **options)
            return 0

        image = jax.ShapeDtypeStruct((*model.config.image_size, 3), model.dtype)
        with model.settings():
            jax.eval_shape(build, model.params, image, jnp.int32(0), jax.random.key(0))


def passes(requests: Sequence[Request]) -> int:
    """How many times `progress` counts each image: once for all quick methods, once for each slow method."""
    return 1 + sum(wanted.method.slow for wanted in requests)
