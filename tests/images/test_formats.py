"""Which files are opened at all: no programs, nothing that needs too much memory, and names for what is refused."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vitjax.errors import ConfigError, ImageError
from vitjax.images.geometry import Preprocessing
from vitjax.images.picture import read_picture
from vitjax.images.reading import load_image, to_pixels


def png(width, height, depth=8, colour=0, rows=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_postscript_is_named_and_starts_no_program(tmp_path, monkeypatch):
    called, program = tmp_path / "called", tmp_path / "gs"
    program.write_text(f"#!/bin/sh\necho called > {called}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "cat.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(ImageError, match=r"cat\.jpg: a PostScript file, which is a program and is not run"):
        load_image(tmp_path / "cat.jpg")
    assert not called.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400), "HEIC"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\0\0\0\x18ftypisom" + bytes(400), "video"),
        (b'<?xml version="1.0"?><svg width="3">', "SVG"),
        (bytes(5000), "only zero bytes"),
    ],
)
def test_files_of_other_kinds_are_named(content, name):
    with pytest.raises(ImageError, match=f"image bytes: .*{name}"):
        load_image(content)


@pytest.mark.parametrize(
    ("depth", "colour"), [(8, 0), (16, 0), (8, 6), (16, 2)], ids=["grey", "deep grey", "rgba", "deep"]
)
def test_memory_is_bounded_before_decoding(depth, colour, monkeypatch):
    monkeypatch.setattr(Image.Image, "convert", None)  # decoding would fail otherwise
    with pytest.raises(ImageError, match=r"takes about \d+ MiB, more than the limit of 1024 MiB"):
        load_image(png(13_000, 13_000, depth, colour))


def test_picture_within_the_limit_is_not_refused():
    assert load_image(png(64, 64, rows=bytes(65 * 64))).pixels.shape == (64, 64, 3)
    # A baseline JPEG of 108 megapixels, as phones take them, needs 4 bytes a pixel.
    header = Image.new("RGB", (12_000, 9_000))
    assert read_picture(header, preprocessing=Preprocessing()).size == (9_000, 12_000)


def test_thin_picture_is_rejected_before_it_is_decoded():
    with pytest.raises(ImageError, match="too long and thin"):
        to_pixels(png(60_000_000, 2), Preprocessing())


def test_too_little_memory_is_an_error_that_names_the_image(monkeypatch):
    def load(self):
        raise MemoryError

    data = png(64, 64, rows=bytes(65 * 64))
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(ImageError, match="image bytes: too little memory to decode 64 x 64 pixels") as raised:
        load_image(data)
    assert isinstance(raised.value.__cause__, MemoryError)


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match=r"x\.jpg: not a regular file"):
        load_image(tmp_path / "x.jpg")


def test_what_was_done_is_noted(tmp_path):
    grey = np.random.default_rng(0).integers(0, 4096, (40, 60)).astype(np.uint16)
    deep = load_image(png(60, 40, 16, 0, b"".join(b"\0" + row.astype(">u2").tobytes() for row in grey)))
    assert (deep.bits, deep.notes) == (12, ("few_bits",))
    colours = np.repeat(grey[..., None], 3, 2)
    deep = load_image(png(60, 40, 16, 2, b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)))
    assert (deep.bits, deep.notes) == (12, ("few_bits",))
    assert load_image(Image.fromarray(grey * 16)).notes == ()
    rgba = np.full((40, 60, 4), 255, np.uint8)
    assert load_image(rgba).notes == ()
    rgba[3, 3, 3] = 0
    assert load_image(rgba).notes == ("transparency_dropped",)
    wide = read_picture(np.zeros((40, 100, 3), np.uint8), preprocessing=Preprocessing(crop_pct=1.0))
    assert wide.notes == ("cropped",)
    with pytest.raises(ConfigError, match="exif=True must be 'apply' or 'ignore'"):
        load_image(rgba, exif=True)


def test_arrays_of_other_layouts_get_advice():
    with pytest.raises(ImageError, match=r"channels come first: pass array.transpose\(1, 2, 0\)"):
        load_image(np.zeros((3, 40, 60), np.uint8))
    with pytest.raises(ImageError, match="astype"):
        load_image(np.zeros((40, 60, 3), np.int64))
