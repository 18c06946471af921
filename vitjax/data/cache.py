"""A cache of decoded chunks on disk: a second run over the same images decodes nothing."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL

from vitjax.data.batch import Batch
from vitjax.data.checks import digest_of
from vitjax.data.contents import State, file_digest, files_of, state
from vitjax.data.decode import Decoded
from vitjax.data.source import OK, UNAVAILABLE, Samples, Source
from vitjax.errors import OutputError
from vitjax.images.geometry import Preprocessing
from vitjax.images.mask_values import IGNORE, OBJECT
from vitjax.storage import check_local, temporary_beside

FORMAT = 2  # version of the file format and of the output of `decode`: increment when either changes
_OPTIONS = "group_size:1,uncompressed"  # keeps reading faster than decoding; photographs hardly compress anyway


@dataclass(frozen=True)
class Cache:
    """One array_record file per chunk, in a folder named by a digest of the source's content and the preprocessing.

    A file is written under a temporary name and then renamed, so it is complete or absent. Truncated and altered files
    are ignored, and so are those whose images have changed since (`vitjax.data.contents`). Records of a file: a JSON
    object that describes the chunk, then pixels and mask of each usable image. A CRC-32 precedes every record.
    """

    folder: Path
    size: tuple[int, int]
    opened: int  # time [ns]

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
        check_local(root, "cache")
        # mean and std are left out: normalisation runs later, on the device.
        how = [preprocessing.size, preprocessing.crop_pct, preprocessing.crop_mode, preprocessing.interpolation]
        fill = preprocessing.mean if preprocessing.crop_mode == "border" else None
        key = digest_of(FORMAT, PIL.__version__, source.digest(), how, fill)
        folder = Path(root) / key[:32]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise OutputError(f"{folder}: the cache folder cannot be created: {cause.strerror or cause}") from cause
        return cls(folder, preprocessing.size, time.time_ns())

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

    def write(self, source: Source, samples: Samples) -> None:
        """Write a chunk, unless one of its image files is missing, unavailable or being written.

        Raises:
            OutputError: the file cannot be written.
        """
        from array_record.python.array_record_module import ArrayRecordWriter

        if {"missing", UNAVAILABLE} & set(samples.status):
            return
        files = _files(source, samples.index.tolist())
        if any(max(file.state.modified, file.state.changed) > self.opened for file in files.values()):
            return  # a file was written while the chunk was decoded, perhaps after it was read
        path = self.path(samples.index.tolist())
        temporary = temporary_beside(path)
        try:
            writer = ArrayRecordWriter(str(temporary), _OPTIONS)
            try:
                for record in _pack(samples, files):
                    writer.write(struct.pack("<I", zlib.crc32(record)) + record)
            finally:
                writer.close()
            temporary.replace(path)
        except (OSError, ValueError, RuntimeError) as cause:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise OutputError(f"{path}: the cache file cannot be written: {cause}") from cause

    def _unpack(self, source: Source, chunk: Sequence[int], records: Sequence[bytes]) -> Samples:
        contents = [_checked(record) for record in records]
        facts: dict[str, Any] = json.loads(bytes(contents[0]))
        if facts["index"] != list(chunk) or facts["ids"] != [source.ids[index] for index in chunk]:
            raise ValueError("the file belongs to another chunk")
        if not _unchanged(source, chunk, facts["files"]):
            raise ValueError("the images have changed")
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


class _File(NamedTuple):
    state: State
    digest: str  # of all bytes


def _files(source: Source, chunk: Sequence[int]) -> dict[str, _File]:
    """The files of a chunk's images, by path, as they are now."""
    return {path: _File(state(path), file_digest(path)) for path in files_of(source, chunk)}


def _unchanged(source: Source, chunk: Sequence[int], then: dict[str, Any]) -> bool:
    """Whether the files of a chunk's images are those that were decoded: equal in size and times, or in their bytes."""
    paths = files_of(source, chunk)
    if paths != list(then):
        return False
    return all(
        state(path) == State(*state_then) or (digest and file_digest(path) == digest)
        for path, (state_then, digest) in then.items()
    )


def _pack(samples: Samples, files: dict[str, _File]) -> list[bytes]:
    notes = zip(
        samples.status, samples.cause, samples.mask_state, samples.mode, samples.size, samples.notes, strict=True
    )
    entries = [(note[2] != "none", *note) for note in notes]
    facts = {"index": samples.index.tolist(), "ids": samples.ids, "rows": entries, "files": files}
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
