"""The results of a chunk as a table of records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vitjax.data.source import Samples
from vitjax.evaluating.job import Job
from vitjax.evaluating.results import Results
from vitjax.rundir.schema import BASE, STATUSES

if TYPE_CHECKING:
    import pyarrow as pa


def table(job: Job, samples: Samples, results: Results) -> pa.Table:
    """The records of a chunk, one per image and method, ordered by image and then method; see `rundir.schema`."""
    import pyarrow as pa

    methods = [request.label for request in job.requests]
    count = len(methods)

    def per_image(values: Any) -> np.ndarray:
        return np.repeat(np.asarray(values, object if isinstance(values, (list, tuple)) else None), count)

    status = results.status.ravel()
    meanings = [STATUSES.get(value, "") if value != "ok" else "" for value in status]
    causes = [cause or meaning for cause, meaning in zip(per_image(samples.cause), meanings, strict=True)]
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
        "notes": per_image(samples.notes),
    }
    arrays = {name: pa.array(values[name], type=pa.type_for_alias(kind)) for name, kind in BASE.items()}
    for name, column in results.columns.items():
        arrays[name] = _metric_array(column.reshape(len(status), *column.shape[2:]))
    return pa.table(arrays)


def _metric_array(values: np.ndarray) -> pa.Array:
    """[n] as float64, [n, levels] as list<float64>."""
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values, type=pa.float64())
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel(), type=pa.float64()))
