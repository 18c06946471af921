"""The columns of a record: one row for each image and method, whatever became of it.

A run directory holds `run.json` (what the rows depend on), `records/chunk-NNNNN-<sha256>.parquet` (one file for each
finished chunk; the name carries the first 16 hex digits of the content's sha256), `log/` (what each process did, on
what), `locks/`, `profile.json` (each method alone: speed and memory) and, where asked for, `maps/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from vitjax.data.source import Samples
    from vitjax.evaluate.compute import Results
    from vitjax.evaluate.job import Job

BASE = {
    "index": "int64",  # place in the data set
    "image_id": "string",
    "label": "int32",  # -1: none
    "method": "string",  # the method's label: its name and the options that were given
    "status": "string",  # "ok", or why there are no values: see STATUSES
    "cause": "string",  # one line where not ok
    "prediction": "int32",  # -1: not computed
    "confidence": "float32",  # probability of the prediction
    "target": "int32",  # the class explained, -1: not computed
    "target_kind": "string",  # "predicted", "label", "top2", "class"
    "mask_state": "string",  # "object", "none", "all_background", "all_foreground"
    "mode": "string",  # stored colour mode of the picture
    "size": "string",  # "h x w" as stored
}
"""Metric columns follow: "<metric label>.<column>", float64 or list<float64>; NaN where undefined."""

STATUSES = {
    "ok": "evaluated",
    "degenerate": "the map is constant",
    "not_finite": "the map holds NaN or Inf",
    "missing": "the file vanished",
    "unreadable": "the picture cannot be decoded",
    "mask_unreadable": "the mask cannot be decoded",
    "mask_size": "the mask is not of the picture's size",
    "not_correct": "left out by only_correct",
    "low_confidence": "left out by min_confidence",
}


def table(job: Job, samples: Samples, results: Results) -> pa.Table:
    """Records of a chunk, ordered by image and method."""
    import pyarrow as pa

    methods = [each.label for each in job.requests]
    count = len(methods)

    def per_image(values: Any) -> np.ndarray:
        return np.repeat(np.asarray(values, object if isinstance(values, (list, tuple)) else None), count)

    status = results.status.ravel()
    causes = [STATUSES.get(each, "") if each != "ok" else "" for each in status]
    causes = [cause or known for cause, known in zip(per_image(samples.cause), causes, strict=True)]
    values = {
        "index": per_image(samples.index),
        "image_id": per_image(samples.ids),
        "label": per_image(samples.labels),
        "method": methods * len(samples),
        "status": status,
        "cause": causes,
        "prediction": per_image(results.prediction),
        "confidence": per_image(results.confidence),
        "target": per_image(results.target),
        "target_kind": [job.target_kind] * len(status),
        "mask_state": per_image(samples.mask_state),
        "mode": per_image(samples.mode),
        "size": per_image(samples.size),
    }
    arrays = {name: pa.array(values[name], type=pa.type_for_alias(kind)) for name, kind in BASE.items()}
    for name, numbers in results.columns.items():
        arrays[name] = _numbers(numbers.reshape(len(status), *numbers.shape[2:]))
    return pa.table(arrays)


def _numbers(values: np.ndarray) -> pa.Array:
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values, type=pa.float64())
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel(), type=pa.float64()))
