"""Records -> one row per method and statistic: value, interval, images used and excluded, difference to a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vitjax.errors import unknown_name
from vitjax.report.invariant import Coverage, check
from vitjax.report.records import Records
from vitjax.report.shown import Shown, method_titles, shown_figures
from vitjax.report.statistics import RESAMPLES, SEED, Estimate, Sample, estimate

if TYPE_CHECKING:
    import pyarrow as pa

    from vitjax.metrics.contract import Metric

BASELINES = ("random", "centre")
"""Methods that are baselines by default, in order of preference."""
UNDEFINED, INFINITE = "undefined", "infinite"


class Row(NamedTuple):
    """The estimate of one statistic for one method.

    Attributes:
        method: label of the method.
        figure: name of the statistic.
        estimate: value, interval and number of images.
        excluded: numbers of excluded images by reason.
        difference: to the baseline, paired; None for the baseline itself and without a baseline.
    """

    method: str
    figure: str
    estimate: Estimate
    excluded: dict[str, int]
    difference: Estimate | None


@dataclass(frozen=True, eq=False)
class Summary:
    """All statistics of a run.

    Attributes:
        methods: labels in the order of the run.
        figures: statistics by name.
        rows: by (method label, statistic name).
        baseline: label of the method that differences refer to; None without one.
        ci: confidence level of the intervals.
        resamples: of the bootstrap.
        coverage: numbers of records by status, and the mark of a partial run.
        profile: measurements by method label; {} if nothing was measured.
        device: that the profile was measured on.
    """

    methods: tuple[str, ...]
    figures: dict[str, Shown]
    rows: dict[tuple[str, str], Row]
    baseline: str | None
    ci: float
    resamples: int
    coverage: Coverage
    profile: dict[str, dict[str, Any]]
    device: str

    @property
    def mark(self) -> str:
        """The mark of a partial run, for example "partial: 320 of 1000 images", which every table shows; else ""."""
        return self.coverage.mark

    @property
    def titles(self) -> dict[str, str]:
        """Titles of the methods in print, by label."""
        return method_titles(self.methods)


def summarise(
    config: Mapping[str, Any],
    records: pa.Table | Records,
    profile: Mapping[str, Any] | None = None,
    *,
    metrics: Mapping[str, Metric] | None = None,
    baseline: str | None = None,
    ci: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    partial: bool = False,
) -> Summary:
    """Every statistic of every method.

    Args:
        config: settings with "methods" (a list of {"label", "method", "options"}), "metrics" (a list of {"label",
            "metric", "options"}) and "count" (the number of images that the run evaluates).
        records: one row for each image and method.
        profile: {"methods": {label: {"images_per_second", "peak_memory_mib", ...}}, "device"}.
        metrics: metrics by name; by default `vitjax.metrics.METRICS`.
        baseline: label of the method that the others are compared with, over the images that both methods have; by
            default "random", else "centre", else none.
        ci: confidence level of the bootstrap intervals, in (0, 1).
        resamples, seed: of the bootstrap.
        partial: accept an unfinished run, and mark it.

    Raises:
        RunError: the records do not match the settings, see `invariant.check`, or a column is missing.
        UnknownNameError: baseline is not a method of the run, or a metric is not registered.
        ConfigError: ci is not between 0 and 1, or a metric's option is invalid.
    """
    methods = method_labels(config)
    records = records if isinstance(records, Records) else Records(records, methods)
    baseline = choose_baseline(config, baseline)
    coverage = check(records, methods, int(config["count"]), partial=partial)
    figures = shown_figures(config, metrics)
    keys, samples, excluded = [], [], []
    for shown in figures.values():
        used = {method: usable(records, method, shown) for method in methods}
        for method in methods:
            keys.append((method, shown.name))
            excluded.append(reasons(records, method, shown, used[method]))
            samples.append(Sample(shown.figure.aggregate, _values(records, shown, records.rows[method][used[method]])))
            samples.append(_paired(records, shown, method, baseline, used))
    estimates = estimate(samples, ci=ci, resamples=resamples, seed=seed)
    rows = {}
    for i, (method, name) in enumerate(keys):
        difference = estimates[2 * i + 1] if baseline not in (None, method) else None
        rows[method, name] = Row(method, name, estimates[2 * i], excluded[i], difference)
    profile = profile or {}
    measured = {label: dict(values) for label, values in profile.get("methods", {}).items() if label in methods}
    device = str(profile.get("device", ""))
    return Summary(methods, figures, rows, baseline, ci, resamples, coverage, measured, device)


def method_labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Labels of the methods in the order of the run."""
    return tuple(method["label"] for method in config["methods"])


