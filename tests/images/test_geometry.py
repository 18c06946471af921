import numpy as np
import pytest
from PIL import Image

from vitjax.errors import ImageError
from vitjax.images.geometry import Preprocessing, geometry


def checkerboard(width, height, cell):
    y, x = np.mgrid[:height, :width]
    return ((x // cell + y // cell) % 2).astype(np.uint8)


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


def test_wrong_size_is_rejected():
    geo = geometry(500, 333, Preprocessing())
    with pytest.raises(ImageError, match=r"expected 333 x 500 .*got shape \(500, 333\)"):
        geo.mask(np.zeros((500, 333), np.uint8))
