"""A self-contained HTML page: images down, methods across, one click between overlay and photo."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.explaining.explanation import Explanation
from vitjax.methods import METHODS


def write_page(
    path: Path,
    title: str,
    explanations: dict[str, Explanation],
    *,
    scores: Sequence[dict[str, Any]] = (),
    note: str = "",
) -> Path:
    """Write the page to `path`; pictures are embedded, nothing is loaded from elsewhere.

    Args:
        explanations: by label, all of the same images; those of another model than the first's are shown with the
            photos as that model saw them and with its prediction.
        scores: rows of a table shown above the pictures, one dict per row with equal keys.
        note: a sentence under the title.
    """
    first = next(iter(explanations.values()))
    methods = []
    for label, each in explanations.items():
        method = METHODS[each.method]
        methods.append({"label": label, "title": method.title, "cite": method.cite, "cost": method.cost})
    rows = []
    for i, name in enumerate(first.images.ids):
        cells = []
        for each in explanations.values():
            cell = {"src": _embed(np.asarray(each.overlay(i))), "degenerate": bool(each.degenerate[i])}
            if each.model.name != first.model.name:
                cell |= {"photo": _embed(each.images.pixels[i]), "verdict": each.verdict(i)}
            cells.append(cell)
        photo = _embed(first.images.pixels[i])
        rows.append({"id": name, "photo": photo, "cells": cells, **first.caption(i)})
    page = _template().render(title=title, note=note, methods=methods, rows=rows, scores=list(scores))
    path.write_text(page)
    return path


@cache
def _template():
    import jinja2

    source = resources.files("vitjax.report").joinpath("templates/compare.html").read_text()
    return jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)


def _embed(pixels: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
