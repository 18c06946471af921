import numpy as np
import pytest
from PIL import Image

from vitjax.errors import ImageError
from vitjax.images.geometry import Preprocessing, geometry


def checkerboard(width, height, cell):
    y, x = np.mgrid[:height, :width]
    return ((x // cell + y // cell) % 2).astype(np.uint8)


def far_from_edges(width, height, cell, margin):
    """Pixels whose distance to every cell border is at least `margin`."""
    y, x = np.mgrid[:height, :width]
    return np.all([(margin <= v % cell) & (v % cell < cell - margin) for v in (x, y)], axis=0)


@pytest.mark.parametrize(("width", "height"), [(500, 333), (333, 500), (640, 201), (120, 90)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_checkerboard_survives_the_round_trip(width, height, crop_mode):
    cell = 30
    board = checkerboard(width, height, cell)
    geo = geometry(width, height, Preprocessing(crop_mode=crop_mode))
    back = geo.to_original(geo.mask(board))
    inside = ~np.isnan(back)
    interior = far_from_edges(width, height, cell, 4) & inside
    assert back.shape == (height, width)
    assert interior.sum() > 0.2 * inside.sum()
    np.testing.assert_array_equal(back[interior] > 0.5, board[interior] > 0)
    # A shift of one pixel would change the colour of a fraction 2 / cell of all pixels.
    assert np.mean((back > 0.5)[inside] != board[inside]) < 0.6 * 2 / cell


def test_outside_the_crop_is_nan():
    geo = geometry(500, 250, Preprocessing())
    back = geo.to_original(np.ones((224, 224), np.float32))
    columns = ~np.isnan(back).all(axis=0)
    assert np.isnan(back).all(axis=0).sum() == pytest.approx(500 - 250 * 0.9, abs=2)
    assert columns.argmax() == pytest.approx((500 - 226) / 2, abs=1.5)
    assert np.nanmin(back) == np.nanmax(back) == 1


def test_ramp_is_not_shifted_by_the_round_trip():
    width, height = 400, 300
    x = np.tile(np.arange(width, dtype=np.float32), (height, 1))
    geo = geometry(width, height, Preprocessing(size=(448, 448), crop_pct=1.0))
    back = geo.to_original(geo.mask(x))
    inside = ~np.isnan(back)
    assert abs((back - x)[inside].mean()) < 0.05
    assert np.abs((back - x)[inside]).max() <= 1


def test_mask_and_image_are_transformed_alike():
    board = checkerboard(500, 333, 40) * 255
    geo = geometry(500, 333, Preprocessing())
    image = geo.image(Image.fromarray(board).convert("RGB"))[..., 0]
    assert np.mean((image > 127) != (geo.mask(board) > 0)) < 0.02


@pytest.mark.parametrize(("width", "height"), [(500, 333), (37, 91), (248, 248), (1000, 713)])
def test_mask_selects_the_same_pixels_as_pillows_nearest(width, height):
    numbers = np.random.default_rng(0).integers(0, 255, (height, width), dtype=np.uint8)
    geo = geometry(width, height, Preprocessing())
    resized = Image.fromarray(numbers).resize(geo.resized[::-1], Image.Resampling.NEAREST)
    expected = np.asarray(resized)[geo.top : geo.top + 224, geo.left : geo.left + 224]
    np.testing.assert_array_equal(geo.mask(Image.fromarray(numbers)), expected)
    np.testing.assert_array_equal(geo.mask(numbers > 100), expected > 100)
    np.testing.assert_array_equal(geo.mask(numbers.astype(np.int64)), expected)


def test_padding_is_background_and_does_not_affect_the_image():
    geo = geometry(400, 200, Preprocessing(crop_mode="border", crop_pct=1.0))
    mask = geo.mask(np.ones((200, 400), bool))
    assert mask.dtype == bool
    assert mask[:56].sum() == mask[168:].sum() == 0
    assert mask[56:168].all()
    back = geo.to_original(mask)
    assert back.min() == back.max() == 1


def test_wrong_size_is_rejected():
    geo = geometry(500, 333, Preprocessing())
    with pytest.raises(ImageError, match=r"expected 333 x 500 .*got shape \(500, 333\)"):
        geo.mask(np.zeros((500, 333), np.uint8))
    with pytest.raises(ImageError, match=r"expected 224 x 224 .*got shape \(14, 14\)"):
        geo.to_original(np.zeros((14, 14)))
