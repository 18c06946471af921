"""Options of methods and metrics: checked against the annotations of the function that takes them, in one place.

An annotation states the type and, as in `Annotated[int, Range(1, 9)]`, a range that does not depend on the model.
"""

from __future__ import annotations

import ast
import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import numpy as np

from vitjax.errors import ConfigError, unknown_name
from vitjax.execution.arguments import MAX_SEED
from vitjax.methods.own import is_reference

INT32, FLOAT32 = 2**31 - 1, float(np.finfo(np.float32).max)
"""The largest numbers that a program computes with."""
MOST = 1_000_000
"""The most steps, masks or draws of one image: more would take days."""
LARGEST = (INT32, FLOAT32, MOST, 2**32 - 1)
"""Upper ends that are no part of a formula, so that messages name the lower end first."""


class Range(NamedTuple):
    """The numbers from `low` to `high`; an end that is open is not one of them."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def contains(self, value: Any) -> bool:
        above = self.low < value if self.open_low else self.low <= value
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        if self.high in LARGEST and self.low > -self.high:
            return f"{'above' if self.open_low else 'at least'} {self.low:g}, and at most {self.high:.10g}"
        ends = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"in {ends[0]}{self.low:.10g}, {self.high:.10g}{ends[1]}"


Count = Annotated[int, Range(1, MOST)]
Seed = Annotated[int, Range(0, MAX_SEED)]
NonNegative = Annotated[float, Range(0, FLOAT32)]
Positive = Annotated[float, Range(0, FLOAT32, open_low=True)]
Fraction = Annotated[float, Range(0, 1, open_high=True)]
"""What is cut off or left out, or a threshold of a map in [0, 1]: never everything."""
Share = Annotated[float, Range(0, 1, open_low=True)]
"""What is kept, or a weight beside its complement: never nothing."""
RANGES = {int: Range(-INT32, INT32), float: Range(-FLOAT32, FLOAT32)}
"""Of numbers whose annotation states none."""

_COMMA = re.compile(r",(?![^\[(]*[\])])")
"""A comma between options, not one inside of a list."""
WORDS = {"true": True, "false": False, "none": None}
"""What a text means where a boolean or None is asked for, in any case, as JSON, YAML and shells write them."""


def parse(text: str, kind: str) -> dict[str, Any]:
    """A name with options as text -> the dict that stands for it.

    Args:
        text: `NAME` or `NAME:OPTION=VALUE,...`, where the name may be `MODULE:NAME`. Values are Python literals, also
            lists such as [10, 50], or else strings.
        kind: "method" or "metric", the key of the name in the dict.

    Raises:
        ConfigError: an option is not of the form name=value, or is given twice.

    Example:
        >>> vitjax.methods.options.parse("rollout:head_fusion=max,discard_ratio=0.9", "method")
        {'method': 'rollout', 'head_fusion': 'max', 'discard_ratio': 0.9}
    """
    name, colon, option_text = text.partition(":")
    own, _, rest = option_text.partition(":")
    if is_reference(f"{name}{colon}{own}"):
        name, option_text = f"{name}:{own}", rest
    parsed: dict[str, Any] = {kind: name}
    for option in filter(None, _COMMA.split(option_text)):
        key, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"{kind} {text!r}: option {option!r} is not of the form name=value")
        if key in parsed:
            raise ConfigError(f"{kind} {text!r}: {key} is given twice")
        try:
            parsed[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
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
    """`options` completed with the defaults, each value as the plain Python value that it stands for.

    Args:
        owner: what has the options, for error messages: "method 'rollout'".
        defaults: of all options.
        hints: annotations by option: a Literal, int, float, bool, str, None, or a tuple or union of these, and numbers
            Annotated with a Range. Other annotations accept any value.
        options: what was given.

    Raises:
        UnknownNameError: there is no such option; the message lists close matches.
        ConfigError: a value does not have the option's type, is not among its choices, or is outside its range.
    """
    checked = dict(defaults)
    for option, given in options.items():
        if option not in defaults:
            raise unknown_name(f"option of {owner}", str(option), defaults)
        value = converted(given, hints.get(option))
        problem = _problem(hints.get(option), value)
        if problem:
            raise ConfigError(f"{owner}: {option}={reprlib.repr(given)}{problem}")
        checked[option] = value
    return checked


def converted(value: Any, hint: Any) -> Any:
    """The plain value of numpy's numbers and arrays and of lists; a float for a whole number where floats are asked
    for; a boolean or None for its word, where the option takes no text."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        element = get_args(hint)[0] if get_origin(hint) is tuple else None
        return tuple(converted(part, element) for part in value)
    if isinstance(value, str) and _problem(hint, value) and value.lower() in WORDS:
        word = WORDS[value.lower()]
        return value if _problem(hint, word) else word
    if isinstance(value, Integral) and not isinstance(value, bool) and _takes_floats_only(hint):
        return float(value) if abs(int(value)) <= FLOAT32 else value
    return value


def _takes_floats_only(hint: Any) -> bool:
    """Whether numbers of this annotation are floats: 1 and 1.0 are then one request, with one label."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = {get_args(member)[0] if get_origin(member) is Annotated else member for member in members}
    return float in kinds and int not in kinds


def _problem(hint: Any, value: Any) -> str | None:
    """What is wrong with a value, to be read after it: " is not true or false", ": must be at least 1"; else None."""
    origin, inner = get_origin(hint), get_args(hint)
    kind, allowed = inner[:2] if origin is Annotated else (hint, RANGES.get(hint) if origin is None else None)
    if allowed is not None and _is_number(kind, value):
        return None if allowed.contains(value) else f": must be {allowed}"
    if origin in (Union, UnionType) or (origin is tuple and isinstance(value, tuple)):
        pairs = [(inner[0], item) for item in value] if origin is tuple else [(member, value) for member in inner]
        problems = [_problem(*pair) for pair in pairs]
        if not any(problems) if origin is tuple else None in problems:
            return None
        ranges = [problem for problem in problems if problem and problem.startswith(":")]
        return ranges[0] if ranges else f" is not {_described(hint)}"
    return None if _is_one_of(hint, value) else f" is not {_described(hint)}"


def _is_number(kind: Any, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, Integral if kind is int else Real):
        return False
    return isinstance(value, Integral) or math.isfinite(value)


def _is_one_of(hint: Any, value: Any) -> bool:
    """Whether a value is one of a Literal's, or has a plain type; True for annotations of other kinds."""
    if get_origin(hint) is Literal:
        return isinstance(value, str | int | None) and value in get_args(hint)
    if hint in (int, float) or get_origin(hint) in (Annotated, tuple):
        return False
    return isinstance(value, hint) if hint in (bool, str, NoneType) else True


def _described(hint: Any) -> str:
    """The values that an option takes, for error messages."""
    inner = get_args(hint)
    if get_origin(hint) is Annotated:
        return _described(inner[0])
    if get_origin(hint) is Literal:
        return f"{'one of ' if len(inner) > 1 else ''}{', '.join(map(repr, inner))}"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_described, inner))
    if get_origin(hint) is tuple:
        return f"a list, each {_described(inner[0])}"
    words = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", NoneType: "none"}
    return words.get(hint, str(hint))
