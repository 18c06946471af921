"""A requested method with all its options, checked against the model before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vitjax.errors import ConfigError
from vitjax.methods import METHODS, Method, find_method
from vitjax.models.model import Model
from vitjax.nn.vit_config import ViTConfig


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
    """The request of a method by name, or as {"method": name, **options}.

    Raises: UnknownNameError for an unknown method or option, with close matches; ConfigError for an invalid value.
    """
    if isinstance(method, dict):
        if "method" not in method:
            raise ConfigError(f"a method given as a dict needs the key 'method': {method!r}")
        options = {**method, **options}
        name = str(options.pop("method"))
    else:
        name = method
    known = find_method(name)
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    label = name + (f"({', '.join(f'{key}={value}' for key, value in options.items())})" if options else "")
    return Request(label, name, known, tuple(sorted(known.check_options(name, options).items())))


def check_needs(model: Model, wanted: Request) -> None:
    """Raise ConfigError where the method does not apply to that kind of model, or needs what the model lacks."""
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


def passes(requests: Sequence[Request]) -> int:
    """How many times `progress` counts each image: once for all quick methods, once for each slow method."""
    return 1 + sum(wanted.method.slow for wanted in requests)
