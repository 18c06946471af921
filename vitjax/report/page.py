"""report.html: everything a run found on one page that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from vitjax.errors import VitjaxError
from vitjax.report.extremes import Extremes
from vitjax.report.facts import flat
from vitjax.report.layout import BEST, SECOND, Block, blocks, exclusions
from vitjax.report.summary import Summary
from vitjax.report.tables import caption

if TYPE_CHECKING:
    import jinja2
    from PIL.Image import Image as Picture

Pictures = Callable[[Sequence[str], str], Mapping[str, "Picture"]]
"""(image ids, method label) -> overlays by id; an id without one may be left out."""
THUMBNAIL = 224
RANKS = {BEST: "best", SECOND: "second", 0: ""}
NO_PICTURES = "No overlays here: model or data of the run were not at hand when this page was made."


def page(
    summary: Summary,
    config: Mapping[str, Any],
    *,
    facts: Sequence[tuple[str, str]] = (),
    extremes: Sequence[Extremes] = (),
    curves: bytes | None = None,
    pictures: Pictures | None = None,
) -> str:
    """The page as HTML.

    Args:
        summary: the figures.
        config: of the run, for the lists of methods and metrics.
        facts: (name, value) pairs on top.
        extremes: images to show; overlays of all of a method's are asked for at once.
        curves: a PNG.
        pictures: makes overlays; where it fails or is None, ids and values stand alone, with the reason.
    """
    shots, why = _thumbnails(extremes, pictures)
    data = config.get("data", "")
    data = data.get("source", data.get("name", "")) if isinstance(data, Mapping) else str(data)
    model = config.get("model", {})
    model = str(model.get("name", "")) if isinstance(model, Mapping) else str(model)
    found = blocks(summary)
    return _template().render(
        title=" on ".join(part for part in (model, data) if part) or "evaluation",
        mark=summary.mark,
        caption=caption(summary),
        facts=facts,
        scores=[_view(block) for block in found if block.kind == "scores"],
        differences=[_view(block) for block in found if block.kind == "differences"],
        baseline=summary.baseline,
        statuses=_statuses(summary),
        excluded=_excluded(summary),
        curves=_uri("image/png", curves) if curves else None,
        extremes=extremes,
        shots=shots,
        why=why,
        methods=_methods(config),
        metrics=_metrics(summary, config),
        listed=summary.coverage.listed,
        ci=f"{100 * summary.ci:g}",
        resamples=summary.resamples,
    )


def _view(block: Block) -> dict[str, Any]:
    """A block with places on a common scale for the interval bars of each column."""
    scales = [_scale([cells[i].limits for _, cells in block.rows], block.kind) for i in range(len(block.headings))]
    rows = []
    for method, cells in block.rows:
        shown = []
        for cell, scale in zip(cells, scales, strict=True):
            bar = None
            if scale and not math.isnan(cell.limits[0]):
                low, at, high = (_place(number, scale) for number in (cell.limits[0], cell.number, cell.limits[1]))
                bar = {"low": low, "at": at, "width": max(round(high - low, 2), 0.8), "zero": _zero(block, scale)}
            sort = "" if math.isnan(cell.number) else repr(cell.number)
            faint = block.kind == "differences" and cell.limits[0] <= 0 <= cell.limits[1]
            shown.append({"cell": cell, "rank": RANKS[cell.rank], "bar": bar, "sort": sort, "faint": faint})
        rows.append({"method": method, "cells": shown})
    bound = re.compile(r" (?=[↑↓])")  # an arrow on a line of its own would look like another column's
    headings = [{"text": bound.sub("\N{NO-BREAK SPACE}", h.text), "title": h.title} for h in block.headings]
    return {"title": block.title, "headings": headings, "rows": rows}


def _scale(limits: Sequence[tuple[float, float]], kind: str) -> tuple[float, float] | None:
    ends = [end for pair in limits for end in pair if not math.isnan(end)]
    if kind == "differences":
        ends.append(0.0)
    return (min(ends), max(ends)) if len(ends) > 1 and max(ends) > min(ends) else None


def _place(number: float, scale: tuple[float, float]) -> float:
    return round(2 + 96 * (number - scale[0]) / (scale[1] - scale[0]), 2)


def _zero(block: Block, scale: tuple[float, float]) -> float | None:
    return _place(0.0, scale) if block.kind == "differences" else None


def _statuses(summary: Summary) -> dict[str, Any]:
    """One row for each method: how many were listed, and what became of them."""
    from vitjax.rundir.schema import STATUSES

    names = dict.fromkeys(name for found in summary.coverage.statuses.values() for name in found)
    names = {"ok": None, **names}
    rows = [
        {"method": method, "counts": [found.get(name, 0) for name in names], "sum": sum(found.values())}
        for method, found in summary.coverage.statuses.items()
    ]
    headings = [("evaluated" if name == "ok" else name.replace("_", " "), STATUSES.get(name, "")) for name in names]
    return {"headings": headings, "rows": rows}


def _excluded(summary: Summary) -> list[dict[str, Any]]:
    """Figures that lack evaluated images, too: the same reasons of several methods in one line."""
    found: dict[tuple[str, str], list[str]] = {}
    for (method, name), row in summary.rows.items():
        statuses = summary.coverage.statuses[method]
        own = {reason: count for reason, count in row.excluded.items() if reason not in statuses}
        if own:
            found.setdefault((name, exclusions(own)), []).append(method)
    everyone = len(summary.methods)
    return [
        {"figure": name, "why": why, "methods": "all methods" if len(who) == everyone > 1 else ", ".join(who)}
        for (name, why), who in found.items()
    ]


def _methods(config: Mapping[str, Any]) -> list[dict[str, str]]:
    from vitjax.methods import METHODS

    found = []
    for each in config["methods"]:
        method = METHODS.get(each.get("method", each["label"]))
        title, cite = (method.title, method.cite) if method is not None else ("", "")
        found.append({"label": each["label"], "title": title, "cite": cite, "options": _options(each)})
    return found


def _metrics(summary: Summary, config: Mapping[str, Any]) -> list[dict[str, str]]:
    metrics = {shown.label: shown.metric for shown in summary.figures.values()}
    options = {each["label"]: _options(each) for each in config["metrics"]}
    return [
        {"label": label, "title": m.title, "cite": m.cite, "family": m.family, "options": options.get(label, "")}
        for label, m in metrics.items()
    ]


def _options(each: Mapping[str, Any]) -> str:
    return "; ".join(f"{name} = {value}" for name, value in flat(each.get("options", {})))


def _thumbnails(extremes: Sequence[Extremes], pictures: Pictures | None) -> tuple[dict[tuple[str, str], str], str]:
    """Data URIs by (method, image id), and why there are none."""
    if pictures is None:
        return {}, NO_PICTURES
    wanted: dict[str, dict[str, None]] = {}
    for each in extremes:
        ids = wanted.setdefault(each.method, {})
        ids.update(dict.fromkeys(shot.image_id for shot in (*each.best, *each.worst)))
    shots = {}
    try:
        for method, ids in wanted.items():
            for name, picture in pictures(list(ids), method).items():
                shots[method, name] = _thumbnail(picture)
    except VitjaxError as error:
        return shots, f"Some overlays are missing: {error}"
    return shots, ""


def _thumbnail(picture: Picture | np.ndarray) -> str:
    from PIL import Image

    image = (picture if isinstance(picture, Image.Image) else Image.fromarray(np.asarray(picture))).convert("RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return _uri("image/jpeg", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64," + base64.b64encode(data).decode()


@cache
def _template() -> jinja2.Template:
    import jinja2

    source = resources.files("vitjax.report").joinpath("templates/report.html").read_text()
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(source)
