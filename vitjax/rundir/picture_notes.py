"""What the records say of how pictures and masks were read, counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from vitjax.images.picture import NOTES

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN = "images: these records are of an older version and do not say how the images were read"


MODE = "mode "
"""Before the colour mode of pictures that are not stored in RGB."""
_MASKS = {
    "all_background": "have a mask without an object inside of the crop",
    "all_foreground": "have a mask without background inside of the crop",
    "none": "have no mask",
}


def count_notes(records: pa.Table) -> Counter[str]:
    """Number of pictures by note, and by MODE and the colour mode; each is counted once, however many methods it has.

    {UNKNOWN: 1} for old records.
    """
    if "notes" not in records.column_names:
        return Counter({UNKNOWN: 1})
    notes_of, mode_of = _by_picture(records, "notes"), _by_picture(records, "mode")
    counts = Counter(name for notes in notes_of.values() for name in (notes or "").split())
    counts.update(MODE + mode for mode in mode_of.values() if mode not in ("", None, "RGB"))
    return counts + Counter({UNKNOWN: 1}) if None in notes_of.values() else counts


def count_masks(records: pa.Table) -> Counter[str]:
    """Number of decoded pictures by the state of their mask, see `Samples.mask_state`."""
    state_of, size_of = _by_picture(records, "mask_state"), _by_picture(records, "size")
    status_of = _by_picture(records, "status")
    skipped = ("mask_unreadable", "mask_size", "mask_values")
    return Counter(
        state for index, state in state_of.items() if size_of.get(index) and status_of[index] not in skipped and state
    )


def lines(counts: Counter[str], total: int, masks: Counter[str] | None = None) -> list[str]:
    """One line for each note, in the order of NOTES, for the colour modes, and for the states of masks."""
    written = [f"{counts[name]} of {total} images {meaning}" for name, meaning in NOTES.items() if counts[name]]
    modes = {name.removeprefix(MODE): count for name, count in counts.most_common() if name.startswith(MODE)}
    if modes:
        of_each = ", ".join(f"{count} of mode {mode}" for mode, count in modes.items())
        written.insert(0, f"{sum(modes.values())} of {total} images were converted to RGB: {of_each}")
    if masks and masks.keys() - {"none"}:
        written += [f"{masks[state]} of {total} images {meaning}" for state, meaning in _MASKS.items() if masks[state]]
    return written + [UNKNOWN] * (UNKNOWN in counts)


def _by_picture(records: pa.Table, column: str) -> dict[int, str | None]:
    if column not in records.column_names:
        return {}
    return dict(zip(records["index"].to_pylist(), records[column].to_pylist(), strict=True))
