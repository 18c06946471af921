"""Rows of `Samples`, filled in any order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitjax.data.decode import IGNORE, Decoded
from vitjax.data.source import Samples, Source

Notes = tuple[str, str, str, str, str]  # status, cause, mask_state, mode, size


class Batch:
    """Room for one chunk; `put` its rows, then take `samples`. Rows may be put by several threads at once."""

    def __init__(self, source: Source, chunk: Sequence[int], size: tuple[int, int]) -> None:
        self.source = source
        self.chunk = tuple(int(index) for index in chunk)
        self.pixels = np.zeros((len(chunk), *size, 3), np.uint8)
        self.masks = np.full((len(chunk), *size), IGNORE, np.uint8)
        self.notes: list[Notes] = [("", "", "", "", "")] * len(chunk)

    def put(self, row: int, decoded: Decoded) -> None:
        self.pixels[row] = decoded.pixels
        if decoded.mask is not None:
            self.masks[row] = decoded.mask
        self.notes[row] = decoded[2:]

    def samples(self) -> Samples:
        status, cause, mask_state, mode, size = zip(*self.notes, strict=True) if self.notes else ((),) * 5
        return Samples(
            index=np.asarray(self.chunk, np.int64),
            ids=tuple(self.source.ids[index] for index in self.chunk),
            labels=np.asarray([self.source.labels[index] for index in self.chunk], np.int32),
            pixels=self.pixels,
            masks=self.masks,
            status=status,
            cause=cause,
            mask_state=mask_state,
            mode=mode,
            size=size,
        )
