"""Docstrings as reStructuredText, for the API reference: autodoc and napoleon read what `as_rst` makes of them."""

from __future__ import annotations

import re
from typing import Any

import vitjax
from vitjax.cli.docstrings import ENTRY, HEADS, NOTATION, parts

SECTIONS = [head for head in HEADS if head not in ("Args", "Returns", "Raises", "Example", "Examples")]
"""Sections that napoleon does not know."""
EXAMPLE = ("Example", "Examples")
SPANS = re.compile(r"(`[^`]+`)")
LINKED = re.compile(rf"(vitjax\.)?({'|'.join(vitjax.__all__)})")
"""Names in backquotes that become links."""


def as_rst(app: Any, what: str, name: str, target: Any, options: Any, lines: list[str]) -> None:
    """Replace the lines of a docstring by the same text in reStructuredText; an event handler of autodoc.

    Every head stands on a line of its own, as napoleon expects, and what reStructuredText would take for markup is
    escaped. Examples stay as they are.
    """
    out: list[str] = []
    for head, body in parts("\n".join(lines)):
        if not head and _is_list_of_fields(body):
            head = "Attributes"
        text = body if head in EXAMPLE or head == NOTATION else escaped(body)
        if head:
            out += [f"{head}:", *(f"    {line}" for line in text.splitlines()), ""]
        else:
            out += [*text.splitlines(), ""]
    lines[:] = out


def _is_list_of_fields(body: str) -> bool:
    """Whether a paragraph describes the fields of a class, each as "name: text" with continued lines indented."""
    heads = [line for line in body.splitlines() if line and not line[0].isspace()]
    return all(ENTRY.fullmatch(line) for line in heads) and not body.startswith(">>>")


def escaped(text: str) -> str:
    """Text in which only code in backquotes, as in `x`, and doctests are markup."""
    return "\n".join(
        line
        if line.lstrip().startswith((">>> ", "... "))
        else "".join(_code(piece) if index % 2 else _escaped(piece) for index, piece in enumerate(SPANS.split(line)))
        for line in text.splitlines()
    )


def _code(span: str) -> str:
    return f":py:obj:{span}" if LINKED.fullmatch(span.strip("`")) else f"`{span}`"


def _escaped(text: str) -> str:
    text = re.sub(r"[\\*|]", r"\\\g<0>", text)
    return re.sub(r"_(?!\w)", r"\\_", text)
