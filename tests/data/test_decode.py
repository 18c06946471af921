import errno
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.data.pictures import SMALL, ListSource, encoded, pixels, save, save_mask
from vitjax.data.decode import decode
from vitjax.data.source import UNAVAILABLE, Raw
from vitjax.errors import ConfigError, ImageError
from vitjax.images.geometry import Preprocessing, geometry
from vitjax.images.reading import to_pixels

ALL = Preprocessing(size=(32, 32), crop_pct=1.0)


def decoded(image, mask=None, preprocessing=SMALL, **options):
    return decode(ListSource([Raw(image, mask)], **options), 0, preprocessing)


def png_header(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_intact_image(tmp_path):
    path, mask = save(tmp_path / "a.png"), save_mask(tmp_path / "m.png")
    result = decoded(path, mask)
    assert result[2:] == ("ok", "", "object", "RGB", "40 x 60", "")
    np.testing.assert_array_equal(result.pixels, to_pixels(path, SMALL))
    expected = geometry(60, 40, SMALL).mask(np.asarray(Image.open(mask)))
    np.testing.assert_array_equal(result.mask, expected)
    assert decoded(path).mask_state == "none"
    assert decoded(path).mask is None


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "empty"),
        (b"<html>404</html>", "HTML"),
        (encoded(300, 200)[:-2000], "truncated"),
        (png_header(30000, 30000), "30000 x 30000"),
        (encoded(1, 1, "PNG"), "1 x 1 pixels is too small"),
    ],
    ids=["empty", "html", "truncated", "bomb", "1x1"],
)
def test_damaged_image_gets_a_status(content, cause, tmp_path):
    """Empty files, HTML pages, truncated files, and pictures that are too large or too small."""
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    result = decoded(path, save_mask(tmp_path / "m.png"))
    assert result.status == "unreadable"
    assert cause in result.cause
    assert result.cause.startswith(f"{path}: ")
    assert "\n" not in result.cause
    assert not result.pixels.any()
    assert result.pixels.shape == (32, 32, 3)
    assert (result.mask, result.mask_state) == (None, "none")
    # Bytes have no file name, so the source's name and the id are used.
    assert decoded(content).cause.startswith("list:test: image 0 (p0): ")


def test_file_removed_after_opening_is_missing(tmp_path):
    """A file that vanishes during the run is a status and no error."""
    here, gone = save(tmp_path / "a.png"), tmp_path / "gone.png"
    assert decoded(gone)[2:4] == ("missing", f"{gone}: no such file")
    result = decoded(here, gone)
    assert result.status == "missing"
    assert str(gone) in result.cause


def test_cause_of_a_thin_array_names_the_image():
    result = decoded(np.zeros((2, 2_000_000, 3), np.uint8))
    assert result.status == "unreadable"
    assert result.cause == "list:test: image 0 (p0): 2000000 x 2 pixels is too long and thin to be resized"


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "RGBA", "1"])
def test_mode_is_converted_and_recorded(mode, tmp_path):
    """Every colour mode is converted to RGB, and the record says which it was."""
    path = save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), mode=mode)
    result = decoded(path)
    assert (result.status, result.mode) == ("ok", mode)
    np.testing.assert_array_equal(result.pixels, to_pixels(path, SMALL))


def test_sixteen_bit_image_is_scaled(tmp_path):
    """16-bit values are divided by 257 and not clipped."""
    grey = pixels()[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(
        decoded(tmp_path / "deep.png").pixels, decoded(np.repeat(grey[..., None], 3, 2)).pixels
    )


def test_exif_is_ignored_and_the_cause_of_a_rotated_mask_mentions_it(tmp_path):
    """timm ignores the orientation, too."""
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels()).save(path, exif=exif)
    result = decoded(path, save_mask(tmp_path / "m.png", 60, 40))
    assert (result.status, result.size) == ("ok", "40 x 60")
    np.testing.assert_array_equal(result.pixels, to_pixels(path, SMALL))
    rotated = decoded(path, save_mask(tmp_path / "t.png", 40, 60))
    assert rotated.status == "mask_size"
    assert "EXIF" in rotated.cause


@pytest.mark.parametrize("size", [(120, 80), (30, 20), (29, 19), (61, 41)], ids=str)
def test_mask_of_the_same_aspect_ratio_is_scaled(size, tmp_path):
    """A smaller or larger mask of the picture's shape is valid."""
    result = decoded(save(tmp_path / "a.png"), save_mask(tmp_path / "m.png", *size), ALL)
    assert (result.status, result.mask_state) == ("ok", "object")
    assert result.mask.shape == (32, 32)
    assert result.mask[:, :14].all()
    assert not result.mask[:, 18:].any()


