"""The columns of a record: one row for each image and method, whatever became of it.

A run directory holds `run.json` (what the rows depend on), `records/chunk-NNNNN-<sha256>.parquet` (one file for each
finished chunk; the name carries the first 16 hex digits of the content's sha256), `log/` (what each process did, on
what), `locks/`, `profile.json` (each method alone: speed and memory) and, where asked for, `maps/`.
"""

from __future__ import annotations

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
