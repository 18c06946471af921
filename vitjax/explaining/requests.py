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
from vitjax.nn.function import FunctionConfig
from vitjax.nn.network import kind_of
from vitjax.nn.vit_config import ViTConfig
from vitjax.output.terminal import say
from vitjax.shapes import Array, Params

Methods = str | dict[str, Any] | Sequence[str | dict[str, Any]]

GROUPS = ("all", "everything")
"""Names that stand for methods: every one that is not slow, and slow ones, too."""
TRANSFORMER = "a transformer"


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


def requests_for(model: Model, methods: Methods, target: Any = None) -> tuple[Request, ...]:
    """The requests of one call, each checked against the model and built for it; equal ones are one.

    Args:
        model: the model.
        methods: see `expanded`.
        target: as for `vitjax.explain`.

    Raises: as `request` and `check_needs`; ConfigError if no methods are requested.
    """
    requests = tuple(dict.fromkeys(map(request, expanded(model, methods, target))))
    if not requests:
        raise ConfigError("no methods requested")
    for wanted in requests:
        check_needs(model, wanted, target)
    return tuple(wanted._replace(method=wanted.method.on(model.config)) for wanted in requests)


def expanded(model: Model, methods: Methods, target: Any = None) -> list[str | dict[str, Any]]:
    """The methods, with each group replaced by its methods that the model can have; the others are named on stderr.

    Args:
        model: the model.
        methods: names with options, and groups: "all", every method that is not slow, or "everything"; or one of these.
        target: as for `vitjax.explain`.

    Raises: as `request`, for methods that are named.
    """
    listed = check_methods(methods)
    return [name for method in listed for name in (_group(model, method, target) if method in GROUPS else [method])]


def check_methods(methods: Methods) -> list[str | dict[str, Any]]:
    """The methods as a list, after a check of their names and options, which needs no model. Raises: as `request`."""
    listed = [methods] if isinstance(methods, str | dict) else list(methods)
    for method in listed:
        if method not in GROUPS:
            request(method)
    return listed


def _group(model: Model, group: Any, target: Any) -> list[str | dict[str, Any]]:
    """Methods of a group that the model can have, by name."""
    names: list[str | dict[str, Any]] = []
    left_out: dict[str, list[str]] = {}
    for name, method in METHODS.items():
        if method.slow and group == "all":
            continue
        reason = _why_left_out(model, request(name), target)
        names.append(name) if reason is None else left_out.setdefault(reason, []).append(name)
    if left_out:
        reasons = [f"{', '.join(without)} ({reason})" for reason, without in left_out.items()]
        say(f"methods {group!r} of {model.name!r} leave out {'; '.join(reasons)}", error=True)
    return names


def _why_left_out(model: Model, wanted: Request, target: Any) -> str | None:
    """Why a group does not contain a method with its defaults; None if it does."""
    need = _lacking(model, wanted, target)
    if need is not None:
        return f"needing {need}"
    try:
        _check_ranges(model, wanted)
    except ConfigError as error:  # its formula has no meaning on this architecture
        return str(error)
    return None


def check_needs(model: Model, wanted: Request, target: Any = None) -> None:
    """Check a request against the model before anything is computed or written.

    Args:
        model: the model.
        wanted: the request.
        target: as for `vitjax.explain`; a method that explains one output needs it where there is no prediction.

    Raises: ConfigError where the method does not apply to that kind of model, needs what the model lacks, or has an
        option out of range, such as a layer that the model does not have.
    """
    need = _lacking(model, wanted, target)
    if need == TRANSFORMER:
        able = ", ".join(name for name, method in METHODS.items() if method.cnn is not None)
        raise ConfigError(
            f"method {wanted.name!r} needs a transformer; {model.name!r} is {kind_of(model.config)}, for which there "
            f"are {able}"
        )
    if need is not None:
        raise ConfigError(f"method {wanted.name!r} needs {need}; {model.name!r} has none")
    _check_ranges(model, wanted)


def _lacking(model: Model, wanted: Request, target: Any) -> str | None:
    """What a method needs that the model, or the call, does not have; None if nothing is missing.

    The one place that says which methods a model can have.
    """
    config, needs = model.config, wanted.method.needs
    if wanted.method.cnn is None and not isinstance(config, ViTConfig):
        return TRANSFORMER
    if "class_token" in needs and not (isinstance(config, ViTConfig) and config.class_token):
        return "a class token"
    if "feature_map" in needs and isinstance(config, FunctionConfig) and not config.feature_maps:
        return "a feature map that the function returns"
    if config.num_classes == 0:
        if "probability" in needs:
            return "a head that gives probabilities"
        if dict(wanted.options).get("score") == "probability":
            return "a head that gives probabilities, or score=logit"
        if "head" in needs and not _is_named(target):
            return "a head that predicts a class, or the number of a feature as target"
    return None


def _is_named(target: Any) -> bool:
    """Whether a target names an output for every image, so that no prediction is needed."""
    if isinstance(target, list | tuple):
        return all(map(_is_named, target))
    return target is not None


def check_score(model: Model, wanted: Request, targets: Targets) -> None:
    """Check that a method does not explain the probability of a target that has none.

    Raises: ConfigError where the method reads probabilities, by its option `score` or by its definition.
    """
    reads = dict(wanted.options).get("score") == "probability" or "probability" in wanted.method.needs
    hint = "; score=logit explains it" if "score" in wanted.method.options else ""
    if reads and model.config.num_classes and model.probability is None:
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
    """Build the method for this model, which raises ConfigError for options out of range, or where a fold has no
    meaning on the architecture. Of other methods, the defaults need no check.

    A method that runs on the host checks its own options when it starts.
    """
    method, options = wanted.method.on(model.config), dict(wanted.options)
    if method.fold is not None:
        method.fold(model.config, **options)
    elif method.explain is not None and options != method.options:
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
