"""Options of methods and metrics: checked against the annotations of the function that takes them, in one place."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from vitjax.errors import ConfigError, unknown_name

WORDS = {"true": True, "false": False, "none": None}
"""What a text means where a boolean or None is asked for, in any case, as JSON, YAML and shells write them."""


def parse(text: str, kind: str) -> dict[str, Any]:
    """A name with options as text -> the dict that stands for it.

    Args:
        text: `NAME` or `NAME:OPTION=VALUE,...`. Values are Python literals, or else strings.
        kind: "method" or "metric", the key of the name in the dict.

    Raises:
        ConfigError: an option is not of the form name=value.

    Example:
        >>> vitjax.methods.options.parse("rollout:head_fusion=max,discard_ratio=0.9", "method")
        {'method': 'rollout', 'head_fusion': 'max', 'discard_ratio': 0.9}
    """
    name, _, option_text = text.partition(":")
    parsed: dict[str, Any] = {kind: name}
    for option in filter(None, option_text.split(",")):
        key, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"{kind} {text!r}: option {option!r} is not of the form name=value")
        try:
            parsed[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            parsed[key] = value
    return parsed


def name_and_options(spec: str | Mapping[str, Any], kind: str) -> tuple[str, dict[str, Any]]:
    """The name and the given options of "NAME:OPTION=VALUE,..." or {kind: NAME, **options}.

    Raises:
        ConfigError: the dict lacks the name, or the text is malformed.
    """
    options = parse(spec, kind) if isinstance(spec, str) else dict(spec)
    if kind not in options:
        raise ConfigError(f"a {kind} given as a dict needs the key {kind!r}: {spec!r}")
    return str(options.pop(kind)), options


def label_of(name: str, given: Iterable[str], checked: Mapping[str, Any]) -> str:
    """The name, with the options that were given in parentheses: "rollout(head_fusion=max)"."""
    options = ", ".join(f"{option}={checked[option]}" for option in given)
    return f"{name}({options})" if options else name


def checked_options(
    owner: str, defaults: Mapping[str, Any], hints: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """`options` completed with the defaults, lists as tuples, and the texts "true", "false" and "none" as values.

    Args:
        owner: what has the options, for error messages: "method 'rollout'".
        defaults: of all options.
        hints: annotations by option: a Literal, int, float, bool, str, None, or a tuple or union of these.
        options: what was given.

    Raises:
        UnknownNameError: there is no such option; the message lists close matches.
        ConfigError: a value does not have the option's type, or is not among its choices.
    """
    checked = dict(defaults)
    for option, given in options.items():
        if option not in defaults:
            raise unknown_name(f"option of {owner}", option, defaults)
        value = converted(given, hints.get(option))
        if not _accepts(hints.get(option), value):
            raise ConfigError(f"{owner}: {option}={given!r} is not {_described(hints[option])}")
        checked[option] = value
    return checked


def converted(value: Any, hint: Any) -> Any:
    """A list as a tuple; a word for a boolean or None as that value, where the option takes no text."""
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(value, str) and not _accepts(hint, value) and value.lower() in WORDS:
        word = WORDS[value.lower()]
        return word if _accepts(hint, word) else value
    return value


def _accepts(hint: Any, value: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return isinstance(value, str | int | None) and value in inner
    if origin in (Union, UnionType):
        return any(_accepts(member, value) for member in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(_accepts(inner[0], element) for element in value)
    if hint in (int, float):
        number = isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
        return number and math.isfinite(value)
    return isinstance(value, hint) if hint in (bool, str, NoneType) else True


def _described(hint: Any) -> str:
    """The values that an option takes, for error messages."""
    inner = get_args(hint)
    if get_origin(hint) is Literal:
        return f"{'one of ' if len(inner) > 1 else ''}{', '.join(map(repr, inner))}"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_described, inner))
    if get_origin(hint) is tuple:
        return f"a list, each {_described(inner[0])}"
    words = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", NoneType: "none"}
    return words.get(hint, str(hint))
