"""Docstrings in Google's style: their sections, the entries of a section, and the descriptions of arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from vitjax import metrics

NOTATION = "Notation of the docstrings"
HEADS = ("Args", "Returns", "Raises", "Source", "Cost", "Differs from reference", "Example", "Examples", NOTATION)
HEAD = re.compile(rf"({'|'.join(HEADS)}):(?:\s+|$)(.*)")
ENTRY = re.compile(r"([\w.]+(?:, [\w.]+)*): *(.*)")
REFERENCE = re.compile(r"as for `(\w+)`[.;]?\s*(.*)", re.DOTALL)


class Part(NamedTuple):
    """A part of a docstring: a section under one of HEADS, or a paragraph, whose head is ""."""

    head: str
    body: str


def parts(text: str) -> list[Part]:
    """The parts of a docstring in order. A section ends at the next head, or at a paragraph that is not indented."""
    text = re.sub(r"(?<=\.)\s(?=Differs from reference: )", "\n", text)
    sections: list[tuple[str, list[str]]] = []
    after_blank = True
    for line in text.splitlines():
        head = HEAD.match(line)
        if head:
            sections.append((head[1], [head[2]]))
        elif after_blank and line[:1].strip():
            sections.append(("", [line]))
        elif sections:
            sections[-1][1].append(line)
        after_blank = not line.strip()
    return [Part(head, inspect.cleandoc("\n".join(lines))) for head, lines in sections]


def entries(body: str) -> dict[str, str]:
    """The descriptions in a section of the form "name: description", by name; a name may be several names, "a, b"."""
    texts: dict[str, str] = {}
    name = ""
    for line in body.splitlines():
        entry = ENTRY.match(line)
        if entry:
            name = entry[1]
            texts[name] = entry[2]
        elif name:
            texts[name] += " " + line.strip()
    return texts


def arguments(function: Callable[..., Any]) -> dict[str, str]:
    """Descriptions of the arguments by name; "as for `iou`" is replaced by the description at that metric."""
    body = "\n".join(part.body for part in parts(inspect.getdoc(function) or "") if part.head == "Args")
    whole = REFERENCE.match(body)
    if whole:
        return _arguments_of_metric(whole[1])
    texts = {}
    for names, text in entries(body).items():
        reference = REFERENCE.match(text)
        others = _arguments_of_metric(reference[1]) if reference else {}
        for name in names.split(", "):
            remark = reference[2] if reference and f"`{name}`" in reference[2] else ""
            texts[name] = f"{others[name]} {remark}".strip() if name in others else text
    return texts


def _arguments_of_metric(name: str) -> dict[str, str]:
    function = getattr(metrics, name, None)
    return arguments(function) if function else {}
