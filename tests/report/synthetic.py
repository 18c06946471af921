"""Synthetic runs: metrics, settings and records made of random numbers."""

import numpy as np
import pyarrow as pa

from vitjax.metrics.contract import Metric, Statistic, mean

LEVELS = np.arange(0, 101, 5.0)


def pooled(intersection, union):
    return intersection.sum(axis=-1) / union.sum(axis=-1)


def metric(
    figures, *, family="localisation", curves=None, needs=(), title="A metric", record=lambda case: {}, axes=None
):
    made = Metric(
        title=title,
        cite="Nobody 2026",
        family=family,
        cost="1F",
        function=record,
        record=record,
        figures=lambda options: figures,
        curves=lambda options: curves or {},
        needs=frozenset(needs),
    )
    return made._replace(axes=axes) if axes else made


def _thresholded(case, *, threshold: float = 0.5):
    return {}


METRICS = {
    "iou": metric({"": Statistic(("value",), mean)}, needs=["mask"], record=_thresholded, title="IoU"),
    "mean_iou": metric({"": Statistic(("hit", "union"), pooled)}, needs=["mask"], title="Pooled IoU"),
    "pointing": metric({"": Statistic(("value",))}, needs=["mask"], title="Pointing game"),
    "removal": metric(
        {
            "positive": Statistic(("positive",), better="lower", percent=False),
            "negative": Statistic(("negative",), percent=False),
        },
        family="faithfulness",
        curves={"positive_curve": LEVELS, "negative_curve": None},
        axes=lambda column, options: ("pixels removed (%)", "probability"),
        title="Removal",
    ),
    "entropy": metric({"": Statistic(("value",), better=None, percent=False)}, family="complexity", title="Entropy"),
}


def settings(methods, metrics, count):
    return {
        "data": {"source": "scenes:8", "digest": "d" * 64, "masks": True},
        "model": {"name": "tiny", "sha256": "a" * 64, "dtype": "float32"},
        "methods": [{"label": label, "method": label, "options": {}} for label in methods],
        "metrics": [{"label": label, "metric": label.partition("(")[0], "options": {}} for label in metrics],
        "target": None,
        "count": count,
        "chunk_size": 16,
    }


def base(methods, count, **columns):
    """The columns that every run has. `columns` replace or add columns; rows are ordered by image, then by method."""
    n, m = count * len(methods), len(methods)
    index = np.repeat(np.arange(count), m)
    rows = {
        "index": index,
        "image_id": [f"image{i:05d}" for i in index],
        "label": np.zeros(n, np.int32),
        "method": list(methods) * count,
        "status": ["ok"] * n,
        "cause": [""] * n,
        "prediction": np.zeros(n, np.int32),
        "confidence": np.full(n, 0.9, np.float32),
        "target": np.zeros(n, np.int32),
        "target_kind": ["predicted"] * n,
        "mask_state": ["object"] * n,
        "mode": ["RGB"] * n,
        "size": ["8 x 8"] * n,
    }
    return pa.table({**rows, **columns})


def one_metric(values, *, methods=None, label="iou", **columns):
    """Settings and records of one scalar metric: values [images, methods]."""
    values = np.asarray(values, float)
    count, m = values.shape
    methods = methods or [f"m{i}" for i in range(m)]
    table = base(methods, count, **columns)
    return settings(methods, [label], count), table.append_column(f"{label}.value", pa.array(values.ravel()))


def curve(rng, n, steepness):
    noise = rng.normal(0, 0.15, (n, 1))
    return np.clip(np.exp(-steepness * LEVELS / 100) + noise * (LEVELS / 100 * (1 - LEVELS / 100) * 4), 0, 1)


def whole_run(methods, count=60, seed=0, metrics=tuple(METRICS)):
    """Settings and records of all METRICS, with undefined values, images without objects and degenerate maps."""
    rng = np.random.default_rng(seed)
    m, n = len(methods), count * len(methods)
    table = base(methods, count)
    skill = np.tile(np.linspace(0.2, 0.7, m), count)
    hard = np.repeat(rng.normal(0, 0.15, count), m)
    status = np.array(["ok"] * n, object)
    status[rng.random(n) < 0.03] = "degenerate"
    state = np.repeat(np.where(rng.random(count) < 0.1, "all_background", "object"), m)
    table = table.set_column(table.column_names.index("status"), "status", pa.array(status))
    table = table.set_column(table.column_names.index("mask_state"), "mask_state", pa.array(state))
    value = np.clip(skill + hard + rng.normal(0, 0.1, n), 0, 1)
    unusable = (state != "object") | (status != "ok")

    def undefined(values, where=unusable):
        return np.where(where, np.nan, values)

    positive, negative = curve(rng, n, 6 * skill[:, None]), curve(rng, n, 2 - 2 * skill[:, None])
    positive[status != "ok"] = np.nan
    columns = {
        "iou.value": undefined(value),
        "mean_iou.hit": undefined(value * 100),
        "mean_iou.union": undefined(np.full(n, 100.0)),
        "pointing.value": undefined((rng.random(n) < value).astype(float)),
        "removal.positive": undefined(100 * positive.mean(1), status != "ok"),
        "removal.negative": undefined(100 * negative.mean(1), status != "ok"),
        "removal.positive_curve": list(positive),
        "removal.negative_curve": list(negative),
        "entropy.value": undefined(rng.gamma(2, 2, n), status != "ok"),
    }
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return settings(methods, metrics, count), table


def profile_of(methods):
    return {
        "device": "cpu",
        "methods": {
            m: {"images_per_second": 1234.5 / (i + 1), "peak_memory_mib": 310.2} for i, m in enumerate(methods)
        },
    }
