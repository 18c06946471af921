"""Curve columns of the records -> plot panels: mean curves with bands of the named methods, and pale ones of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vitjax.plots.curves import MOST, Line, Panel
from vitjax.report.records import Records
from vitjax.report.shown import run_metrics
from vitjax.report.statistics import band
from vitjax.report.summary import BASELINES, Summary

if TYPE_CHECKING:
    from vitjax.metrics.contract import Metric


class Means(NamedTuple):
    """Mean curves of one column of the records.

    Attributes:
        column: its name in the records.
        title: of the panel.
        x: [levels]. axes: titles of x and y.
        sign: 1 if higher curves are better, -1 if lower ones are, 0 if neither is.
        curves: [levels] by method label.
    """

    column: str
    title: str
    x: np.ndarray
    axes: tuple[str, str]
    sign: int
    curves: dict[str, np.ndarray]


def panels(
    config: Mapping[str, Any],
    records: Records,
    summary: Summary,
    metrics: Mapping[str, Metric] | None = None,
    names: Sequence[str] | None = None,
) -> list[Panel]:
    """One panel for each curve column of the run's metrics, except columns without a single usable curve.

    A curve is usable if the image was evaluated with the method and the curve is finite throughout. The same methods
    are named in all panels, see `named`.

    Args:
        config: of the run; see `summary.summarise`.
        records: of the run.
        summary: of the same records.
        metrics: metrics by name; by default `vitjax.metrics.METRICS`.
        names: statistics whose curves are drawn, with the curves that belong to none; None draws all.
    """
    drawn = _means(config, records, summary, metrics, names)
    chosen = named(summary, drawn)
    return [_panel(means, chosen, records, summary) for means in drawn]


def named(summary: Summary, drawn: Sequence[Means], most: int = MOST) -> list[str]:
    """Methods to name, in the order of the run: all if there are at most `most`; else the baselines and the methods of
    the best mean rank over the panels whose better direction is known."""
    methods = [method for method in summary.methods if any(method in means.curves for means in drawn)]
    if len(methods) <= most:
        return methods
    ranks: dict[str, list[int]] = {method: [] for method in methods}
    for means in drawn:
        heights = {method: means.sign * float(curve.mean()) for method, curve in means.curves.items()}
        for rank, method in enumerate(sorted(heights, key=lambda method: -heights[method])):
            ranks[method].append(rank if means.sign else 0)
    fixed = [method for method in methods if method == summary.baseline or method in BASELINES][:most]
    others = sorted((method for method in methods if method not in fixed), key=lambda method: np.mean(ranks[method]))
    chosen = {*fixed, *others[: most - len(fixed)]}
    return [method for method in methods if method in chosen]


def _means(
    config: Mapping[str, Any],
    records: Records,
    summary: Summary,
    metrics: Mapping[str, Metric] | None,
    names: Sequence[str] | None,
) -> list[Means]:
    result = []
    for label, metric, options in run_metrics(config, metrics):
        for curve, x in metric.curves(options).items():
            own = curve.removesuffix("curve").removesuffix("_")
            shown = summary.figures.get(f"{label} {own}" if own else label)
            if names is not None and shown is not None and shown.name not in names:
                continue
            column = f"{label}.{curve}"
            axes = metric.axes(curve, options)
            x = _levels(records.levels(column), axes[0]) if x is None else np.asarray(x, np.float64)
            if len(x) < 2:
                continue
            means = {}
            for method in summary.methods:
                values = _finite(records, column, method, len(x))
                if len(values):
                    means[method] = values.mean(axis=0)
            if means:
                title = shown.title if shown else f"{metric.title}, {own.replace('_', ' ')}".removesuffix(", ")
                sign = {"higher": 1, "lower": -1, None: 0}[shown.better if shown else None]
                result.append(Means(column, title, x, axes, sign, means))
    return result


def _levels(count: int, title: str) -> np.ndarray:
    """x values of a curve in equal steps: 0, 1, 2 ..., or 0 to 100 if the title of x says percent."""
    return np.linspace(0, 100, count) if title.endswith("(%)") else np.arange(count, dtype=np.float64)


def _panel(means: Means, chosen: Sequence[str], records: Records, summary: Summary) -> Panel:
    order = np.argsort(means.x, kind="stable")
    lines = {}
    for method in chosen:
        if method in means.curves:
            values = _finite(records, means.column, method, len(means.x))
            low, high = band(values, ci=summary.ci, resamples=summary.resamples)
            lines[summary.titles[method]] = Line(means.curves[method][order], low[order], high[order])
    others = [curve[order] for method, curve in means.curves.items() if method not in chosen]
    return Panel(means.title, means.x[order], means.axes, lines, others)


def _finite(records: Records, name: str, method: str, levels: int) -> np.ndarray:
    """Usable curves of a method, [images, levels].

    Read once for the mean and again for the band, because the curves of all methods may take gigabytes.
    """
    values = records.curve(name, method, levels)
    states, codes = records.coded("status")
    ok = codes[records.rows[method]] == (states.index("ok") if "ok" in states else -1)
    return values[ok & np.isfinite(values).all(axis=1)]
