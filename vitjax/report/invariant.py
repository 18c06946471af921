"""Completeness check of a run: listed = evaluated + skipped (by status), each image exactly once for each method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vitjax.errors import RunError

if TYPE_CHECKING:
    from vitjax.report.records import Records


class Coverage(NamedTuple):
    """Which part of a run has records.

    Attributes:
        listed: images that the run evaluates.
        statuses: number of records by status for each method, "ok" first.
        mark: "" for a complete run, else for example "partial: 320 of 1000 images".
    """

    listed: int
    statuses: dict[str, dict[str, int]]
    mark: str


def check(records: Records, methods: Sequence[str], listed: int, *, partial: bool = False) -> Coverage:
    """Count the records of each method by status, and validate them.

    Args:
        records: of the run.
        methods: labels of all methods of the run.
        listed: number of images that the run evaluates.
        partial: accept missing records, and set `Coverage.mark`. Superfluous records always raise.

    Raises:
        RunError: records are missing, duplicate or without a status; a record belongs to an image that is not listed or
            to a method that is not among `methods`; an image has two ids, or an id stands for two images.
    """
    names, codes = records.coded("method")
    unknown = sorted({names[code] for code in np.unique(codes)} - set(methods))
    if unknown:
        raise RunError(f"records of {_some(unknown)}, not among the methods of the run: {', '.join(methods)}")
    ids, id_codes = records.coded("image_id")
    states, state_codes = records.coded("status")
    _check_ids(records.index, ids, id_codes)
    statuses: dict[str, dict[str, int]] = {}
    missing: dict[str, np.ndarray] = {}
    for method in methods:
        rows = records.rows[method]
        index = records.index[rows]
        outside = np.unique(index[(index < 0) | (index >= listed)])
        if outside.size:
            raise RunError(f"{method}: records of images {_some(outside)}, but only {listed} are listed")
        times = np.bincount(index, minlength=listed)
        if (times > 1).any():
            raise RunError(
                f"{method}: more than one record of {_named(np.flatnonzero(times > 1), records, ids, id_codes)}"
            )
        missing[method] = np.flatnonzero(times == 0)
        state_counts = np.bincount(state_codes[rows], minlength=len(states))
        counts = {state: int(count) for state, count in zip(states, state_counts, strict=True) if count}
        if "None" in counts:
            raise RunError(f"{method}: {counts['None']} records without a status")
        statuses[method] = {state: counts[state] for state in sorted(counts, key=lambda s: (s != "ok", s))}
    incomplete = {method: gaps for method, gaps in missing.items() if gaps.size}
    if not incomplete:
        return Coverage(listed, statuses, "")
    present = [listed - gaps.size for gaps in missing.values()]
    if not partial:
        worst = max(incomplete, key=lambda method: incomplete[method].size)
        raise RunError(
            f"the run is not finished: {len(incomplete)} of {len(methods)} methods lack records; {worst} lacks "
            f"{incomplete[worst].size} of {listed} images (number {_some(incomplete[worst])}); "
            "rerun `vitjax evaluate` to resume the run, or request a partial report"
        )
    low, high = min(present), max(present)
    evaluated = str(low) if low == high else f"{low} to {high}"
    return Coverage(listed, statuses, f"partial: {evaluated} of {listed} images")


def _check_ids(index: np.ndarray, ids: list[str], codes: np.ndarray) -> None:
    """Raise RunError unless image numbers and image ids correspond one to one, over the records of all methods."""
    order = np.argsort(index, kind="stable")
    number, code = index[order], codes[order]
    conflicts = np.flatnonzero((number[1:] == number[:-1]) & (code[1:] != code[:-1]))
    if conflicts.size:
        at = conflicts[0]
        raise RunError(f"image number {number[at]} has two ids: {ids[code[at]]!r} and {ids[code[at + 1]]!r}")
    starts = np.flatnonzero(np.r_[True, number[1:] != number[:-1]]) if len(number) else np.empty(0, np.int64)
    duplicates = np.flatnonzero(np.bincount(code[starts], minlength=len(ids)) > 1) if len(starts) else starts
    if duplicates.size:
        numbers = number[starts][code[starts] == duplicates[0]]
        raise RunError(
            f"image id {ids[duplicates[0]]!r} is used for image numbers {_some(numbers)}: ids must be unique"
        )


def _named(numbers: np.ndarray, records: Records, ids: list[str], codes: np.ndarray) -> str:
    """Ids of the first five image numbers, and how many more there are."""
    names = [ids[codes[np.flatnonzero(records.index == number)[0]]] for number in numbers[:5]]
    return _some(names, len(numbers))


def _some(items: Sequence | np.ndarray, count: int | None = None) -> str:
    """The first five items, and how many more of `count` there are."""
    count = len(items) if count is None else count
    shown = ", ".join(map(str, items[:5]))
    return shown + (f" ... and {count - 5} more" if count > 5 else "")
