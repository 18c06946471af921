"""Runs of zero bytes in compressed pictures that no encoder writes, as an interrupted download or a lost block leaves.

WebP, AVIF, HEIC and JPEG 2000 have no checksums, and their decoders make smears and flat areas of zero bytes. Only the
coded data are searched: headers, metadata and padding between the parts of a file may contain any number of zeros.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

TAIL = 64
"""Zero bytes in a row that no encoder writes, whatever the picture."""
_BLOCK_BYTES = 1024
"""Zero bytes in a row that a code block of JPEG 2000 may have: two passes of an uncoded bit for each of 4096 values."""
_SIZE, _CODING_STYLE, _COMPONENT_STYLE, _TILE_PART = 0xFF51, 0xFF52, 0xFF53, 0xFF90
"""Markers of JPEG 2000."""
Range = tuple[int, int]


def has_hole(data: bytes, form: str, area: int) -> bool:
    """Whether zero bytes take the place of coded data.

    Args:
        data: the file's content.
        form: Pillow's name of the format: "WEBP", "AVIF", "HEIF" or "JPEG2000". Others have no hole.
        area: of the picture [pixels].

    Returns:
        False also where the structure of the file is not understood; the decoder has the last word on it.
    """
    if form == "WEBP":
        return _any(data, _webp_ranges(data), _arithmetic_limit(area))
    try:
        if form in ("AVIF", "HEIF"):
            return _any(data, _item_ranges(data), _arithmetic_limit(area))
        if form == "JPEG2000":
            start, end = _codestream(data)
            return _any(data, _tile_parts(data, start, end), _jpeg2000_limit(data, start))
    except (struct.error, IndexError, KeyError, ValueError):
        return False
    return False


def _any(data: bytes, ranges: Iterator[Range], limit: int) -> bool:
    if limit > len(data):
        return False
    zeros, searched = bytes(limit), 0
    for start, end in ranges:
        searched += max(0, min(end, len(data)) - start)
        if searched > 2 * len(data):  # a damaged file that lists the same data again and again
            return False
        if data.find(zeros, start, end) >= 0:
            return True
    return False


def _arithmetic_limit(area: int) -> int:
    """An arithmetic coder of WebP writes 0.16 zero bytes at most per 16 x 16 flat pixels; that of AVIF fewer."""
    return TAIL + area // 1024


def _webp_ranges(data: bytes) -> Iterator[Range]:
    position = 12
    while position + 8 <= len(data):
        kind, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        body = position + 8
        if kind in (b"VP8 ", b"VP8L", b"ALPH", b"ANMF"):
            yield body, body + length
        position = body + length + length % 2


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end of the content) of the boxes of an ISO base media file or of a JP2 file."""
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, body)
            body += 8
        stop = end if length == 0 else start + length
        if stop < body:
            raise ValueError("a box that is shorter than its header")
        yield kind, body, min(stop, end)
        start = stop


def _box(data: bytes, wanted: bytes) -> Range:
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == wanted:
            return start, end
    raise ValueError(f"no box {wanted!r}")


def _item_ranges(data: bytes) -> Iterator[Range]:
    """Where the coded pictures of an AVIF or HEIC file lie: the extents of the items of these kinds."""
    start, end = _box(data, b"meta")
    inside = {kind: (body, stop) for kind, body, stop in _boxes(data, start + 4, end)}
    coded = set(_coded_items(data, *inside[b"iinf"]))
    for item, method, ranges in _locations(data, inside[b"iloc"][0]):
        if item in coded and method == 0:
            yield from ranges


def _coded_items(data: bytes, start: int, end: int) -> Iterator[int]:
    version = data[start]
    for kind, body, _ in _boxes(data, start + (6 if version == 0 else 8), end):
        if kind == b"infe" and data[body] >= 2:
            size = 2 if data[body] == 2 else 4
            item = int.from_bytes(data[body + 4 : body + 4 + size], "big")
            if data[body + 6 + size : body + 10 + size] in (b"av01", b"hvc1"):
                yield item


def _locations(data: bytes, position: int) -> Iterator[tuple[int, int, list[Range]]]:
    """(item, construction method, extents) of the box "iloc"."""
    version = data[position]
    sizes = data[position + 4], data[position + 5]
    offset_size, length_size = divmod(sizes[0], 16)
    base_size, index_size = divmod(sizes[1], 16)
    if not offset_size + length_size:
        raise ValueError("extents without a place")
    position += 6
    wide = 2 if version < 2 else 4

    def number(size: int) -> int:
        nonlocal position
        if position + size > len(data):
            raise ValueError("a box that ends early")
        position += size
        return int.from_bytes(data[position - size : position], "big")

    for _ in range(number(wide)):
        item = number(wide)
        method = number(2) & 15 if version in (1, 2) else 0
        number(2)
        base = number(base_size)
        extents = []
        for _ in range(number(2)):
            if version in (1, 2):
                number(index_size)
            start = base + number(offset_size)
            extents.append((start, start + number(length_size)))
        yield item, method, extents


def _codestream(data: bytes) -> Range:
    """Where the codestream of JPEG 2000 lies in a JP2 file, or alone."""
    if data.startswith(b"\xff\x4f\xff\x51"):
        return 0, len(data)
    return _box(data, b"jp2c")


def _segments(data: bytes, position: int) -> Iterator[tuple[int, int]]:
    """(marker, start of its content) of a header of JPEG 2000."""
    while True:
        marker, length = struct.unpack_from(">HH", data, position)
        yield marker, position + 4
        position += 2 + length


def _tile_parts(data: bytes, start: int, end: int) -> Iterator[Range]:
    """Where the coded data of the tile-parts lie."""
    position = start + 2
    for marker, body in _segments(data, position):
        if marker == _TILE_PART:
            position = body - 4
            break
    while data[position : position + 2] == b"\xff\x90":
        (length,) = struct.unpack_from(">I", data, position + 6)
        stop = end if length == 0 else min(position + length, end)
        first = data.find(b"\xff\x93", position, stop)
        if first < 0:
            return
        if b"\xff\x52" not in data[position + 12 : first]:  # else the tile has a coding style of its own
            yield first + 2, stop
        position = stop


def _jpeg2000_limit(data: bytes, start: int) -> int:
    """Zero bytes in a row that the coded data of a tile-part may have.

    Those of a code block, one for each empty packet, and a bit for each code block that a packet skips.
    """
    size, style = 0, 0
    for marker, body in _segments(data, start + 2):
        size, style = (body if marker == _SIZE else size), (body if marker == _CODING_STYLE else style)
        if marker == _COMPONENT_STYLE:
            raise ValueError("components of different styles")
        if marker == _TILE_PART:
            break
    if not size or not style:
        raise ValueError("no size or coding style")
    width, height, _, _, tile_width, tile_height, _, _, components = struct.unpack_from(">8IH", data, size + 2)
    own_precincts, _, layers, _, levels, block_width, block_height = struct.unpack_from(">BBHBBBB", data, style)
    tile = min(width, tile_width), min(height, tile_height)
    packets = 0
    for level in range(levels + 1):
        sides = divmod(data[style + 10 + level], 16)[::-1] if own_precincts & 1 else (15, 15)
        across, down = (((side >> (levels - level)) >> log) + 2 for side, log in zip(tile, sides, strict=True))
        packets += across * down
    blocks = tile[0] * tile[1] >> (block_width + block_height + 4)
    return _BLOCK_BYTES + components * layers * (packets + blocks // 8)
