"""A self-contained HTML page of overlays: a row per image or target, a column per method; a click shows the photo."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.explaining.explanation import Explanation
from vitjax.explaining.figure import masks_of_maps
from vitjax.explaining.figure_grid import AGNOSTIC, NO_BREAK, mask_as_seen
from vitjax.explaining.figure_options import DEFAULT, FigureOptions
from vitjax.explaining.probabilities import with_probability
from vitjax.methods import METHODS
from vitjax.output.files import write_text
from vitjax.output.wording import ordinal
from vitjax.plots.cells import outlines
from vitjax.report.pictures import svg_path


def write_page(
    path: Path,
    title: str,
    explanations: Mapping[str, Explanation],
    *,
    scores: Sequence[dict[str, Any]] = (),
    note: str = "",
    options: FigureOptions = DEFAULT,
    masks: Any = None,
) -> Path:
    """Write the page to `path`. Images are embedded; the page loads no other files.

    Where images have several targets, each has its row, and the maps of class-agnostic methods stand once for all rows
    of an image, next to it.

    Args:
        path: the HTML file.
        title: heading of the page.
        explanations: by label, all of the same images. Explanations of a model other than the first one's are shown
            with the photos as cropped for that model and with its predictions.
        scores: rows of a table above the overlays, one dict per row, all with the same keys.
        note: a sentence under the title.
        options: colours and percentile of the overlays.
        masks: as for `vitjax.figure`; their borders are drawn.

    Returns:
        `path`.

    Raises:
        OutputError: the file cannot be written.
    """
    of_maps = masks_of_maps(explanations, masks)
    if all(explanation.class_agnostic for explanation in explanations.values()):
        starts = next(iter(explanations.values())).starts
        of_maps = [of_maps[start] for start in starts] if of_maps is not None else None
        explanations = {label: explanation.distinct for label, explanation in explanations.items()}
    first = next(iter(explanations.values()))
    several = len(first.starts) < len(first)
    shared = {label for label, explanation in explanations.items() if several and explanation.class_agnostic}
    columns = {label: explanations[label] for label in sorted(explanations, key=lambda label: label not in shared)}

    def cell(label: str, index: int) -> dict[str, Any]:
        explanation = explanations[label]
        overlay = explanation.overlay(index, cmap=options.cmap, alpha=options.alpha, percentile=options.percentile)
        made = {
            "label": label,
            "src": _embed(np.asarray(overlay)),
            "degenerate": bool(explanation.degenerate[index]),
            **_contour(explanation, index, of_maps),
        }
        if explanation.model.name != first.model.name:
            made |= {"photo": _embed(explanation.images.pixels[index]), "verdict": explanation.verdict(index)}
        return made

    images = []
    for start, end in pairwise([*first.starts, len(first)]):
        rows = [
            {"cells": [cell(label, index) for label in columns if label not in shared], **_words(first.caption(index))}
            for index in range(start, end)
        ]
        cells = [cell(label, start) for label in columns if label in shared]
        photo = {"photo": _embed(first.images.pixels[start]), **_contour(first, start, of_maps)}
        images.append({"id": first.images.ids[start], **photo, "shared": cells, "rows": rows})
    page = _template().render(
        title=title,
        note=note,
        methods=[_described(label, explanation, label in shared) for label, explanation in columns.items()],
        images=images,
        several=several,
        targets_named=not all(explanation.class_agnostic for explanation in explanations.values()),
        scores=list(scores),
        agnostic=AGNOSTIC,
        percentile=None if options.percentile is None else ordinal(options.percentile),
        own_colours=options.cmap is not None,
    )
    return write_text(path, page)


def _words(caption: Mapping[str, Any]) -> dict[str, str]:
    """The predicted and the explained class with their probabilities; "" where there is none."""
    sigmoid = caption["sigmoid"]
    words = {
        role: with_probability(caption[role], caption[f"{role}_probability"], 1, NO_BREAK, sigmoid=sigmoid)
        for role in ("predicted", "target")
    }
    return words if caption["predicted_probability"] is not None else {**words, "predicted": ""}


def _contour(explanation: Explanation, index: int, masks: Sequence[Any] | None) -> dict[str, Any]:
    """The border of the mask, as the data of an SVG path in pixels of the model's input."""
    height, width = explanation.size
    if masks is None or masks[index] is None:
        return {"contour": ""}
    return {"contour": svg_path(outlines(mask_as_seen(explanation, index, masks[index]))), "size": (width, height)}


def _described(label: str, explanation: Explanation, shared: bool) -> dict[str, Any]:
    method = METHODS[explanation.method]
    of_method = {"title": method.title, "cite": method.cite, "cost": method.cost}
    return {"label": label, "class_agnostic": explanation.class_agnostic, "shared": shared, **of_method}


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
