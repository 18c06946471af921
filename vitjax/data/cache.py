"""A cache of decoded chunks on disk: a second run over the same images decodes nothing."""

from __future__ import annotations

import json
import secrets
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from vitjax.data.batch import Batch
from vitjax.data.checks import digest_of
from vitjax.data.decode import Decoded
from vitjax.data.source import OK, Samples, Source
from vitjax.errors import OutputError
from vitjax.images.geometry import Preprocessing
from vitjax.images.mask_values import IGNORE, OBJECT

FORMAT = 2  # version of the file format and of the output of `decode`: increment when either changes
_OPTIONS = "group_size:1,uncompressed"  # keeps reading faster than decoding; photographs hardly compress anyway


@dataclass(frozen=True)
class Cache:
    """One array_record file per chunk, in a folder named by a digest of the source's content and the preprocessing.

    A file is written under a temporary name and then renamed, so it is complete or absent. Truncated and altered files
    are ignored. Records of a file: a JSON object that describes the chunk, then pixels and mask of each usable image.
    A CRC-32 precedes every record.
    """

    folder: Path
    size: tuple[int, int]

    @classmethod
    def at(cls, root: Path, source: Source, preprocessing: Preprocessing) -> Cache:
        """Open or create the cache of a source.

        Args:
            root: folder of all caches.
            source: the data set.
            preprocessing: the effective one, see `vitjax.data.decode.effective`.

        Raises:
            OutputError: the folder cannot be created.

        Cost: one call of the source's `digest`.
        """
        # mean and std are left out: normalisation runs later, on the device.
        how = [preprocessing.size, preprocessing.crop_pct, preprocessing.crop_mode, preprocessing.interpolation]
        fill = preprocessing.mean if preprocessing.crop_mode == "border" else None
        key = digest_of(FORMAT, PIL.__version__, source.digest(), how, fill)
        folder = Path(root) / key[:32]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise OutputError(f"{folder}: the cache folder cannot be created: {cause.strerror or cause}") from cause
        return cls(folder, preprocessing.size)

    def path(self, chunk: Sequence[int]) -> Path:
        return self.folder / f"{digest_of([int(index) for index in chunk])[:32]}.array_record"

    def has(self, chunk: Sequence[int]) -> bool:
        return self.path(chunk).is_file()

    def read(self, source: Source, chunk: Sequence[int]) -> Samples | None:
        """The decoded chunk, or None if its file is missing, truncated or altered."""
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
        """Write a chunk, unless one of its image files is missing: the file may exist in a later run.

        Raises:
            OutputError: the file cannot be written.
        """
        from array_record.python.array_record_module import ArrayRecordWriter

        if "missing" in samples.status:
            return
        path = self.path(samples.index.tolist())
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
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
            raise OutputError(f"{path}: the cache file cannot be written: {cause}") from cause

    def _unpack(self, source: Source, chunk: Sequence[int], records: Sequence[bytes]) -> Samples:
        contents = [_checked(record) for record in records]
        facts: dict[str, Any] = json.loads(bytes(contents[0]))
        if facts["index"] != list(chunk) or facts["ids"] != [source.ids[index] for index in chunk]:
            raise ValueError("the file belongs to another chunk")
        batch = Batch(source, chunk, self.size)
        image_records = iter(contents[1:])
        height, width = self.size
        for position, (has_mask, *notes) in enumerate(facts["rows"]):
            pixels: np.ndarray = np.zeros((), np.uint8)
            mask = None
            if notes[0] == OK:
                content = np.frombuffer(next(image_records), np.uint8)
                pixels = content[: height * width * 3].reshape(height, width, 3)
                mask = _unpack_mask(content[height * width * 3 :], height, width) if has_mask else None
            batch.put(position, Decoded(pixels, mask, *notes))
        if next(image_records, None) is not None:
            raise ValueError("more records than images")
        return batch.samples()


def _pack(samples: Samples) -> list[bytes]:
    notes = zip(
        samples.status, samples.cause, samples.mask_state, samples.mode, samples.size, samples.notes, strict=True
    )
    entries = [(note[2] != "none", *note) for note in notes]
    facts = {"index": samples.index.tolist(), "ids": samples.ids, "rows": entries}
    records = [json.dumps(facts).encode()]
    for position, (has_mask, status, *_) in enumerate(entries):
        if status == OK:
            mask = samples.masks[position]
            planes = np.packbits(np.stack([mask == OBJECT, mask == IGNORE])).tobytes() if has_mask else b""
            records.append(samples.pixels[position].tobytes() + planes)
    return records


def _unpack_mask(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    is_object, ignored = np.unpackbits(planes, count=2 * height * width).reshape(2, height, width)
    return is_object * np.uint8(OBJECT) + ignored * np.uint8(IGNORE)


def _checked(record: bytes) -> memoryview:
    content = memoryview(record)[4:]
    if struct.unpack_from("<I", record)[0] != zlib.crc32(content):
        raise ValueError("the checksum does not match")
    return content
