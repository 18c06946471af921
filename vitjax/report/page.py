"""report.html: all results of a run on one self-contained page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from vitjax.plots.curves import MOST
from vitjax.report.extremes import Extremes
from vitjax.report.facts import flat
from vitjax.report.layout import BEST, SECOND, Block, blocks, exclusions
from vitjax.report.pictures import MakePictures, data_uri, thumbnails
from vitjax.report.style import TableStyle
from vitjax.report.summary import Summary
from vitjax.report.tables import caption

if TYPE_CHECKING:
    import jinja2

RANKS = {BEST: "best", SECOND: "second", 0: ""}


def page(
    summary: Summary,
    config: Mapping[str, Any],
    *,
    facts: Sequence[tuple[str, str]] = (),
    extremes: Sequence[Extremes] = (),
    curves: bytes | None = None,
    pictures: MakePictures | None = None,
    style: TableStyle | None = None,
) -> str:
    """The page as HTML.

    Args:
        summary: the statistics.
        config: of the run, for the lists of methods and metrics.
        facts: (name, value) pairs that describe the run.
        extremes: best and worst images.
        curves: PNG file of the curves.
        pictures: makes the overlays of the best and worst images, called once per method. If it is None or raises a
            VitjaxError, the page shows ids and values without overlays, and the reason.
        style: what the tables show.
    """
    style = style or TableStyle()
    made, remark = thumbnails(extremes, pictures)
    data = config.get("data", "")
    data = data.get("source", data.get("name", "")) if isinstance(data, Mapping) else str(data)
    model = config.get("model", {})
    model = str(model.get("name", "")) if isinstance(model, Mapping) else str(model)
    tables = blocks(summary, style)
    return _template().render(
        title=" on ".join(part for part in (model, data) if part) or "evaluation",
        mark=summary.mark,
        caption=caption(summary, intervals=style.intervals),
        facts=facts,
        scores=[_view(block) for block in tables if block.kind == "scores"],
        differences=[_view(block) for block in tables if block.kind == "differences"],
        costs=[_view(block) for block in tables if block.kind == "costs"],
        baseline=summary.baseline and summary.titles[summary.baseline],
        titles=summary.titles,
        intervals=style.intervals,
        most_named=MOST,
        statuses=_statuses(summary),
        excluded=_excluded(summary),
        curves=data_uri("image/png", curves) if curves else None,
        extremes=extremes,
        thumbnails=made,
        remark=remark,
        methods=_methods(config),
        metrics=_metrics(summary, config),
        listed=summary.coverage.listed,
        ci=f"{100 * summary.ci:g}",
        resamples=summary.resamples,
    )


def _view(block: Block) -> dict[str, Any]:
    """A block as the template draws it; the interval bars of each column share a scale."""
    columns = [[row.cells[i] for row in block.rows] for i in range(len(block.headings))]
    scales = [_scale([cell.limits for cell in column], block.kind) for column in columns]
    rows = []
    for row in block.rows:
        row_cells = []
        for cell, scale in zip(row.cells, scales, strict=True):
            bar = None
            if scale and cell.low:
                low, at, high = (_position(number, scale) for number in (cell.limits[0], cell.number, cell.limits[1]))
                bar = {"low": low, "at": at, "width": max(round(high - low, 2), 0.8), "zero": _zero(block, scale)}
            sort = "" if math.isnan(cell.number) else repr(cell.number)
            faint = block.kind == "differences" and cell.limits[0] <= 0 <= cell.limits[1]
            row_cells.append({"cell": cell, "rank": RANKS[cell.rank], "bar": bar, "sort": sort, "faint": faint})
        rows.append({"method": row.method, "title": row.title, "cells": row_cells})
    arrow_space = re.compile(r" (?=[↑↓(])")  # a line break here would put arrow or unit on a line of its own
    headings = [
        {"text": arrow_space.sub("\N{NO-BREAK SPACE}", heading.text), "description": heading.description}
        for heading in block.headings
    ]
    return {"title": block.title, "headings": headings, "rows": rows, "note": block.note}


def _scale(limits: Sequence[tuple[float, float]], kind: str) -> tuple[float, float] | None:
    """(lowest, highest) limit of a column, with 0 among differences; None if there is no range to draw."""
    bounds = [bound for pair in limits for bound in pair if not math.isnan(bound)]
    if kind == "differences":
        bounds.append(0.0)
    return (min(bounds), max(bounds)) if len(bounds) > 1 and max(bounds) > min(bounds) else None


def _position(number: float, scale: tuple[float, float]) -> float:
    """x coordinate in a bar that is 100 wide, with a margin of 2."""
    return round(2 + 96 * (number - scale[0]) / (scale[1] - scale[0]), 2)


def _zero(block: Block, scale: tuple[float, float]) -> float | None:
    return _position(0.0, scale) if block.kind == "differences" else None


def _statuses(summary: Summary) -> dict[str, Any]:
    """One row for each method: numbers of images by status."""
    from vitjax.rundir.schema import STATUSES

    names = dict.fromkeys(name for counts in summary.coverage.statuses.values() for name in counts)
    names = {"ok": None, **names}
    rows = [
        {
            "method": method,
            "counts": [counts.get(name, 0) for name in names],
            "sum": sum(counts.values()),
        }
        for method, counts in summary.coverage.statuses.items()
    ]
    headings = [("evaluated" if name == "ok" else name.replace("_", " "), STATUSES.get(name, "")) for name in names]
    return {"headings": headings, "rows": rows}


def _excluded(summary: Summary) -> list[dict[str, Any]]:
    """Statistics that exclude evaluated images, one line for all methods with the same reasons and numbers."""
    methods_of: dict[tuple[str, str], list[str]] = {}
    for (method, name), row in summary.rows.items():
        statuses = summary.coverage.statuses[method]
        own = {reason: count for reason, count in row.excluded.items() if reason not in statuses}
        if own:
            methods_of.setdefault((summary.figures[name].title, exclusions(own)), []).append(summary.titles[method])
    every = len(summary.methods)
    return [
        {"figure": name, "why": why, "methods": "all methods" if len(methods) == every > 1 else ", ".join(methods)}
        for (name, why), methods in methods_of.items()
    ]


def _methods(config: Mapping[str, Any]) -> list[dict[str, str]]:
    from vitjax.methods import METHODS

    rows = []
    for request in config["methods"]:
        method = METHODS.get(request.get("method", request["label"]))
        title, cite = (method.title, method.cite) if method is not None else ("", "")
        rows.append({"label": request["label"], "title": title, "cite": cite, "options": _options(request)})
    return rows


def _metrics(summary: Summary, config: Mapping[str, Any]) -> list[dict[str, str]]:
    metrics = {shown.label: shown.metric for shown in summary.figures.values()}
    options = {request["label"]: _options(request) for request in config["metrics"]}
    return [
        {"label": label, "title": m.title, "cite": m.cite, "family": m.family, "options": options.get(label, "")}
        for label, m in metrics.items()
    ]


def _options(request: Mapping[str, Any]) -> str:
    return "; ".join(f"{name} = {value}" for name, value in flat(request.get("options", {})))


@cache
def _template() -> jinja2.Template:
    import jinja2

    source = resources.files("vitjax.report").joinpath("templates/report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(source)
