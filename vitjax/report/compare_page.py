"""A self-contained HTML page of overlays: one row per image, one column per method; a click toggles to the photo."""

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
from vitjax.explaining.figure_grid import AGNOSTIC
from vitjax.methods import METHODS
from vitjax.output.files import write_text


def write_page(
    path: Path,
    title: str,
    explanations: dict[str, Explanation],
    *,
    scores: Sequence[dict[str, Any]] = (),
    note: str = "",
) -> Path:
    """Write the page to `path`. Images are embedded; the page loads no other files.

    Args:
        path: the HTML file.
        title: heading of the page.
        explanations: by label, all of the same images. Explanations of a model other than the first one's are shown
            with the photos as cropped for that model and with its predictions.
        scores: rows of a table above the overlays, one dict per row, all with the same keys.
        note: a sentence under the title.

    Returns:
        `path`.

    Raises:
        OutputError: the file cannot be written.
    """
    first = next(iter(explanations.values()))
    methods = []
    for label, explanation in explanations.items():
        method = METHODS[explanation.method]
        of_method = {"title": method.title, "cite": method.cite, "cost": method.cost}
        methods.append({"label": label, "class_agnostic": explanation.class_agnostic, **of_method})
    rows = []
    for i, name in enumerate(first.images.ids):
        cells = []
        for explanation in explanations.values():
            cell = {"src": _embed(np.asarray(explanation.overlay(i))), "degenerate": bool(explanation.degenerate[i])}
            if explanation.model.name != first.model.name:
                cell |= {"photo": _embed(explanation.images.pixels[i]), "verdict": explanation.verdict(i)}
            cells.append(cell)
        photo = _embed(first.images.pixels[i])
        rows.append({"id": name, "photo": photo, "cells": cells, **first.caption(i)})
    page = _template().render(
        title=title, note=note, methods=methods, rows=rows, scores=list(scores), agnostic=AGNOSTIC
    )
    return write_text(path, page)


@cache
def _template() -> Any:
    import jinja2

    source = resources.files("vitjax.report").joinpath("templates/compare.html").read_text(encoding="utf-8")
    return jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)


def _embed(pixels: np.ndarray) -> str:
    """uint8 [H, W, 3] as a data URI of a PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
