"""Curve columns of the records -> plot panels: the mean curve of each method, with bands for the highlighted ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vitjax.plots.curves import Line, Panel, prominent
from vitjax.report.records import Records
from vitjax.report.statistics import band
from vitjax.report.summary import Summary, run_metrics

if TYPE_CHECKING:
    from vitjax.metrics.contract import Metric


def panels(
    config: Mapping[str, Any],
    records: Records,
    summary: Summary,
    metrics: Mapping[str, Metric] | None = None,
) -> list[Panel]:
    """One panel for each curve column of the run's metrics, except columns without a single usable curve.

    A curve is usable if the image was evaluated with the method and the curve is finite throughout.

    Args:
        config: of the run; see `summary.summarise`.
        records: of the run.
        summary: of the same records.
        metrics: metrics by name; by default `vitjax.metrics.METRICS`.
    """
    plotted = []
    for label, metric, options in run_metrics(config, metrics):
        for column, x in metric.curves(options).items():
            name = f"{label}.{column}"
            x = np.asarray(range(records.levels(name)) if x is None else x, np.float64)
            if len(x) < 2:
                continue
            means = {}
            for method in summary.methods:
                values = _finite(records, name, method, len(x))
                if len(values):
                    means[method] = values.mean(axis=0)
            if means:
                title = f"{label}: {column.removesuffix('_curve').replace('_', ' ')}" if column != "curve" else label
                plotted.append(_panel(title, name, means, records, summary, *_axis(x, metric, options)))
    return plotted


def _panel(
    title: str,
    name: str,
    means: dict[str, np.ndarray],
    records: Records,
    summary: Summary,
    x: np.ndarray,
    x_label: str,
) -> Panel:
    order = np.argsort(x, kind="stable")
    lines = {}
    for method in prominent(means, always=[summary.baseline] if summary.baseline else []):
        values = _finite(records, name, method, len(x))
        low, high = band(values, ci=summary.ci, resamples=summary.resamples)
        lines[method] = Line(means[method][order], low[order], high[order])
    others = {method: mean[order] for method, mean in means.items() if method not in lines}
    return Panel(title, x[order], x_label, lines, others)


def _finite(records: Records, name: str, method: str, levels: int) -> np.ndarray:
    """Usable curves of a method, [images, levels].

    Read once for the mean and again for the band, because the curves of all methods may take gigabytes.
    """
    values = records.curve(name, method, levels)
    states, codes = records.coded("status")
    ok = codes[records.rows[method]] == (states.index("ok") if "ok" in states else -1)
    return values[ok & np.isfinite(values).all(axis=1)]


def _axis(x: np.ndarray, metric: Metric, options: Mapping[str, Any]) -> tuple[np.ndarray, str]:
    """(x values as drawn, axis label). Pixel counts become percentages of the pixels.

    x is 0, 1, 2 ... for curves in equal steps from no pixel to all pixels; other x values are percentages or shares.
    """
    if metric.family == "randomisation":
        return x, "cut"
    if metric.family != "faithfulness" or options.get("steps") is not None:
        return x, "step"
    verb = "inserted" if "insertion" in metric.title.lower() else "removed"
    equal_steps = (x == np.arange(len(x))).all()
    percent = 100 * x / (len(x) - 1) if equal_steps else 100 * x if x.max() <= 1 else x
    return percent, f"pixels {verb} (%)"
