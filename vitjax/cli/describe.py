"""The subcommands `methods` and `metrics`: the list of all, and one of them with its formula and options."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from vitjax import methods
from vitjax.cli.docstrings import NOTATION, arguments, parts
from vitjax.methods import METHODS, Method, find_method
from vitjax.methods.options import LARGEST, Range
from vitjax.methods.own import is_reference
from vitjax.metrics import METRICS, find_metric, focus
from vitjax.metrics.contract import Metric
from vitjax.metrics.masks import map_and_mask

LEVELS = {"token": "one value for each patch", "pixel": "one value for each pixel"}
NEEDS = {
    "class_token": "a class token",
    "head": "an output to explain: a class, or a feature that --target names",
    "probability": "a head that gives probabilities",
    "feature_map": "a feature map, of a function",
    "mask": "object masks",
    "label": "labels",
    "class": "a target that is one class",
    "explainer": "further explanations of each image, which is slow",
}
NEEDS_OF_METRICS = {**NEEDS, "head": "probabilities of classes"}
SHOWN = ("Returns", "Cost", "Differs from reference", "Source")
"""Sections of a docstring that a user of the command line needs."""

_RESULT = re.compile(r"A `(Fold|MapReduce)` whose result is a\b")
"""What a method's function returns, for those who call it."""


def method_lines(name: str = "") -> list[str]:
    """Lines about a method, or about all of them without a name.

    Raises:
        UnknownNameError: no method has this name.
        ConfigError: "module:name" cannot be imported, or is no method.
    """
    if name:
        return _method(name, find_method(name))
    lines = []
    for label, method in METHODS.items():
        slow = ", slow" if method.slow else ""
        kind = "class-specific" if method.class_specific else "class-agnostic"
        kind += ", also on a ResNet and on a function" if method.cnn is not None else ""
        lines += [
            f"{label}\n  {method.title}: {kind}, {method.level_of(method.options)} level, cost {method.cost}{slow}"
        ]
        lines += [f"  options: {_given(method.options)}\n  {method.cite}"]
    return [
        *lines,
        "",
        "vitjax methods NAME: the formula, every option with its values, and when to use the method",
        "--methods all: every method that is not slow; --methods everything: slow methods, too; what the model cannot",
        "have is left out",
        "--methods MODULE:NAME: a method of your own, see vitjax check-method",
    ]


def metric_lines(name: str = "") -> list[str]:
    """Lines about a metric, or about all of them without a name.

    Raises:
        UnknownNameError: no metric has this name.
        ConfigError: "module:name" cannot be imported, or is no metric.
    """
    if name:
        return _metric(name, find_metric(name))
    lines = []
    for label, metric in METRICS.items():
        needs = f", needs {' and '.join(sorted(metric.needs))}" if metric.needs else ""
        lines += [f"{label}\n  {metric.title}: {metric.family}, cost {metric.cost}{needs}"]
        lines += [f"  options: {_given(metric.options)}\n  {metric.cite}"]
    families = dict.fromkeys(metric.family for metric in METRICS.values())
    return [
        *lines,
        "",
        "vitjax metrics NAME: the formula, every option with its values, and when to use the metric",
        f"--metrics FAMILY: every metric of one of the families {', '.join(families)}",
        "--metrics MODULE:NAME: a metric of your own",
    ]


