"""Writes docs/methods.md, docs/metrics.md, docs/models.md and a table of docs/choosing-a-method.md: `python -m
docs.generate`."""

from __future__ import annotations

import doctest
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from docs.models_page import models_page
from docs.tradeoffs import with_table
from vitjax import methods, metrics
from vitjax.cli.docstrings import NOTATION, arguments, entries, parts
from vitjax.methods.contract import Method
from vitjax.metrics.contract import Metric, Statistic
from vitjax.metrics.masks import map_and_mask

DOCS = Path(__file__).parent
SPANS = re.compile(r"(`[^`]+`\s*)+")
"""A text of nothing but code in backquotes."""
LEVELS = {"token": "patch grid", "pixel": "pixels"}
NEEDS = {
    "class_token": "a class token",
    "head": "a head",
    "mask": "object masks",
    "label": "labels",
    "explainer": "further explanations",
}
NEEDS_OF_METHODS = {
    "class_token": "needs a model with a class token",
    "head": "explains a class, or the feature that the target names",
    "probability": "needs a model with a head",
    "feature_map": "needs a feature map that a function returns",
}


# ---- Markdown


def prose(text: str) -> str:
    """Text as one line of Markdown that shows every character of it; `code` stays code."""
    pieces = re.split(r"(`[^`]+`)", " ".join(text.split()))
    line = "".join(piece if index % 2 else _escaped(piece) for index, piece in enumerate(pieces))
    return re.sub(r"^(?=[#>|+-]|\d+[.)] )", r"\\", line)


def _escaped(text: str) -> str:
    text = re.sub(r"[\\`*$]", r"\\\g<0>", text)
    text = re.sub(r"(?<!\w)_|~(?=\S)|<(?=[\w/!?])", r"\\\g<0>", text)  # an underscore after a letter is no emphasis
    return text.replace("](", "]\\(")


def code(value: Any) -> str:
    """A value of Python as code; long tuples are shortened."""
    if isinstance(value, tuple) and len(value) > 6:
        return f"`({', '.join(map(repr, value[:3]))}, ..., {value[-1]!r})`"
    return f"`{json.dumps(value) if isinstance(value, str) else repr(value)}`"


