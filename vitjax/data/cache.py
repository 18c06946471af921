"""Decoded chunks on disk: the second run over the same pictures decodes nothing."""

from __future__ import annotations

import json
import os
import struct
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from vitjax.data.batch import Batch
from vitjax.data.checks import digest_of
from vitjax.data.decode import IGNORE, OBJECT, Decoded
from vitjax.data.source import OK, Samples, Source
from vitjax.errors import OutputError
from vitjax.images.geometry import Preprocessing

FORMAT = 1  # of the files, and of what `decode` makes of a picture: raise it where either changes
_OPTIONS = "group_size:1,uncompressed"  # reading is to be faster than decoding; photographs hardly compress anyway


@dataclass(frozen=True)
class Cache:
    """One array_record file per chunk, under a folder named after the source's content and the preprocessing.

    A file is whole or absent: it is written under another name, then renamed. What is cut or altered is not used.
    Records: the facts of the chunk as JSON, then pixels and mask of each usable picture, each behind its CRC-32.
    """

    folder: Path
    size: tuple[int, int]

    @classmethod
    def at(cls, root: Path, source: Source, preprocessing: Preprocessing) -> Cache:
        """The cache of `source` under `preprocessing` (the effective one) in the folder `root`.

        Raises: OutputError where the folder cannot be made. Cost: the source's `digest`.
        """
        # mean and std act later, on the device.
        how = [preprocessing.size, preprocessing.crop_pct, preprocessing.crop_mode, preprocessing.interpolation]
        fill = preprocessing.mean if preprocessing.crop_mode == "border" else None
        key = digest_of(FORMAT, PIL.__version__, source.digest(), how, fill)
        folder = Path(root) / key[:32]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise OutputError(f"{folder}: the cache cannot be made: {cause.strerror or cause}") from cause
        return cls(folder, preprocessing.size)

    def path(self, chunk: Sequence[int]) -> Path:
        return self.folder / f"{digest_of([int(index) for index in chunk])[:32]}.array_record"

    def has(self, chunk: Sequence[int]) -> bool:
        return self.path(chunk).is_file()

    def read(self, source: Source, chunk: Sequence[int]) -> Samples | None:
        """The chunk as it was decoded, or None where its file is missing, cut or altered."""
        from array_record.python.array_record_module import ArrayRecordReader

        try:
            reader = ArrayRecordReader(str(self.path(chunk)), "readahead_buffer_size:0")
            try:
                records = reader.read_all()
            finally:
                reader.close()
            return self._unpack(source, chunk, records)
        except (OSError, ValueError, RuntimeError, IndexError, KeyError, TypeError, struct.error):
            return None

    def write(self, samples: Samples) -> None:
        """Keep a chunk; one with a missing file is not kept, as the file may come back. Raises OutputError."""
        from array_record.python.array_record_module import ArrayRecordWriter

        if "missing" in samples.status:
            return
        path = self.path(samples.index.tolist())
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            writer = ArrayRecordWriter(str(temporary), _OPTIONS)
            try:
                for record in _pack(samples):
                    writer.write(struct.pack("<I", zlib.crc32(record)) + record)
            finally:
                writer.close()
            temporary.replace(path)
        except (OSError, ValueError, RuntimeError) as cause:
            temporary.unlink(missing_ok=True)
            raise OutputError(f"{path}: the cache cannot be written: {cause}") from cause

    def _unpack(self, source: Source, chunk: Sequence[int], records: Sequence[bytes]) -> Samples:
        contents = [_checked(record) for record in records]
        facts: dict[str, Any] = json.loads(bytes(contents[0]))
        if facts["index"] != list(chunk) or facts["ids"] != [source.ids[index] for index in chunk]:
            raise ValueError("another chunk")
        batch = Batch(source, chunk, self.size)
        rest = iter(contents[1:])
        height, width = self.size
        for row, (masked, *notes) in enumerate(facts["rows"]):
            pixels: np.ndarray = np.zeros((), np.uint8)
            mask = None
            if notes[0] == OK:
                content = np.frombuffer(next(rest), np.uint8)
                pixels = content[: height * width * 3].reshape(height, width, 3)
                mask = _unpack_mask(content[height * width * 3 :], height, width) if masked else None
            batch.put(row, Decoded(pixels, mask, *notes))
        if next(rest, None) is not None:
            raise ValueError("more records than pictures")
        return batch.samples()


def _pack(samples: Samples) -> list[bytes]:
    notes = zip(samples.status, samples.cause, samples.mask_state, samples.mode, samples.size, strict=True)
    rows = [(state[2] != "none", *state) for state in notes]
    facts = {"index": samples.index.tolist(), "ids": samples.ids, "rows": rows}
    records = [json.dumps(facts).encode()]
    for row, (masked, status, *_) in enumerate(rows):
        if status == OK:
            mask = samples.masks[row]
            planes = np.packbits(np.stack([mask == OBJECT, mask == IGNORE])).tobytes() if masked else b""
            records.append(samples.pixels[row].tobytes() + planes)
    return records


def _unpack_mask(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    inside, ignored = np.unpackbits(planes, count=2 * height * width).reshape(2, height, width)
    return inside * np.uint8(OBJECT) + ignored * np.uint8(IGNORE)


def _checked(record: bytes) -> memoryview:
    content = memoryview(record)[4:]
    if struct.unpack_from("<I", record)[0] != zlib.crc32(content):
        raise ValueError("altered")
    return content
