"""Decoded images in memory give the same records as decoded files, and invalid arrays are rejected."""

import numpy as np
import pytest

import vitjax
from tests.cases import tiny_model
from vitjax.data.arrays import Arrays
from vitjax.data.loader import load_chunks
from vitjax.errors import ConfigError

rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
MASKS = np.zeros((5, 32, 32), np.uint8)
MASKS[:4, 8:20, 4:16] = 255
MASKS[1] = 255
MASKS[2, :4] = 128


def test_chunks_contain_the_arrays():
    source = Arrays(PIXELS, MASKS, [3, 1, 4, 1, 5], name="mine")
    first, second = load_chunks(source, tiny_model("plain").preprocessing, [[4, 0], [1, 2]], workers=0)
    np.testing.assert_array_equal(first.pixels, PIXELS[[4, 0]])
    np.testing.assert_array_equal(second.masks, MASKS[[1, 2]])
    assert first.labels.tolist() == [5, 3] and first.ids == ("000004", "000000")
    assert first.mask_state == ("all_background", "object") and second.mask_state == ("all_foreground", "object")
    assert set(first.status) == {"ok"}


def test_records_equal_those_of_a_source_that_is_decoded(tmp_path):
    """A source that is not an `Arrays`, but returns the same arrays, goes through `decode`."""
    source = Arrays(PIXELS, MASKS)

    class Decoded:
        name, resize, has_masks = "arrays", "squash", True
        ids, labels, read, digest = source.ids, source.labels, source.read, source.digest

    model, options = tiny_model("plain"), {"batch_size": 2, "profile": False, "workers": 0}
    tables = [
        vitjax.evaluate(model, data, ["rollout"], ["iou"], tmp_path / name, **options).records()
        for name, data in (("arrays", source), ("decoded", Decoded()))
    ]
    np.testing.assert_equal(*(table.drop(["mode"]).to_pydict() for table in tables))


def test_without_masks_all_pixels_are_ignored():
    (samples,) = load_chunks(Arrays(PIXELS), tiny_model("plain").preprocessing, [[0]], workers=0)
    assert (samples.masks == 128).all() and samples.mask_state == ("none",) and samples.labels.tolist() == [-1]


def test_digest_depends_on_the_content():
    other = PIXELS.copy()
    other[3, 1, 1, 1] ^= 1
    contents = ((PIXELS,), (other,), (PIXELS, MASKS), (PIXELS, None, range(5)))
    digests = {Arrays(*content).digest() for content in contents}
    assert len(digests) == 4 and Arrays(PIXELS.copy()).digest() in digests


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((PIXELS.astype(np.float32),), r"pixels are float32 \[5, 32, 32, 3\], not uint8"),
        ((PIXELS[..., 0],), r"pixels are uint8 \[5, 32, 32\], not uint8 \[n, H, W, 3\]"),
        ((PIXELS, MASKS[:3]), r"masks are uint8 \[3, 32, 32\], not uint8 \[5, 32, 32\]"),
        ((PIXELS, MASKS // 255), "mask 0 contains the value 1; .* by 255"),
        ((PIXELS, None, [1, 2]), "2 labels for 5 images"),
    ],
)
def test_invalid_arrays_are_rejected(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Arrays(*arguments)


def test_images_of_another_size_are_rejected():
    with pytest.raises(ConfigError, match="images are 32 x 32 pixels; the model takes 42 x 42"):
        list(load_chunks(Arrays(PIXELS), tiny_model("patch14").preprocessing, [[0]], workers=0))
