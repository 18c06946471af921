"""`vitjax.data` in use: a data set by its specification, arrays in memory, a source of one's own."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import SMALL, encoded, pixels, save, save_mask
from vitjax.data.arrays import Arrays
from vitjax.data.decode import decode
from vitjax.data.loader import load_chunks
from vitjax.data.open import open_data
from vitjax.data.read_as import read_as
from vitjax.data.source import NO_LABEL, Raw
from vitjax.errors import LabelError
from vitjax.images.reading import to_pixels
from vitjax.models.class_names import Labels


def test_a_folder_with_class_folders_is_opened_by_its_specification(tmp_path):
    for name in ("crane/2.png", "crane/10.png", "tabby/1.png"):
        save(tmp_path / name)
    save_mask(tmp_path / "masks" / "tabby" / "1.png")
    source = open_data(f"folder:{tmp_path}", Labels(("tabby", "crane")), num_classes=2)
    assert source.ids == ("crane__2", "crane__10", "tabby__1") and source.labels == (1, 1, 0)
    assert [decode(source, index, SMALL).mask_state for index in range(3)] == ["none", "none", "object"]
    mask = decode(source, 2, SMALL).mask
    assert (mask[:, :12] == 255).all() and (mask[:, 20:] == 0).all()  # the left half is the object
    with pytest.raises(LabelError, match="unknown label 'crane'; did you mean 'crake'"):
        open_data(f"folder:{tmp_path}", Labels(("tench", "crake")), num_classes=2)


@dataclass(frozen=True)
class Archive:
    """Encoded images by name, as from a database: what a source of one's own must have."""

    stored: dict[str, bytes]
    name: str = "archive:mine"
    resize: str = "timm"
    has_masks: bool = False

    @property
    def ids(self):
        return tuple(self.stored)

    @property
    def labels(self):
        return (NO_LABEL,) * len(self.stored)

    def read(self, index):
        return Raw(list(self.stored.values())[index])

    def digest(self):
        return hashlib.sha256(repr(self.stored).encode()).hexdigest()


def test_own_source_is_decoded_in_the_background_and_a_damaged_image_stops_nothing():
    source = Archive({"good": encoded(kind="PNG"), "cut": encoded()[:-900], "small": encoded(9, 9, "PNG")})
    (first, second) = load_chunks(source, SMALL, [[2, 1], [0]], workers=0)
    assert first.ids == ("small", "cut") and first.status == ("ok", "unreadable")
    assert first.cause[1].startswith("archive:mine: image 1 (cut): ") and "truncated" in first.cause[1]
    assert not first.pixels[1].any()
    np.testing.assert_array_equal(second.pixels[0], to_pixels(Image.fromarray(pixels()), SMALL))
    assert second.size == ("40 x 60",) and second.labels.tolist() == [NO_LABEL]


def test_decoded_images_in_memory_are_a_source():
    images = np.stack([pixels(32, 32, seed) for seed in range(3)])
    masks = np.zeros((3, 32, 32), np.uint8)
    masks[0, :, :16], masks[1], masks[2, 5] = 255, 255, 128
    source = Arrays(images, masks, given_labels=[4, 0, 2], name="mine")
    (samples,) = load_chunks(source, SMALL, [[2, 0, 1]], workers=0)
    np.testing.assert_array_equal(samples.pixels, images[[2, 0, 1]])  # neither resized nor cropped
    assert samples.mask_state == ("all_background", "object", "all_foreground") and samples.labels.tolist() == [2, 4, 0]
    assert source.digest() != Arrays(images, masks, given_labels=[4, 0, 3]).digest()


def test_a_wrapped_source_passes_on_what_it_does_not_change(tmp_path):
    """Also the files, whose contents identify a run, and what a listing passed over, which status and report show."""
    save(tmp_path / "a.png")
    (tmp_path / "notes.xyz").touch()
    base = open_data(f"folder:{tmp_path}", None, num_classes=None)
    turned = read_as(base, exif="apply")
    assert turned is not base and turned.read(0).exif == "apply" and turned.digest() != base.digest()
    assert turned.files_of(0) == base.files_of(0) == (tmp_path / "a.png",)
    assert dict(turned.skipped) == dict(base.skipped) == {".xyz": 1}
    assert (turned.name, turned.ids, turned.labels, turned.resize) == (base.name, base.ids, base.labels, base.resize)
