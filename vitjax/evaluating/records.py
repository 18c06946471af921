"""The numbers of a chunk as rows of its record file."""

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