def choose_baseline(config: Mapping[str, Any], baseline: str | None) -> str | None:
    """`baseline`, or by default the label of the run's first method among BASELINES, None without one.

    Raises:
        UnknownNameError: `baseline` is not a method of the run.
    """
    labels = method_labels(config)
    if baseline is not None:
        if baseline not in labels:
            raise unknown_name("method of this run", baseline, labels)
        return baseline
    for name in BASELINES:
        for method in config["methods"]:
            if method.get("method", method["label"]) == name:
                return method["label"]
    return None


def usable(records: Records, method: str, shown: Shown) -> np.ndarray:
    """bool [records of the method]: evaluated, and finite in every column of the statistic."""
    rows = records.rows[method]
    used = _is(records, "status", "ok", rows)
    for column in shown.columns:
        used &= np.isfinite(records.scalar(column)[rows])
    return used


def reasons(records: Records, method: str, shown: Shown, used: np.ndarray) -> dict[str, int]:
    """Numbers of excluded images by reason, most frequent first.

    The reason is the first that applies: a status other than "ok"; a state of the mask other than "object", if the
    metric needs a mask; a NaN in a column ("undefined"); an infinity in a column ("infinite"), which would make the
    mean infinite.

    Args:
        used: the result of `usable`.
    """
    rows = records.rows[method][~used]
    names, codes = records.coded("status")
    ok = _is(records, "status", "ok", rows)
    counts = {name: int(n) for name, n in zip(names, np.bincount(codes[rows][~ok], minlength=len(names)), strict=True)}
    rows = rows[ok]
    if "mask" in shown.metric.needs:
        names, codes = records.coded("mask_state")
        unusable = ~_is(records, "mask_state", "object", rows)
        state_counts = np.bincount(codes[rows][unusable], minlength=len(names))
        for name, n in zip(names, state_counts, strict=True):
            reason = "no mask" if name == "none" else name
            counts[reason] = counts.get(reason, 0) + int(n)
        rows = rows[~unusable]
    undefined = np.zeros(len(rows), bool)
    for column in shown.columns:
        undefined |= np.isnan(records.scalar(column)[rows])
    counts[UNDEFINED], counts[INFINITE] = int(undefined.sum()), int((~undefined).sum())
    return dict(sorted(((k, v) for k, v in counts.items() if v), key=lambda item: (-item[1], item[0])))


def _is(records: Records, column: str, value: str, rows: np.ndarray) -> np.ndarray:
    """bool [rows]: whether a text column has this value."""
    names, codes = records.coded(column)
    return codes[rows] == (names.index(value) if value in names else -1)


def _values(records: Records, shown: Shown, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(records.scalar(column)[rows] for column in shown.columns)


def _paired(
    records: Records, shown: Shown, method: str, baseline: str | None, used: Mapping[str, np.ndarray]
) -> Sample:
    """The difference to the baseline over the images that both methods have; 0 images without a baseline."""
    empty = Sample(shown.figure.aggregate, tuple(np.empty(0) for _ in shown.columns))
    if baseline is None or baseline == method:
        return empty
    own, other = records.rows[method][used[method]], records.rows[baseline][used[baseline]]
    _, left, right = np.intersect1d(records.index[own], records.index[other], assume_unique=True, return_indices=True)
    return Sample(shown.figure.aggregate, _values(records, shown, own[left]), _values(records, shown, other[right]))