def block(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def example(body: str) -> str:
    """An example as a block of Python: statements in backquotes, or a doctest, whose results become comments."""
    if ">>> " not in body and not SPANS.fullmatch(body):
        return prose(body)
    lines: list[str] = []
    for piece in doctest.DocTestParser().parse(body):
        if isinstance(piece, doctest.Example):
            lines.append(re.sub(r"\s*# doctest:.*", "", piece.source).rstrip())
            lines += [f"# {line}".rstrip() for line in piece.want.splitlines()]
        elif SPANS.fullmatch(piece.strip()):
            lines += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", piece)]
        else:
            lines += [f"# {line.strip()}" for line in piece.splitlines() if line.strip()]
    return block("python", "\n".join(lines))


def accepted(hint: Any) -> str:
    """The values that an annotation allows: choices, or names of types."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple:
        return f"tuple of {accepted(inner[0])}"
    if inner:
        *first, last = map(code if origin is Literal else accepted, inner)
        return f"{', '.join(first)} or {last}" if first else last
    return "None" if hint is NoneType else getattr(hint, "__name__", str(hint))


def option_list(options: Mapping[str, Any], hints: Mapping[str, Any], described: Mapping[str, str]) -> str:
    lines = [
        f"- `{name}` ({accepted(hints[name])}; default {code(default)}): {prose(described.get(name, 'not described'))}"
        for name, default in options.items()
    ]
    return "\n".join(["**Options**", "", *lines]) if lines else "**Options**: none."


def argument_list(function: Callable[..., Any], leave_out: Iterable[str], described: Mapping[str, str]) -> str:
    names = [name for name in inspect.signature(function).parameters if name not in leave_out]
    lines = [f"- `{name}`: {prose(described.get(name, 'not described'))}" for name in names]
    return "\n".join(["**Arguments**", "", *lines])


def body_of(docstring: str, lists: Iterable[str]) -> list[str]:
    """The docstring as paragraphs of Markdown: first its text, then `lists` (options, arguments), then its sections."""
    found = [part for part in parts(docstring) if part.head != "Args"]
    first_section = next((index for index, part in enumerate(found) if part.head), len(found))
    paragraphs = [_paragraph(head, body, index == 0) for index, (head, body) in enumerate(found)]
    return [*paragraphs[:first_section], *lists, *paragraphs[first_section:]]


def _paragraph(head: str, body: str, is_summary: bool) -> str:
    if head == "Raises" and entries(body):
        return "\n".join(["**Raises**", "", *(f"- `{name}`: {prose(text)}" for name, text in entries(body).items())])
    if head in ("Example", "Examples"):
        return f"**Example**\n\n{example(body)}"
    if head:
        return f"**{head}**: {prose(body)}"
    is_formula = " = " in re.sub(r"`[^`]+`", "", body) and not is_summary
    return block("text", body.replace("`", "")) if is_formula else prose(body)


# ---- pages


def methods_page() -> str:
    notation = [part.body for part in parts(inspect.getdoc(methods) or "") if part.head == NOTATION]
    rows = (
        (
            f"[`{name}`](#{name})",
            prose(method.cite),
            _levels(method),
            _cost(method),
            "yes" if method.class_specific else "no",
            "yes" if method.cnn is not None else "no",
        )
        for name, method in methods.METHODS.items()
    )
    return "\n\n".join(
        [
            "# Methods",
            "All explanation methods of `vitjax.METHODS`, from their docstrings (`python -m docs.generate` writes this "
            "page).",
            "Cost is per image, in forward passes (F) and backward passes (B) of the model; methods marked slow are "
            "left out of `--methods all`. A map on the patch grid has one value for each patch, a map in pixels one "
            "for each pixel. A method that is not class-specific gives the same map for every class. On the command "
            "line, options follow the name: `gmar:norm=l2`. The default options are the formula of the paper.",
            table(["method", "paper", "level", "cost", "class-specific", "also on a ResNet"], rows),
            *(["## Notation", block("text", notation[0])] if notation else []),
            "## Formulas and options",
            *(_method_section(name, method) for name, method in methods.METHODS.items()),
        ]
    )


def _cost(method: Method) -> str:
    return f"{method.cost}, slow" if method.slow else method.cost


def _levels(method: Method) -> str:
    """Level of the default map, then the one that the option `at` gives."""
    default = method.level_of(method.options)
    other = {"token": "pixels", "pixel": "tokens"}[default]
    suffix = f', {LEVELS[method.level_of({"at": other})]} with `at="{other}"`' if "at" in method.options else ""
    return LEVELS[default] + suffix


def _method_section(name: str, method: Method) -> str:
    facts = [
        f"map: {_levels(method)}",
        f"cost: {_cost(method)}",
        "class-specific" if method.class_specific else "class-agnostic",
        *(NEEDS_OF_METHODS[need] for need in sorted(method.needs)),
        *(["also on a ResNet and on a function"] if method.cnn is not None else []),
        *(["complete: the map sums to the difference of the score to that of the baseline"] * method.complete),
        *(["ill-conditioned in float32"] * method.ill_conditioned),
    ]
    options = option_list(method.options, get_type_hints(method.definition), arguments(method.definition))
    body = body_of(inspect.getdoc(method.definition) or "", [options])
    head = [f"### {name}", f"{prose(method.title)}; {'; '.join(facts)}.", prose(method.cite) + "."]
    return "\n\n".join([*head, f"**Use when** {prose(method.use_when)}.", *body])


def metrics_page() -> str:
    rows = (
        (f"[`{name}`](#{name})", prose(metric.cite), metric.family, metric.cost, _needs(metric) or "-", _better(metric))
        for name, metric in metrics.METRICS.items()
    )
    return "\n\n".join(
        [
            "# Metrics",
            "All metrics of `vitjax.METRICS`, from their docstrings (`python -m docs.generate` writes this page).",
            "Cost is per map, in forward passes (F) of the model and explanations (E) of the image. A metric is also "
            "a function of the arrays of one image, `vitjax.metrics.NAME`; arguments are those of the function, "
            "options those of the metric in an evaluation. On the command line, options follow the name: "
            "`iou:threshold=0.5,resolution=grid`.",
            table(["metric", "paper", "family", "cost", "needs", "better"], rows),
            "## Formulas and options",
            *(_metric_section(name, metric) for name, metric in metrics.METRICS.items()),
        ]
    )


def _needs(owner: Method | Metric) -> str:
    return " and ".join(NEEDS.get(need, need) for need in sorted(owner.needs))


def _better(metric: Metric) -> str:
    """The direction that is better, of each statistic if they differ."""
    statistics: Mapping[str, Statistic] = metric.figures(metric.options)
    directions = {name: statistic.better or "neither" for name, statistic in statistics.items()}
    if len(set(directions.values())) == 1:
        return next(iter(directions.values()))
    return ", ".join(f"`{name}` {better}" if name else better for name, better in directions.items())


def _metric_section(name: str, metric: Metric) -> str:
    function = metric.function
    statistics = list(metric.figures(metric.options))
    in_tables = ", ".join(f"`{f'{name} {each}'.strip()}`" for each in statistics)
    facts = [
        f"family: {metric.family}",
        f"cost: {metric.cost}",
        *([f"needs {_needs(metric)}"] if metric.needs else []),
        f"better: {_better(metric)}",
        *([f"in tables: {in_tables}"] if statistics != [""] else []),
    ]
    described = {**_of_evaluations(), **arguments(function)}
    lists = [
        argument_list(function, metric.options, described),
        option_list(metric.options, get_type_hints(metric.record), described),
    ]
    body = body_of(inspect.getdoc(function) or "", lists)
    head = [f"### {name}", f"{prose(metric.title)}; {'; '.join(facts)}.", prose(metric.cite) + "."]
    return "\n\n".join([*head, f"**Use when** {prose(metric.use_when)}.", *body])


def _of_evaluations() -> dict[str, str]:
    """Options that most metrics have in evaluations only, because their functions take map and mask as they are."""
    of: dict[str, Callable[..., Any]] = {"resolution": map_and_mask, "mask_to_grid": metrics.focus}
    return {name: f"{arguments(function)[name]} Only in evaluations." for name, function in of.items()}


def pages() -> dict[str, str]:
    """The content of every generated page, by file name."""
    content = {"methods.md": methods_page(), "metrics.md": metrics_page(), "models.md": models_page(prose, table)}
    choosing = "choosing-a-method.md"
    return {
        **{name: page + "\n" for name, page in content.items()},
        choosing: with_table((DOCS / choosing).read_text(encoding="utf-8"), table),
    }


if __name__ == "__main__":
    for name, content in pages().items():
        (DOCS / name).write_text(content, encoding="utf-8")
        print(DOCS / name)
