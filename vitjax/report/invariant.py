"""The closing invariant: listed = evaluated + skipped by status, every image once for each method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vitjax.errors import RunError

if TYPE_CHECKING:
    from vitjax.report.records import Records


class Coverage(NamedTuple):
    """How much of a run there is.

    listed: images of the data set. statuses: rows by status for each method, "ok" first.
    mark: "" where complete, else "partial: 320 of 1000 images".
    """

    listed: int
    statuses: dict[str, dict[str, int]]
    mark: str


def check(records: Records, methods: Sequence[str], listed: int, *, partial: bool = False) -> Coverage:
    """Count what there is, and refuse what cannot be counted.

    Args:
        records: of the run.
        methods: labels of all methods of the run.
        listed: images that the run was to evaluate.
        partial: missing rows are no error and give a mark instead; rows that are too many always are.

    Raises:
        RunError: rows are missing, double, without a status, of an image that is not listed or of another method.
    """
    names, codes = records.coded("method")
    strange = sorted({names[code] for code in np.unique(codes)} - set(methods))
    if strange:
        raise RunError(f"records of {_some(strange)}, not among the methods of the run: {', '.join(methods)}")
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
        counts = np.bincount(state_codes[rows], minlength=len(states))
        found = {state: int(count) for state, count in zip(states, counts, strict=True) if count}
        if "None" in found:
            raise RunError(f"{method}: {found['None']} records without a status")
        statuses[method] = {state: found[state] for state in sorted(found, key=lambda s: (s != "ok", s))}
    short = {method: gaps for method, gaps in missing.items() if gaps.size}
    if not short:
        return Coverage(listed, statuses, "")
    present = [listed - gaps.size for gaps in missing.values()]
    if not partial:
        worst = max(short, key=lambda method: short[method].size)
        raise RunError(
            f"the run is not finished: {len(short)} of {len(methods)} methods lack records; {worst} lacks "
            f"{short[worst].size} of {listed} images (number {_some(short[worst])}); "
            "resume `vitjax evaluate`, or ask for a partial report"
        )
    low, high = min(present), max(present)
    some = str(low) if low == high else f"{low} to {high}"
    return Coverage(listed, statuses, f"partial: {some} of {listed} images")


def _check_ids(index: np.ndarray, ids: list[str], codes: np.ndarray) -> None:
    """An image is one place and one id, in the rows of every method."""
    order = np.argsort(index, kind="stable")
    place, code = index[order], codes[order]
    moved = np.flatnonzero((place[1:] == place[:-1]) & (code[1:] != code[:-1]))
    if moved.size:
        at = moved[0]
        raise RunError(f"image number {place[at]} has two ids: {ids[code[at]]!r} and {ids[code[at + 1]]!r}")
    starts = np.flatnonzero(np.r_[True, place[1:] != place[:-1]]) if len(place) else np.empty(0, np.int64)
    double = np.flatnonzero(np.bincount(code[starts], minlength=len(ids)) > 1) if len(starts) else starts
    if double.size:
        where = place[starts][code[starts] == double[0]]
        raise RunError(f"image id {ids[double[0]]!r} stands at numbers {_some(where)}: ids must differ")


def _named(places: np.ndarray, records: Records, ids: list[str], codes: np.ndarray) -> str:
    names = [ids[codes[np.flatnonzero(records.index == place)[0]]] for place in places[:5]]
    return _some(names, len(places))


def _some(items: Sequence | np.ndarray, count: int | None = None) -> str:
    """The first five, and how many more there are."""
    count = len(items) if count is None else count
    shown = ", ".join(map(str, items[:5]))
    return shown + (f" ... and {count - 5} more" if count > 5 else "")
