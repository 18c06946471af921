"""Pictures whose data end early are errors in every format; valid files are not."""

import io

import numpy as np
import pytest
from PIL import Image

from vitjax.errors import ImageError
from vitjax.images.reading import load_image


def photo(width=160, height=120, seed=0):
    """A smooth image with noise, without black pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / (30 + c)) + np.cos(y / (25 - c)) for c in range(3)], -1)
    return Image.fromarray((128 + 50 * waves + rng.normal(0, 8, waves.shape)).clip(1, 255).astype(np.uint8))


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "adapted tables": {"optimize": True},
    "restart markers": {"restart_marker_rows": 1},
    "progressive with restart markers": {"progressive": True, "restart_marker_rows": 1},
}


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("share", [10, 50, 90, 97])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_with_an_early_end_marker_is_rejected(options, share, mode):
    whole = encoded(photo().convert(mode), "JPEG", **options)
    cut = whole[: len(whole) * share // 100]
    for ending in (b"\xff\xd9", b"\xff\xd9" + bytes(len(whole) - len(cut)), bytes(len(whole) - len(cut)), b""):
        with pytest.raises(ImageError, match=r"truncated or damaged|damaged header"):
            load_image(cut + ending)


def test_jpeg_with_a_hole_of_zeros_is_rejected():
    for options in JPEGS.values():
        whole = encoded(photo(640, 480), "JPEG", **options)
        start = len(whole) // 2
        with pytest.raises(ImageError, match="zero bytes in place of the JPEG's data"):
            load_image(whole[:start] + bytes(2000) + whole[start + 2000 :])


FORMATS = {
    "PNG": {},
    "GIF": {},
    "BMP": {},
    "PPM": {},
    "TIFF": {},
    "JPEG2000": {},
    "WEBP": {},
    "WEBP lossless": {"lossless": True},
    **{f"TIFF {name}": {"compression": name} for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits")},
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [10, 50, 85])
def test_file_that_ends_early_or_in_zeros_is_rejected(name, share):
    whole = encoded(photo(), name.split()[0], **FORMATS[name])
    cut = whole[: len(whole) * share // 100]
    for ending in (b"", bytes(len(whole) - len(cut))):
        with pytest.raises(ImageError):
            load_image(cut + ending)


def test_png_with_zeros_inside_of_one_data_chunk_is_rejected():
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.random.default_rng(0).integers(0, 256, (60, 1 + 3 * 60), np.uint8)
    rows[:, 0] = 0
    packed = zlib.compress(rows.tobytes())
    header = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60, 60, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", packed)
    whole = header + body + chunk(b"IEND", b"")
    np.testing.assert_array_equal(load_image(whole).pixels, rows[:, 1:].reshape(60, 60, 3))
    damaged = body[:3000] + bytes(1000) + body[4000:]
    with pytest.raises(ImageError, match="checksum"):
        load_image(header + damaged + chunk(b"IEND", b""))
    with pytest.raises(ImageError, match="no end chunk"):
        load_image(header + body)


PICTURES = {
    "photo": photo(),
    "tiny": photo(9, 7),
    "black": Image.new("RGB", (640, 480)),
    "grey": Image.new("RGB", (64, 48), (128, 128, 128)),
    "white": Image.new("RGB", (1200, 900), (255, 255, 255)),
}


@pytest.mark.parametrize("picture", PICTURES)
def test_valid_files_are_read_exactly(picture):
    image = PICTURES[picture]
    jpegs = [{**options, "quality": quality} for options in JPEGS.values() for quality in (5, 75, 100)]
    cases = [("JPEG", options) for options in jpegs] + [(name.split()[0], FORMATS[name]) for name in FORMATS]
    for kind, options in cases:
        for mode in ("RGB", "L", "CMYK") if kind == "JPEG" else ("RGB",):
            data = encoded(image.convert(mode), kind, **options)
            expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            np.testing.assert_array_equal(load_image(data).pixels, expected, f"{kind} {options} {mode}")
            if kind == "JPEG":  # phones append videos and other pictures
                np.testing.assert_array_equal(load_image(data + b"appended" + bytes(999)).pixels, expected)


def test_black_areas_of_uncompressed_pictures_are_valid():
    pixels = np.asarray(photo()).copy()
    pixels[90:] = 0  # a black bar
    pixels[60:, :40] = 0  # beside an object
    for kind in ("BMP", "PPM", "TIFF"):
        for flipped in (pixels, pixels[::-1]):
            data = encoded(Image.fromarray(np.ascontiguousarray(flipped)), kind)
            np.testing.assert_array_equal(load_image(data).pixels, flipped)
