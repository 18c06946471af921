import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import SMALL, ListSource, encoded, pixels, save, save_mask
from vitjax.data.decode import decode
from vitjax.data.source import Raw
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


def test_sound_picture(tmp_path):
    path, mask = save(tmp_path / "a.png"), save_mask(tmp_path / "m.png")
    row = decoded(path, mask)
    assert (row.status, row.cause, row.mask_state, row.mode, row.size) == ("ok", "", "object", "RGB", "40 x 60")
    np.testing.assert_array_equal(row.pixels, to_pixels(path, SMALL))
    expected = geometry(60, 40, SMALL).mask(np.asarray(Image.open(mask)))
    np.testing.assert_array_equal(row.mask, expected)
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
    ids=["row 2 empty", "row 2 html", "row 3 truncated", "row 7 bomb", "row 7 1x1"],
)
def test_rows_2_3_7_damaged_picture_is_a_status(content, cause, tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    row = decoded(path, save_mask(tmp_path / "m.png"))
    assert row.status == "unreadable"
    assert cause in row.cause
    assert row.cause.startswith(f"{path}: ")
    assert "\n" not in row.cause
    assert not row.pixels.any()
    assert row.pixels.shape == (32, 32, 3)
    assert (row.mask, row.mask_state) == (None, "none")
    # Bytes have no name of their own.
    assert decoded(content).cause.startswith("list:test: picture 0 (p0): ")


def test_row_1_file_that_vanishes_later_is_missing(tmp_path):
    here, gone = save(tmp_path / "a.png"), tmp_path / "gone.png"
    assert decoded(gone)[2:4] == ("missing", f"{gone}: no such file")
    row = decoded(here, gone)
    assert row.status == "missing"
    assert str(gone) in row.cause


def test_thin_picture_is_named():
    row = decoded(np.zeros((2, 2_000_000, 3), np.uint8))
    assert row.status == "unreadable"
    assert row.cause == "list:test: picture 0 (p0): 2000000 x 2 pixels is too long and thin to be resized"


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "RGBA", "1"])
def test_row_4_mode_is_converted_and_recorded(mode, tmp_path):
    path = save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), mode=mode)
    row = decoded(path)
    assert (row.status, row.mode) == ("ok", mode)
    np.testing.assert_array_equal(row.pixels, to_pixels(path, SMALL))


def test_row_5_sixteen_bit_is_scaled(tmp_path):
    grey = pixels()[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(
        decoded(tmp_path / "deep.png").pixels, decoded(np.repeat(grey[..., None], 3, 2)).pixels
    )


def test_row_6_exif_is_ignored_and_a_turned_mask_is_told(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels()).save(path, exif=exif)
    row = decoded(path, save_mask(tmp_path / "m.png", 60, 40))
    assert (row.status, row.size) == ("ok", "40 x 60")
    np.testing.assert_array_equal(row.pixels, to_pixels(path, SMALL, exif=False))
    turned = decoded(path, save_mask(tmp_path / "t.png", 40, 60))
    assert turned.status == "mask_size"
    assert "EXIF" in turned.cause


@pytest.mark.parametrize("size", [(120, 80), (30, 20), (29, 19), (61, 41)], ids=str)
def test_row_11_mask_of_the_same_aspect_is_scaled(size, tmp_path):
    row = decoded(save(tmp_path / "a.png"), save_mask(tmp_path / "m.png", *size), ALL)
    assert (row.status, row.mask_state) == ("ok", "object")
    assert row.mask.shape == (32, 32)
    assert row.mask[:, :14].all()
    assert not row.mask[:, 18:].any()


@pytest.mark.parametrize("size", [(100, 80), (40, 60), (60, 42), (60, 39)], ids=str)
def test_row_11_mask_of_another_aspect_is_a_status(size, tmp_path):
    mask = save_mask(tmp_path / "m.png", *size)
    row = decoded(save(tmp_path / "a.png"), mask)
    assert row.status == "mask_size"
    assert row.cause == f"{mask}: {size[1]} x {size[0]} does not fit the picture of 40 x 60"
    assert not row.pixels.any()


@pytest.mark.parametrize(
    ("value", "state"), [(0, "all_background"), (255, "all_foreground"), (1, "all_foreground"), (128, "all_background")]
)
def test_row_12_mask_of_one_kind(value, state, tmp_path):
    mask = save_mask(tmp_path / "m.png", values=np.full((40, 60), value))
    assert decoded(save(tmp_path / "a.png"), mask).mask_state == state


def test_row_12_counts_after_the_crop(tmp_path):
    values = np.zeros((40, 60))
    values[:, :3] = 255  # the crop takes the sides off
    assert (
        decoded(save(tmp_path / "a.png"), save_mask(tmp_path / "m.png", values=values)).mask_state == "all_background"
    )


@pytest.mark.parametrize("content", [b"", b"text", encoded(60, 40, "PNG")[:400]], ids=["empty", "text", "cut"])
def test_damaged_mask_is_a_status_that_names_it(content, tmp_path):
    mask = tmp_path / "m.png"
    mask.write_bytes(content)
    row = decoded(save(tmp_path / "a.png"), mask)
    assert row.status == "mask_unreadable"
    assert str(mask) in row.cause
    assert decoded(pixels(), content).cause.startswith("list:test: picture 0 (p0): ")


def test_what_a_mask_may_be(tmp_path):
    half = np.zeros((32, 32), bool)
    half[:, :10] = True
    expected = np.where(half, 255, 0)
    greys = np.where(half, 255, 0).astype(np.uint8)
    palette = Image.fromarray(half.astype(np.uint8) * 15)
    palette = palette.convert("P")
    palette.putdata((half * 15).ravel().tolist())
    palette.putpalette([0, 0, 0] + [0, 0, 0] * 255)  # colours do not matter
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
        row = decoded(pixels(32, 32), mask, ALL)
        assert row.status == "ok", name
        np.testing.assert_array_equal(row.mask, expected, name)


def test_ignored_value():
    values = np.array([[0, 128], [255, 7]], np.uint8).repeat(16, 0).repeat(16, 1)
    picture = pixels(32, 32)
    assert set(np.unique(decode(ListSource([Raw(picture, values)]), 0, ALL).mask)) == {0, 128, 255}
    row = decode(ListSource([Raw(picture, values, ignore=255)]), 0, ALL)
    np.testing.assert_array_equal(row.mask[::16, ::16], [[0, 255], [128, 255]])


def test_squash_takes_nothing_off():
    picture = pixels(64, 32)
    row = decoded(picture, resize="squash")
    np.testing.assert_array_equal(row.pixels, to_pixels(picture, Preprocessing((32, 32), 1.0, "squash")))
    with pytest.raises(ConfigError, match="'squash', not 'stretch'"):
        decoded(picture, resize="stretch")


def test_source_that_fails_is_named():
    class Broken(ListSource):
        def read(self, index):
            raise KeyError("no record")

    with pytest.raises(ImageError, match=r"list:test: picture 0 \(p0\): reading failed: KeyError"):
        decode(Broken([Raw(pixels())]), 0, SMALL)
