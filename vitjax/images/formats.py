"""Open an image file: only formats that Pillow decodes itself, and only if the decoded image fits into memory."""

from __future__ import annotations

import io
from functools import cache
from importlib.util import find_spec

from PIL import Image, ImageFile, UnidentifiedImageError

from vitjax.errors import ImageError

MAX_PIXELS = 178_956_970
"""Pillow's limit: 512 MiB of RGB."""
MAX_FILE_BYTES = MAX_DECODE_BYTES = 2**30
"""Largest file, and the most memory that decoding one image may take [bytes]."""
MIN_SIDE = 2

# Without this list Pillow tries every plugin that is installed. The one for EPS starts Ghostscript, an interpreter of
# programs; others start external programs or have no signature, so that any file may be theirs.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "DIB", "TIFF", "WEBP", "JPEG2000")
# Of Pillow from 11.3 on, and of the package pillow-heif once it is registered.
_OPTIONAL = ("AVIF", "HEIF")

_BYTES_OF_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
_BYTES_OF_DECODER = {"WEBP": 12, "AVIF": 12, "HEIF": 12, "JPEG2000": 16}
"""Memory of the decoder in bytes per pixel, besides the decoded image: copies of the canvas, int32 components."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def open_bytes(data: bytes, name: str) -> Image.Image:
    """Open an image without decoding it.

    Args:
        data: the file's content.
        name: name of the image in error messages.

    Raises:
        ImageError: the data are empty, have none of the supported formats, or a damaged header. Names what they are.
    """
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes)")
    try:
        return Image.open(io.BytesIO(data), formats=_formats())
    except Image.DecompressionBombError as cause:
        size = _header_size(data)
        raise ImageError(f"{name}: {_too_large(*size)}" if size else f"{name}: {cause}") from cause
    except UnidentifiedImageError:
        raise ImageError(f"{name}: {kind_of(data[:512])}") from None
    except MemoryError as cause:
        raise ImageError(f"{name}: too little memory to read the header") from cause
    except Exception as cause:  # Pillow's parsers raise exceptions of any type for damaged data
        raise ImageError(f"{name}: damaged header: {one_line(cause)}") from cause


def check_size(image: Image.Image, name: str, *, copies: int = 0) -> None:
    """Check an image's size and the memory that decoding it takes, before it is decoded.

    Args:
        image: an image that is open, but not decoded.
        name: name of the image in error messages.
        copies: bytes per pixel that the caller needs besides the decoded RGB image.

    Raises:
        ImageError: a side is below MIN_SIDE, there are more than MAX_PIXELS pixels, decoding needs more than
            MAX_DECODE_BYTES, or Pillow is set to accept truncated images.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {_too_large(width, height)}")
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name}: {width} x {height} pixels is too small; both sides must be at least {MIN_SIDE}")
    needed = width * height * (_bytes_per_pixel(image) + copies)
    if needed > MAX_DECODE_BYTES:
        raise ImageError(
            f"{name}: decoding {width} x {height} pixels of mode {image.mode} takes about {needed / 2**20:.0f} MiB, "
            f"more than the limit of {MAX_DECODE_BYTES / 2**20:.0f} MiB"
        )
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        # Setting it to False here would be a race between threads.
        raise ImageError(
            f"{name}: PIL.ImageFile.LOAD_TRUNCATED_IMAGES is True, so truncated images would not be detected; "
            "set it to False"
        )


def kind_of(head: bytes) -> str:
    """What a file is that is no supported image, by its first bytes."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"version https://git-lfs."):
        return "a Git LFS pointer, not the image; `git lfs pull` fetches it"
    if head[4:8] == b"ftyp":
        if head[8:12] in _HEIF_BRANDS:
            return (
                "a HEIC/HEIF image, which is not supported; convert it to JPEG or PNG, or install pillow-heif and call "
                "pillow_heif.register_heif_opener()"
            )
        if head[8:12] in (b"avif", b"avis"):
            if "AVIF" in _built_in():
                return "a damaged AVIF image"
            return "an AVIF image, which this version of Pillow does not decode; convert it to JPEG or PNG"
        return "a video or another file of the MP4 family, not an image"
    if text.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
        return "a PostScript file, which is a program and is not run; convert it to PNG"
    if text.startswith(b"%PDF"):
        return "a PDF document, not an image"
    if b"<svg" in head:
        return "an SVG drawing, which is not supported; convert it to PNG"
    if text.startswith(b"<"):
        return "an HTML or XML page"
    if not head.strip(b"\0"):
        return "only zero bytes, as an interrupted download leaves them"
    return "not an image (unknown format or damaged header)"


def one_line(cause: BaseException) -> str:
    """The message of an exception in one line; its type if it has none."""
    return " ".join(str(cause).split()) or type(cause).__name__


@cache
def _built_in() -> tuple[str, ...]:
    avif = ("AVIF",) if find_spec("PIL.AvifImagePlugin") is not None else ()
    return _FORMATS + avif


def _formats() -> tuple[str, ...]:
    registered = tuple(name for name in _OPTIONAL if name in Image.OPEN and name not in _built_in())
    return _built_in() + registered


def _bytes_per_pixel(image: Image.Image) -> int:
    """Peak memory of decoding and converting to RGB [bytes per pixel]; an upper bound."""
    stored = _BYTES_OF_MODE.get(image.mode, 4)
    converted = 0 if image.mode == "RGB" else 4
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        converted += 8  # integer arithmetic in NumPy
    decoder = _BYTES_OF_DECODER.get(image.format or "", 0)
    if image.info.get("progressive"):
        decoder += 2 * len(image.getbands())  # libjpeg keeps the coefficients of all scans
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, (8,))
        decoder += -(-sum(bits) // 8)  # a strip or tile may be the whole image
    return stored + converted + decoder


def _header_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) from the header: the error of `Image.open` does not contain the size."""
    for name in _formats():
        factory, accept = Image.OPEN[name]
        try:
            if accept is None or accept(data[:16]) is True:
                return factory(io.BytesIO(data), "").size
        except Exception:  # the file has another format
            continue
    return None


def _too_large(width: int, height: int) -> str:
    return f"{width} x {height} = {width * height} pixels, more than the limit of {MAX_PIXELS}"