@pytest.mark.parametrize("size", [(100, 80), (40, 60), (60, 42), (60, 39)], ids=str)
def test_mask_of_another_aspect_ratio_gets_a_status(size, tmp_path):
    """The cause states both sizes."""
    mask = save_mask(tmp_path / "m.png", *size)
    result = decoded(save(tmp_path / "a.png"), mask)
    assert result.status == "mask_size"
    assert result.cause == f"{mask}: {size[1]} x {size[0]} does not fit the image of 40 x 60"
    assert not result.pixels.any()


@pytest.mark.parametrize(("value", "state"), [(0, "all_background"), (255, "all_foreground"), (1, "all_foreground")])
def test_mask_state_of_a_uniform_mask(value, state, tmp_path):
    """A mask without object or without background is recorded as such."""
    mask = save_mask(tmp_path / "m.png", values=np.full((40, 60), value))
    assert decoded(save(tmp_path / "a.png"), mask).mask_state == state


def test_mask_state_is_that_after_the_crop(tmp_path):
    """An object outside of the crop is none."""
    values = np.zeros((40, 60))
    values[:, :3] = 255  # the crop removes these columns
    assert (
        decoded(save(tmp_path / "a.png"), save_mask(tmp_path / "m.png", values=values)).mask_state == "all_background"
    )


@pytest.mark.parametrize("content", [b"", b"text", encoded(60, 40, "PNG")[:400]], ids=["empty", "text", "truncated"])
def test_damaged_mask_gets_a_status_and_a_cause_that_names_it(content, tmp_path):
    mask = tmp_path / "m.png"
    mask.write_bytes(content)
    result = decoded(save(tmp_path / "a.png"), mask)
    assert result.status == "mask_unreadable"
    assert str(mask) in result.cause
    assert decoded(pixels(), content).cause.startswith("list:test: image 0 (p0): ")


def test_mask_formats(tmp_path):
    half = np.zeros((32, 32), bool)
    half[:, :10] = True
    expected = np.where(half, 255, 0)
    greys = np.where(half, 255, 0).astype(np.uint8)
    palette = Image.fromarray(half.astype(np.uint8) * 15)
    palette = palette.convert("P")
    palette.putdata((half * 15).ravel().tolist())
    palette.putpalette([0, 0, 0] + [0, 0, 0] * 255)  # masks are read by palette index, not by colour
    colour = np.zeros((32, 32, 3), np.uint8)
    colour[half] = 128, 0, 0
    forms = {
        "bool": half,
        "zero_one": half.astype(np.int64),
        "grey": Image.fromarray(greys),
        "bit": Image.fromarray(greys).convert("1"),
        "palette": palette,
        "rgb": Image.fromarray(colour),
        "rgba": Image.fromarray(colour).convert("RGBA"),
        "la": Image.fromarray(greys).convert("LA"),
        "deep": Image.fromarray(half.astype(np.uint16) * 65535),
    }
    for name, form in forms.items():
        mask = form
        if isinstance(form, Image.Image):
            mask = tmp_path / f"{name}.png"
            form.save(mask)
        result = decoded(pixels(32, 32), mask, ALL)
        assert result.status == "ok", name
        np.testing.assert_array_equal(result.mask, expected, name)


def test_ignored_value():
    values = np.array([[0, 128], [255, 7]], np.uint8).repeat(16, 0).repeat(16, 1)
    image = pixels(32, 32)
    assert set(np.unique(decode(ListSource([Raw(image, values, ignore=128)]), 0, ALL).mask)) == {0, 128, 255}
    result = decode(ListSource([Raw(image, values, ignore=255)]), 0, ALL)
    np.testing.assert_array_equal(result.mask[::16, ::16], [[0, 255], [128, 255]])


def test_squash_does_not_crop():
    image = pixels(64, 32)
    result = decoded(image, resize="squash")
    np.testing.assert_array_equal(result.pixels, to_pixels(image, Preprocessing((32, 32), 1.0, "squash")))
    with pytest.raises(ConfigError, match="'squash', not 'stretch'"):
        decoded(image, resize="stretch")


def test_error_of_a_failing_source_names_source_and_image():
    class Broken(ListSource):
        def read(self, index):
            raise KeyError("no record")

    with pytest.raises(ImageError, match=r"list:test: image 0 \(p0\): reading failed: KeyError"):
        decode(Broken([Raw(pixels())]), 0, SMALL)


@pytest.mark.parametrize("cause", [OSError(errno.EIO, "Input/output error"), MemoryError()], ids=["storage", "memory"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_storage_that_fails_while_pixels_are_decoded_is_not_a_property_of_the_image(
    cause, suffix, tmp_path, monkeypatch
):
    def load(self):
        raise cause

    path = save(tmp_path / f"a.{suffix}")
    with monkeypatch.context() as patched:
        patched.setattr(ImageFile.ImageFile, "load", load)
        result = decoded(path)
    assert result.status == UNAVAILABLE and ("Input/output error" in result.cause or "out of memory" in result.cause)
    assert decoded(path).status == "ok"
