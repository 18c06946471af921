"""What the records say of how pictures and masks were read, counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from vitjax.images.picture import NOTES

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN = "pictures: these records are of an older version and do not say how the pictures were read"


def count_notes(records: pa.Table) -> Counter[str]:
    """Number of pictures by note; each is counted once, however many methods it has. {UNKNOWN: 1} for old records."""
    if "notes" not in records.column_names:
        return Counter({UNKNOWN: 1})
    notes_of = dict(zip(records["index"].to_pylist(), records["notes"].to_pylist(), strict=True))
    counts = Counter(name for notes in notes_of.values() for name in (notes or "").split())
    return counts + Counter({UNKNOWN: 1}) if None in notes_of.values() else counts


def lines(counts: Counter[str], total: int) -> list[str]:
    """One line for each note, in the order of NOTES."""
    found = [f"{counts[name]} of {total} pictures {meaning}" for name, meaning in NOTES.items() if counts[name]]
    return found + [UNKNOWN] * (UNKNOWN in counts)
