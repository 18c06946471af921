"""Decode an image file, and notice where its data end before the image does.

Pillow and the libraries under it fill what is missing without a word: with grey after an early end-of-image marker of a
JPEG, with whatever zero bytes decode to after an interrupted download into a file of full size. Nothing here costs a
second pass over the pixels.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image, TiffImagePlugin

from vitjax.errors import ImageError
from vitjax.images.holes import has_hole

_HOLE = bytes(512)
"""Compressed data contain no such run of zero bytes, except for the rare case that a check excludes."""
_ONES = b"\xff\x00"
"""A data byte of ones within a JPEG's entropy-coded data, which is also what pads its last byte."""
_LOOKAHEAD = 12
"""Such bytes that complete data need at most: the decoder's bit buffer holds 8."""
_TAKEN = 3
"""Of these, those in a row that a decoder takes only if it is no longer waiting: its bit buffer holds more than 2."""


def load(image: Image.Image, data: bytes, name: str) -> None:
    """Decode an open image in place.

    Args:
        image: an image that `Image.open` made of `data`.
        data: the file's content.
        name: name of the image in error messages.

    Raises:
        ImageError: the data end early, or zero bytes take the place of data. Other damage raises Pillow's exceptions.
    """
    if image.format in ("JPEG", "MPO"):
        _load_jpeg(image, data, name)
        return
    if image.format == "PNG":
        _check_png(data, name)
    elif has_hole(data, image.format or "", image.width * image.height):
        raise _ends_early(name, f"zero bytes in place of the {image.format} data")
    raw = image.format in ("BMP", "DIB", "PPM")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        raw = image.tag_v2.get(259, 1) == 1
        if not raw:
            _check_strips(image.tag_v2, data, name)
    tiles = getattr(image, "tile", ())  # Pillow sets it for files only
    bottom_up = image.format in ("BMP", "DIB") and tiles and tiles[0][3][-1] == -1
    image.load()
    if raw:
        _check_rows(image, data, bool(bottom_up), name)


def _ends_early(name: str, detail: str) -> ImageError:
    return ImageError(f"{name}: truncated or damaged: {detail}")


def _load_jpeg(image: Image.Image, data: bytes, name: str) -> None:
    """Decode a JPEG without its end-of-image marker: what is missing then makes the decoder wait for more.

    With the marker, libjpeg fills the rest. Without it, complete data need only the few bytes that the decoder reads
    ahead, after which it has all rows, or, of a JPEG in several scans, takes every further byte for filling.
    """
    scan = data.find(b"\xff\xda", _header_end(data))
    end = data.find(b"\xff\xd9", scan)
    if scan < 0 or end < 0:
        raise _ends_early(name, "the JPEG has no end-of-image marker")
    hole = data.find(_HOLE, scan, end)
    if hole >= 0 and not _zeros_are_flat(data, hole):
        raise _ends_early(name, "zero bytes in place of the JPEG's data")
    image.load_prepare()  # type: ignore[attr-defined]
    ((codec, extents, _, arguments),) = image.tile  # type: ignore[attr-defined]
    decoder = Image._getdecoder(image.mode, codec, arguments, image.decoderconfig)  # type: ignore[attr-defined]
    decoder.setimage(image.im, extents)
    try:
        used, error = decoder.decode(data[:end])
        rest, taken = data[used:end] if used >= 0 else b"", 0
        for _ in range(_LOOKAHEAD):
            if used < 0:
                break
            rest += _ONES
            used, error = decoder.decode(rest)
            rest = rest[used:] if used >= 0 else b""
            taken = 0 if rest else taken + 1
        if used >= 0:
            if taken < _TAKEN or not _scans_are_complete(data, scan, end):
                raise _ends_early(name, "the JPEG's data end before the image does")
            used, error = decoder.decode(data[end : end + 2])
    finally:
        decoder.cleanup()
    if error < 0 or used >= 0:
        raise _ends_early(name, "the JPEG cannot be decoded")
    image.tile = []  # type: ignore[attr-defined]
    image.load_end()  # type: ignore[attr-defined]
    image.fp = None  # type: ignore[attr-defined]


def _segments(data: bytes, start: int = 2) -> list[tuple[int, int, int]]:
    """(marker, start, end) of the marker segments from `start` on, up to and including the start of a scan."""
    segments = []
    position = start
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if 0xD0 <= marker <= 0xD9:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        segments.append((marker, position + 4, position + 2 + length))
        position += 2 + max(length, 2)
        if marker == 0xDA:
            break
    return segments


def _header_end(data: bytes) -> int:
    """Position of the first scan; a thumbnail in the metadata has markers of its own."""
    segments = _segments(data)
    return segments[-1][1] - 4 if segments and segments[-1][0] == 0xDA else 0


