"""Pictures whose data end early are errors in every format; valid files are not."""

import io

import numpy as np
import pytest
from PIL import Image, features

from vitjax.errors import ImageError
from vitjax.images.holes import has_hole
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
    "JPEG2000 lossy": {"irreversible": True, "quality_mode": "rates", "quality_layers": [40, 20, 10]},
    "WEBP": {},
    "WEBP lossless": {"lossless": True},
    **({"AVIF": {}, "AVIF coarse": {"quality": 5}} if features.check("avif") else {}),
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


HOLES = {
    "AVIF": {},
    "AVIF of high quality": {"quality": 100},
    "JPEG2000": {},
    "JPEG2000 without boxes": {"no_jp2": True},
    "JPEG2000 lossy, in tiles": {"tile_size": (128, 128), "irreversible": True},
    "BMP": {},
    "PPM": {},
    "TIFF": {},
}


@pytest.mark.parametrize("name", HOLES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_zeros_inside_of_a_file_without_checksums_are_noticed(name, mode):
    kind = name.split()[0]
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    whole = encoded(photo(640, 480).convert(mode), kind, **HOLES[name])
    for share in (20, 50, 80):
        start = len(whole) * share // 100 + 400
        with pytest.raises(ImageError, match="truncated or damaged"):
            load_image(whole[:start] + bytes(6000) + whole[start + 6000 :])


def test_zeros_in_the_coded_alpha_channel_are_noticed_and_those_of_metadata_are_valid():
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    image = photo(640, 480)
    image.putalpha(photo(640, 480, seed=1).convert("L"))
    whole = encoded(image, "AVIF", quality=90, xmp=b"<x>" + bytes(9000))
    np.testing.assert_array_equal(load_image(whole).pixels, np.asarray(Image.open(io.BytesIO(whole)).convert("RGB")))
    for start in (len(whole) // 4, len(whole) * 3 // 4):
        with pytest.raises(ImageError, match="zero bytes in place of the AVIF data"):
            load_image(whole[:start] + bytes(2000) + whole[start + 2000 :])


def test_damaged_pixels_of_a_png_do_not_match_its_checksum():
    whole = encoded(photo(), "PNG")
    for place in (0.2, 0.5, 0.97):
        damaged = bytearray(whole)
        damaged[int(place * len(whole))] ^= 4
        with pytest.raises(ImageError, match="truncated or damaged"):
            load_image(bytes(damaged))
    thin = encoded(Image.fromarray(np.arange(160 * 120, dtype=np.uint16).reshape(120, 160)), "PNG")
    start = thin.find(b"IDAT") + 4
    length = int.from_bytes(thin[start - 8 : start - 4], "big")
    for at in range(start + 60, start + length, 7):  # Pillow alone takes most of these for other pixels
        with pytest.raises(ImageError, match="truncated or damaged"):
            load_image(thin[:at] + bytes([thin[at] ^ 1]) + thin[at + 1 :])


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "WEBP"])
def test_structures_that_make_no_sense_are_left_to_the_decoder(kind):
    if not features.check({"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}[kind]):
        pytest.skip(f"this Pillow has no {kind}")
    whole = encoded(photo(), kind)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(300, size=6)] = rng.choice([0, 1, 255], 6)
        assert has_hole(damaged.tobytes(), kind, 160 * 120) in (False, True)
    assert not any(has_hole(whole[:length], kind, 160 * 120) for length in range(0, 400, 3))


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
    "dots": Image.fromarray(np.where(np.indices((480, 640)).max(0) % 64 < 1, 255, 0).astype(np.uint8)).convert("RGB"),
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
    pixels[20:30] = 0  # a bar inside of the picture
    pixels[35:40, 30:] = 0  # a bar that ends at an object
    for kind in ("BMP", "PPM", "TIFF"):
        for flipped in (pixels, pixels[::-1]):
            data = encoded(Image.fromarray(np.ascontiguousarray(flipped)), kind)
            np.testing.assert_array_equal(load_image(data).pixels, flipped)


def test_avif_of_which_the_pictures_are_gone_is_called_damaged():
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    with pytest.raises(ImageError, match=r"damaged AVIF image|damaged header|truncated"):
        load_image(encoded(photo(), "AVIF")[:60])
    with pytest.raises(ImageError, match="a damaged AVIF image"):
        load_image(b"\0\0\0\x20ftypavifxxxx" + bytes(200))
