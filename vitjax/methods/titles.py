"""Display titles of methods, for figures, tables and pages: "Transformer-MM", with its reference where there is room.

A label is what `vitjax.explain_many` returns as a key: the method's name, the options that were given in parentheses,
and in front of it the name of another model if there is one: "rollout(head_fusion=max)", "resnet50 grad_cam".
"""

from __future__ import annotations

import re
from typing import NamedTuple

from vitjax.methods import METHODS

_REFERENCE = re.compile(r"([^\d:]+) ((?:19|20)\d\d)\b")
"""Authors and year at the start of a citation, "Chefer, Gur & Wolf 2021, Generic ..."."""
_LABEL = re.compile(r"(?:(?P<model>[^()]*) )?(?P<name>[^ ()]+)(?:\((?P<options>.*)\))?", re.DOTALL)


class Title(NamedTuple):
    """How a method is called in print.

    short: the title alone. full: with its reference in parentheses, or with the word "baseline".
    """

    short: str
    full: str


def titles() -> dict[str, Title]:
    """The titles of all registered methods, by name.

    Example:
        >>> vitjax.methods.titles.titles()["transformer_mm"]
        Title(short='Transformer-MM', full='Transformer-MM (Chefer et al., 2021)')
    """
    return {name: Title(title_of(name), title_of(name, full=True)) for name in METHODS}


def title_of(label: str, *, full: bool = False) -> str:
    """The title of a label; a label that names no registered method is returned as it is.

    Args:
        label: a key of `vitjax.explain_many`, or the name of a method.
        full: with the reference.

    Example:
        >>> vitjax.methods.titles.title_of("rollout(head_fusion=max)")
        'Attention rollout (head_fusion=max)'
        >>> vitjax.methods.titles.title_of("rollout(head_fusion=max)", full=True)
        'Attention rollout (head_fusion=max; Abnar & Zuidema, 2020)'
        >>> vitjax.methods.titles.title_of("resnet50 grad_cam")
        'Grad-CAM (resnet50)'
    """
    match = _LABEL.fullmatch(label)
    if match is None or match["name"] not in METHODS:
        return label
    method = METHODS[match["name"]]
    details = [match["model"], match["options"], reference(method.cite) if full else None]
    written = "; ".join(detail for detail in details if detail)
    return f"{method.title} ({written})" if written else method.title


def reference(cite: str) -> str:
    """Authors and year of a citation, as they stand in a sentence; "" if it does not begin with them.

    Example:
        >>> vitjax.methods.titles.reference("Chefer, Gur & Wolf 2021, Generic Attention-model Explainability")
        'Chefer et al., 2021'
        >>> vitjax.methods.titles.reference("baseline: uniform noise")
        'baseline'
    """
    if cite.startswith("baseline"):
        return "baseline"
    match = _REFERENCE.match(cite)
    if match is None:
        return ""
    authors, year = match.groups()
    names = re.split(r", | & ", authors.rstrip(","))
    return f"{names[0]} et al., {year}" if len(names) > 2 else f"{' & '.join(names)}, {year}"
