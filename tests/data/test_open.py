import pickle

import numpy as np
import pytest

from tests.data.pictures import SMALL, save, save_mask
from vitjax.data.decode import decode
from vitjax.data.open import open_data
from vitjax.data.scenes import CLASSES, scene
from vitjax.errors import ConfigError, ImageError, LabelError
from vitjax.models.class_names import Labels


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        ("photos", r"unknown data 'photos'; valid forms are folder:DIR, tfds:NAME:SPLIT, voc:DIR"),
        ("foldr:x", "scenes:N"),
        ("folder:", "data 'folder:' is incomplete; the form is folder:DIR"),
        ("tfds:cifar10", "needs a split"),
        ("scenes:many", "'many' is not a positive integer"),
        ("scenes:0", "not a positive integer"),
        ("scenes:3:objects=4", "objects=3"),
        ("scenes:3:shapes=1", "'shapes=1' is not"),
    ],
)
def test_invalid_specification_is_rejected(spec, cause):
    with pytest.raises(ConfigError, match=cause):
        open_data(spec, None, num_classes=None)


def test_scenes():
    source = open_data("scenes:5", Labels(CLASSES), num_classes=len(CLASSES))
    assert source.ids == tuple(f"scene00000{i}" for i in range(5))
    assert source.has_masks
    for index in range(5):
        expected = scene(index)
        raw = source.read(index)
        assert source.labels[index] == expected.labels[0]
        np.testing.assert_array_equal(raw.image, expected.image)
        np.testing.assert_array_equal(raw.mask > 0, expected.masks[0])
    two = open_data("scenes:5:objects=2", None, num_classes=None)
    assert two.digest() != source.digest()
    np.testing.assert_array_equal(two.read(3).image, scene(3, objects=2).image)
    assert pickle.loads(pickle.dumps(source)).ids == source.ids


def test_scenes_for_a_model_with_fewer_classes_are_rejected():
    """Labels must be classes of the model."""
    with pytest.raises(LabelError, match=r"scenes:20: scene \d+: label \d is out of range; the model has 2 classes"):
        open_data("scenes:20", None, num_classes=2)


def test_masks_of_a_folder_replace_those_of_any_source(tmp_path):
    save(tmp_path / "data" / "images" / "a.png")
    save(tmp_path / "data" / "images" / "b.png")
    save_mask(tmp_path / "data" / "masks" / "a.png")
    mask = save_mask(tmp_path / "detected" / "b.png", values=np.full((40, 60), 255))
    spec = f"folder:{tmp_path / 'data'}"
    source = open_data(spec, None, num_classes=None, masks=tmp_path / "detected")
    assert source.has_masks
    assert [source.read(index).mask for index in range(2)] == [None, mask]
    assert [decode(source, index, SMALL).mask_state for index in range(2)] == ["none", "all_foreground"]
    plain = open_data(spec, None, num_classes=None)
    assert source.digest() != plain.digest()
    before = source.digest()
    save_mask(mask)
    assert source.digest() != before
    save_mask(tmp_path / "scene_masks" / "scene000001.png", 64, 64)
    scenes = open_data("scenes:3", None, num_classes=None, masks=tmp_path / "scene_masks")
    assert scenes.read(0).mask is None
    assert decode(scenes, 1, SMALL).mask_state == "object"


def test_masks_of_images_with_equal_file_names_are_found_by_id(tmp_path):
    save(tmp_path / "data" / "0" / "1.png")
    save(tmp_path / "data" / "1" / "1.png")
    mask = save_mask(tmp_path / "masks" / "1__1.png")
    source = open_data(f"folder:{tmp_path / 'data'}", None, num_classes=2, masks=tmp_path / "masks")
    assert [source.read(index).mask for index in range(2)] == [None, mask]


def test_invalid_mask_folder_is_rejected(tmp_path):
    save(tmp_path / "data" / "a.png")
    spec = f"folder:{tmp_path / 'data'}"
    with pytest.raises(ImageError, match="nowhere: mask folder does not exist"):
        open_data(spec, None, num_classes=None, masks=tmp_path / "nowhere")
    save_mask(tmp_path / "masks" / "other.png")
    with pytest.raises(ImageError, match=r"none of its 1 masks belongs to .* would be a\.png"):
        open_data(spec, None, num_classes=None, masks=tmp_path / "masks")
