"""Assembles the `Samples` of one chunk from images that are decoded in any order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitjax.data.decode import Decoded
from vitjax.data.source import Samples, Source
from vitjax.images.mask_values import IGNORE

Notes = tuple[str, str, str, str, str, str]  # status, cause, mask_state, mode, size, notes


class Batch:
    """Arrays for the images of one chunk: call `put` for every image, possibly from several threads, then `samples`."""

    def __init__(self, source: Source, chunk: Sequence[int], size: tuple[int, int]) -> None:
        self.source = source
        self.chunk = tuple(int(index) for index in chunk)
        self.pixels = np.zeros((len(chunk), *size, 3), np.uint8)
        self.masks = np.full((len(chunk), *size), IGNORE, np.uint8)
        self.notes: list[Notes] = [("", "", "", "", "", "")] * len(chunk)

    def put(self, position: int, decoded: Decoded) -> None:
        """Store the image at `position` in the chunk."""
        self.pixels[position] = decoded.pixels
        if decoded.mask is not None:
            self.masks[position] = decoded.mask
        self.notes[position] = decoded[2:]

    def samples(self) -> Samples:
        """The chunk, once all its images are stored."""
        status, cause, mask_state, mode, size, notes = zip(*self.notes, strict=True) if self.notes else ((),) * 6
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
            notes=notes,
        )