def _zeros_are_flat(data: bytes, hole: int) -> bool:
    """Whether zero bits at this position code a flat area: the first codes of the scan's tables then mean "no change".

    Encoders that adapt the tables to the picture give "no change" the first code, which consists of zeros.
    """
    scan = data.rfind(b"\xff\xda", 0, hole)
    first_symbol: dict[tuple[int, int], int] = {}
    tables = data.find(b"\xff\xc4", 2, scan)
    while tables >= 0:
        position, end = tables + 4, tables + 2 + int.from_bytes(data[tables + 2 : tables + 4], "big")
        while position + 17 < end:
            first_symbol[divmod(data[position], 16)] = data[position + 17]
            position += 17 + sum(data[position + 1 : position + 17])
        tables = data.find(b"\xff\xc4", end, scan)
    count = data[scan + 4]
    used = data[scan + 6 : scan + 5 + 2 * count : 2]
    first, last, bits = data[scan + 5 + 2 * count : scan + 8 + 2 * count]
    symbols = [first_symbol.get((0, ids >> 4), -1) for ids in used] if first == 0 and bits < 16 else []
    for ids in used if last else ():
        run, size = divmod(first_symbol.get((1, ids & 15), -1), 16)
        symbols.append(0 if size == 0 and run < 15 else -1)
    return not any(symbols)


def _scans_are_complete(data: bytes, scan: int, end: int) -> bool:
    """Whether the scans of a progressive JPEG refine every coefficient that they began to the last bit."""
    low_bit: dict[tuple[int, int], int] = {}
    while 0 <= scan < end:
        count = data[scan + 4]
        components = data[scan + 5 : scan + 5 + 2 * count : 2]
        first, last, bits = data[scan + 5 + 2 * count : scan + 8 + 2 * count]
        for component in components:
            for coefficient in range(first, last + 1):
                low_bit[component, coefficient] = bits & 15
        scan = data.find(b"\xff\xda", scan + 2, end)
    return not any(low_bit.values())


def _check_png(data: bytes, name: str) -> None:
    """The chunks of a PNG must reach its end, and those of its pixels have the right checksums.

    Pillow compares neither these checksums nor that of the compressed stream, which it does not read to the end.
    """
    position, kind = 8, b""
    while position + 8 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        body_end = position + 8 + length
        if kind == b"IDAT":
            checksum = zlib.crc32(memoryview(data)[position + 4 : body_end])
            if data[body_end : body_end + 4] != struct.pack(">I", checksum):
                raise _ends_early(name, "the checksum of the PNG's data does not match")
        position = body_end + 4
    if kind != b"IEND":
        raise _ends_early(name, "the PNG has no end chunk")


def _check_strips(tags: TiffImagePlugin.ImageFileDirectory_v2, data: bytes, name: str) -> None:
    """Compressed strips or tiles lie in the file and do not end in zero bytes."""
    for offsets, counts in ((273, 279), (324, 325)):
        for start, count in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False):
            if start + count > len(data):
                raise _ends_early(name, "the TIFF's strips reach beyond the end of the file")
            if count >= 8 and not data[max(start, start + count - 160) : start + count].strip(b"\0"):
                raise _ends_early(name, "zero bytes in place of the TIFF's data")


def _check_rows(image: Image.Image, data: bytes, bottom_up: bool, name: str) -> None:
    """Uncompressed pixels: zeros from the middle of a row, where the rows around have colours there, up to the end of
    the data or to the middle of a later row.

    A black area of a picture has no such step of one row, from edge to edge of the picture.
    """
    width, height = image.size
    row_bytes = width * len(image.getbands()) // (8 if image.mode == "1" else 1)
    if data.find(bytes(max(16, row_bytes))) < 0:
        return
    values = np.asarray(image)
    rows = values[::-1] if bottom_up else values
    filled = np.concatenate(([True], rows.reshape(height, -1).any(1), [True]))
    starts, stops = (np.flatnonzero(step) for step in (filled[:-1] & ~filled[1:], ~filled[:-1] & filled[1:]))
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if start < 2 or not _breaks_off(rows[start - 1], rows[start - 2]):
            continue
        if stop == height:
            raise _ends_early(name, f"zero bytes from the middle of row {start - 1} on")
        if stop + 1 < height and _breaks_off(rows[stop][::-1], rows[stop + 1][::-1]):
            raise _ends_early(name, f"zero bytes from the middle of row {start - 1} to the middle of row {stop}")


def _breaks_off(row: np.ndarray, neighbour: np.ndarray) -> bool:
    """Whether a row has colours up to some pixel and none after it, where its neighbour has colours."""
    cut, whole = (np.asarray(pixels.reshape(len(pixels), -1).any(1)) for pixels in (row, neighbour))
    stop = int(np.flatnonzero(cut)[-1]) + 1
    return stop < len(cut) and bool(min(cut[:stop].mean(), whole[stop:].mean()) > 0.95)
