"""Masks are what their source declares, or get a status; nothing becomes an object or ignored by accident."""

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import ListSource, pixels, save
from vitjax.data.decode import decode
from vitjax.data.read_as import read_as
from vitjax.data.source import Raw
from vitjax.errors import ConfigError
from vitjax.images.geometry import Preprocessing

SIZE = 32
ALL = Preprocessing(size=(SIZE, SIZE), crop_pct=1.0)
HALF = np.zeros((SIZE, SIZE), bool)
HALF[:, :10] = True


def read(mask, **declared):
    return decode(ListSource([Raw(pixels(SIZE, SIZE), mask, **declared)]), 0, ALL)


def columns(*values, dtype=np.uint8):
    """A mask whose columns have these values, repeated."""
    return np.resize(np.asarray(values, dtype), (SIZE, SIZE))


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_noise_of_a_jpeg_mask_is_no_object(quality, tmp_path):
    path = tmp_path / "m.jpg"
    Image.fromarray(np.where(HALF, 255, 0).astype(np.uint8)).save(path, quality=quality)
    result = read(path)
    assert (result.status, result.notes) == ("ok", "mask_threshold")
    assert (result.mask != np.where(HALF, 255, 0)).mean() < 0.01


def test_class_numbers_in_a_jpeg_get_a_status(tmp_path):
    path = tmp_path / "m.jpg"
    Image.fromarray(np.where(HALF, 15, 0).astype(np.uint8)).save(path)
    assert read(path).status == "mask_values"
    assert "save it as PNG" in read(path).cause
    black = tmp_path / "black.jpg"
    Image.fromarray(np.zeros((SIZE, SIZE), np.uint8)).save(black)
    assert (read(black).status, read(black).mask_state) == ("ok", "all_background")


def test_class_number_128_is_an_object(tmp_path):
    np.testing.assert_array_equal(read(columns(0, 3, 128)).mask == 255, columns(0, 3, 128) > 0)
    palette = Image.fromarray(columns(0, 128)).convert("P")
    palette.putdata(columns(0, 128).ravel().tolist())
    palette.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read(tmp_path / "m.png").mask == 255, columns(0, 128) > 0)
    np.testing.assert_array_equal(read(columns(0, 128, 255)).mask, columns(0, 128, 255))
    result = read(columns(0, 128))
    assert result.status == "mask_values" and "mask_ignore" in result.cause
    assert read(columns(0, 128), ignore=-1).mask_state == "object"
    assert read(columns(0, 128), ignore=128).mask_state == "all_background"


def test_outline_of_voc_is_not_taken_for_an_object():
    values = columns(0, 0, 15, 15, 15, 255)
    assert read(values).status == "mask_values"
    assert "255 may be an outline" in read(values).cause
    expected = np.where(values == 255, 128, np.where(values == 15, 255, 0))
    np.testing.assert_array_equal(read(values, ignore=255, values=21).mask, expected)
    result = read(columns(0, 77), ignore=255, values=21)
    assert result.status == "mask_values"
    assert "contains the value 77; the source declares 0 to 20 and 255 (ignored)" in result.cause


def test_sixteen_bit_masks_are_exact(tmp_path):
    path = tmp_path / "m.png"
    Image.fromarray(columns(0, 128, 300, 1000, dtype=np.uint16)).save(path)
    expected = np.resize([0, 255, 255, 128], (SIZE, SIZE))
    np.testing.assert_array_equal(read(path, ignore=1000).mask, expected)
    assert read(path).mask_state == "object"
    assert (read(path).mask == 128).sum() == 0


def test_imagenet_s_masks_are_red_plus_256_green(tmp_path):
    path, values = tmp_path / "m.png", columns(0, 5, 300, 1000, dtype=np.int64)
    colours = np.stack([values % 256, values // 256, 0 * values], -1).astype(np.uint8)
    Image.fromarray(colours).save(path)
    np.testing.assert_array_equal(read(path, ignore=1000).mask, np.resize([0, 255, 255, 128], (SIZE, SIZE)))


def test_smooth_edges_are_thresholded_and_floats_refused():
    soft = np.where(HALF, 255, 0).astype(np.uint8)
    soft[:, 10:14] = [200, 150, 100, 20]
    result = read(soft)
    assert (result.status, result.notes) == ("ok", "mask_threshold")
    np.testing.assert_array_equal(result.mask[0, 8:15], [255, 255, 255, 255, 0, 0, 0])
    assert read(HALF.astype(np.float32)).status == "mask_values"


def test_small_mask_is_noted(tmp_path):
    mask = np.where(HALF, 255, 0).astype(np.uint8)[::4, ::4]
    assert read(mask).notes == "mask_enlarged"
    assert read(np.where(HALF, 255, 0).astype(np.uint8)).notes == ""


def turned(path, values, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values).save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", range(2, 9))
def test_mask_is_turned_with_its_picture(orientation, tmp_path):
    stored = pixels(60, 40)
    mask = np.zeros((40, 60), np.uint8)
    mask[5:15, 30:55] = 255
    marked = stored.copy()
    marked[mask > 0] = 250
    image = turned(tmp_path / "a.png", marked, orientation)
    exact = Preprocessing(size=(60, 40) if orientation > 4 else (40, 60), crop_pct=1.0, crop_mode="squash")
    source = read_as(ListSource([Raw(image, mask)]), "apply")
    result = decode(source, 0, exact)
    assert result.notes == "exif_applied mask_turned"
    assert result.size == ("60 x 40" if orientation > 4 else "40 x 60")
    np.testing.assert_array_equal((result.pixels == 250).all(-1), result.mask == 255)
    assert (result.mask == 255).sum() == 250
    ignored = decode(ListSource([Raw(image, mask)]), 0, exact)
    assert ignored.notes == "exif_ignored"
    assert source.digest() != source.base.digest()


def test_mask_drawn_on_the_upright_picture_is_not_turned(tmp_path):
    image = turned(tmp_path / "a.png", pixels(60, 40), 6)
    upright = np.zeros((60, 40), np.uint8)
    upright[:10] = 255
    (raw,) = [Raw(image, upright)]
    exact = Preprocessing(size=(60, 40), crop_pct=1.0, crop_mode="squash")
    result = decode(read_as(ListSource([raw]), "apply"), 0, exact)
    assert (result.status, result.notes) == ("ok", "exif_applied")
    np.testing.assert_array_equal(result.mask, upright)
    assert "--exif apply" in decode(ListSource([raw]), 0, ALL).cause


def test_mask_ignore_replaces_what_the_source_declares(tmp_path):
    image = save(tmp_path / "a.png", SIZE, SIZE)
    source = ListSource([Raw(image, columns(0, 9, 255))])
    assert decode(source, 0, ALL).status == "mask_values"
    np.testing.assert_array_equal(decode(read_as(source, mask_ignore=255), 0, ALL).mask[0, :3], [0, 255, 128])
    np.testing.assert_array_equal(decode(read_as(source, mask_ignore=-1), 0, ALL).mask[0, :3], [0, 255, 255])
    assert read_as(source) is source
    with pytest.raises(ConfigError, match="mask_ignore='x'"):
        read_as(source, mask_ignore="x")