def _given(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{option}={_text(value)}" for option, value in options.items()) or "none"


def _method(name: str, method: Method) -> list[str]:
    needs = [NEEDS[need] for need in sorted(method.needs)]
    facts = {
        "use when": method.use_when,
        "map": f"{LEVELS[method.level_of(method.options)]}; "
        + ("another for each class" if method.class_specific else "the same for every class"),
        "cost": f"{method.cost} for each image (F: forward, B: backward pass)" + ("; slow" if method.slow else ""),
        "models": "Vision Transformers" + (", ResNets and functions" if method.cnn is not None else ""),
        "needs": "; ".join(needs),
        "sum": "the difference of the score to that of the baseline (completeness)" if method.complete else "",
        "float32": "rounding dominates; compare numbers in float64" if method.ill_conditioned else "",
        "reference": method.cite,
    }
    hints = get_type_hints(method.definition, include_extras=True)
    options = _options(name, "methods", method.options, hints, arguments(method.definition))
    notation = next((part.body for part in parts(inspect.getdoc(methods) or "") if part.head == NOTATION), "")
    lines = _page(name, method.title, method.definition, facts, options)
    if is_reference(name):  # its docstring has its own notation
        return lines
    return [*lines, "", "Notation", *textwrap.indent(notation, "  ").splitlines()]


def _metric(name: str, metric: Metric) -> list[str]:
    statistics = metric.figures(metric.options)
    better = {f"{name} {part}".strip(): statistic.better or "neither" for part, statistic in statistics.items()}
    facts = {
        "use when": metric.use_when,
        "family": metric.family,
        "better": ", ".join(f"{way} ({statistic})" for statistic, way in better.items()),
        "cost": f"{metric.cost} for each map (F: forward pass, E: explanation)",
        "needs": "; ".join(NEEDS_OF_METRICS[need] for need in sorted(metric.needs)),
        "reference": metric.cite,
    }
    shared: dict[str, Callable[..., Any]] = {"resolution": map_and_mask, "mask_to_grid": focus}
    described = {option: arguments(function)[option] for option, function in shared.items()}
    described |= arguments(metric.function)
    hints = get_type_hints(metric.record, include_extras=True)
    options = _options(name, "metrics", metric.options, hints, described)
    return _page(name, metric.title, metric.function, facts, options)


def _page(
    name: str, title: str, function: Callable[..., Any], facts: Mapping[str, str], options: Iterable[str]
) -> list[str]:
    """Title, text of the docstring with its formulas, facts, options, and the docstring's sections."""
    sections = parts(inspect.getdoc(function) or "")
    lines = [f"{name}: {title}", ""]
    for part in sections:
        if not part.head:
            lines += [*_wrapped(part.body, "  "), ""]
    for fact, value in facts.items():
        lines += _wrapped(value, f"  {fact:11s} ", " " * 14) if value else []
    lines += ["", *options]
    for part in sections:
        if part.head in SHOWN:
            lines += ["", part.head, *_wrapped(_RESULT.sub("A", part.body), "  ")]
    return lines


def _options(
    name: str, flag: str, options: Mapping[str, Any], hints: Mapping[str, Any], described: Mapping[str, str]
) -> list[str]:
    """A paragraph for each option: its values, its default, what it does."""
    if not options:
        return ["Options: none"]
    lines = [f"Options, as in --{flag} {name}:{_example(options, hints)}"]
    for option, default in options.items():
        lines += _wrapped(f"{option}={values(hints[option])}; default {_text(default)}", "  ", " " * 6)
        lines += _wrapped(described.get(option, ""), " " * 6)
    return lines


def _example(options: Mapping[str, Any], hints: Mapping[str, Any]) -> str:
    """An option with another value than its default, where one with choices is among them."""
    for option, default in options.items():
        others = [value for value in get_args(hints[option]) if value != default]
        if get_origin(hints[option]) is Literal and others:
            return f"{option}={_text(others[0])}"
    option = next(iter(options))
    return f"{option}={_text(options[option])}"


def values(hint: Any) -> str:
    """The values that an option takes on the command line, by its annotation.

    Example:
        >>> from typing import Literal
        >>> from vitjax.cli.describe import values
        >>> values(Literal["mean", "max"]), values(int | None)
        ('mean|max', 'a whole number or none')
    """
    inner = get_args(hint)
    if get_origin(hint) is Annotated:
        limits = [_within(choice) for choice in inner[1:] if isinstance(choice, Range)]
        return " ".join([values(inner[0]), *filter(None, limits)])
    if get_origin(hint) is Literal:
        return "|".join(map(_text, inner))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(values, inner))
    if get_origin(hint) is tuple:
        return f"a list in brackets, each {values(inner[0])}"
    words = {int: "a whole number", float: "a number", bool: "true|false", str: "a text", NoneType: "none"}
    return words.get(hint, "a value")


def _within(limits: Range) -> str:
    """A range in words; an upper end that is no part of a formula is left out."""
    if limits.high not in LARGEST:
        return str(limits)
    return "" if limits.low == -limits.high else f"{'above' if limits.open_low else 'at least'} {limits.low:g}"


def _text(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"[{','.join(map(_text, value))}]" if isinstance(value, tuple) else str(value)


def _wrapped(text: str, indent: str, following: str | None = None) -> list[str]:
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    return textwrap.wrap(
        " ".join(text.split()),
        width,
        initial_indent=indent,
        subsequent_indent=indent if following is None else following,
        break_long_words=False,
        break_on_hyphens=False,
    )
