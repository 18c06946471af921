"""What is asked for: a method with all its options, checked against the model before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from vitjax.errors import ConfigError
from vitjax.methods import METHODS, Method, find_method
from vitjax.models.model import Model
from vitjax.nn.vit_config import ViTConfig


class Request(NamedTuple):
    """A method with all its options, hashable."""

    label: str
    name: str
    method: Method
    options: tuple[tuple[str, Any], ...]


def request(method: str | dict[str, Any], **options: Any) -> Request:
    """A method name with options, or {"method": name, **options} -> Request. Raises on unknown names."""
    if isinstance(method, dict):
        if "method" not in method:
            raise ConfigError(f"a method given as a dict needs the key 'method': {method!r}")
        options = {**method, **options}
        name = str(options.pop("method"))
    else:
        name = method
    found = find_method(name)
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    label = name + (f"({', '.join(f'{k}={v}' for k, v in options.items())})" if options else "")
    return Request(label, name, found, tuple(sorted(found.check_options(name, options).items())))


def check_needs(model: Model, wanted: Request) -> None:
    """Raises ConfigError where the method is not for that kind of model, or needs what the model does not have."""
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
    """How often `progress` hears of each image."""
    return 1 + sum(each.method.slow for each in requests)
