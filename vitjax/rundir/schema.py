"""The columns of a record. Every image and method has one record, whether it was evaluated or skipped.

A run directory contains

- `run.json`: everything that the records depend on;
- `records/chunk-NNNNN-<sha256>.parquet`: one file per finished chunk; the name contains the first 16 hex digits of the
  content's SHA-256;
- `files.parquet`: states and sampled digests of the files that the images are read from; the digests of all their
  bytes are in the metadata of the record files;
- `log/`: what each process computed, and on which machine;
- `locks/`: see `vitjax.rundir.locks`;
- `profile.json`: speed and memory of each method alone;
- `maps/`: raw maps, if requested.
"""

from __future__ import annotations

BASE = {
    "index": "int64",  # index in the data set
    "image_id": "string",
    "label": "int32",  # -1 if the image has none
    "method": "string",  # the method's label: its name and the options that were passed
    "status": "string",  # "ok", or why there are no metric values, see STATUSES
    "cause": "string",  # one line; empty if the status is "ok"
    "prediction": "int32",  # predicted class; -1 if not computed
    "confidence": "float32",  # probability of the prediction
    "target": "int32",  # the explained class; -1 if not computed
    "target_kind": "string",  # "predicted", "label", "top2", "class"; without a head "feature", "none"
    "mask_state": "string",  # "object", "none", "all_background", "all_foreground"
    "mode": "string",  # colour mode of the stored image
    "size": "string",  # "h x w" of the stored image
    "notes": "string",  # what was done to read it, names in vitjax.images.picture.NOTES, separated by spaces
}
"""The columns before the metrics, with their types. Metric columns are called "<metric label>.<column>" and are float64
or list<float64>; undefined values are NaN."""

STATUSES = {
    "ok": "evaluated",
    "degenerate": "the map is constant",
    "not_finite": "the map contains NaN or Inf",
    "missing": "the file was removed after the data set was opened",
    "unreadable": "the image cannot be decoded",
    "mask_unreadable": "the mask cannot be decoded",
    "mask_size": "the mask's aspect ratio differs from the image's",
    "mask_values": "the mask's values are not those that the source declares, or have no certain meaning",
    "not_correct": "excluded by only_correct",
    "low_confidence": "excluded by min_confidence",
}
"""Every status of a record, with its meaning."""
