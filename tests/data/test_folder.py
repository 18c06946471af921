import json

import numpy as np
import pytest

from tests.conftest import SHARED, needs_shared
from tests.data.pictures import SMALL, save, save_mask
from vitjax.data.decode import decode
from vitjax.data.open import open_data
from vitjax.data.source import NO_LABEL
from vitjax.errors import ConfigError, ImageError, LabelError
from vitjax.models.class_names import Labels, imagenet_labels

PETS = Labels(("tabby cat", "dog", "crane"), ("n001", "n002", "n003"), (("tabby cat", "tabby"), ("dog",), ("crane",)))


def opened(folder, labels=PETS, **options):
    return open_data(f"folder:{folder}", labels, **{"num_classes": 3, **options})


def names(source):
    return [path.name for path in source.images]


def index(folder, *items):
    (folder / "index.json").write_text(json.dumps({"items": items}))


def test_flat_folder_has_no_labels_and_natural_order(tmp_path):
    for name in ("p10.jpg", "p2.png", "p1.JPEG", "notes.txt", ".hidden.jpg", "._p1.jpg"):
        save(tmp_path / name.replace(".txt", ".bmp")) if name != "notes.txt" else (tmp_path / name).write_text("x")
    source = opened(tmp_path, None)
    assert names(source) == ["p1.JPEG", "p2.png", "p10.jpg"]
    assert source.ids == ("p1", "p2", "p10")
    assert source.labels == (NO_LABEL,) * 3
    assert (source.has_masks, source.resize, source.name) == (False, "timm", f"folder:{tmp_path}")


def test_class_folders_by_synset_name_synonym_or_number(tmp_path):
    for name in ("n002/a.jpg", "Tabby/b.jpg", "2/c.jpg", "tabby cat/deep/d.jpg"):
        save(tmp_path / name)
    source = opened(tmp_path)
    assert dict(zip(source.ids, source.labels, strict=True)) == {
        "2__c": 2,
        "Tabby__b": 0,
        "n002__a": 1,
        "tabby cat__deep__d": 0,
    }


def test_unknown_class_folder_is_rejected(tmp_path):
    """The error lists close matches of the name."""
    save(tmp_path / "tabbi" / "a.jpg")
    with pytest.raises(LabelError, match=r"tabbi: unknown label 'tabbi'; did you mean 'tabby'"):
        opened(tmp_path)
    with pytest.raises(LabelError, match=r"'tabbi' is not an int, and the model has no class names"):
        opened(tmp_path, None)


def test_image_beside_class_folders_is_rejected(tmp_path):
    save(tmp_path / "dog" / "a.jpg")
    save(tmp_path / "loose.jpg")
    with pytest.raises(ImageError, match=r"'loose\.jpg' lies beside class folders"):
        opened(tmp_path)


def test_images_and_masks(tmp_path):
    save(tmp_path / "images" / "dog" / "a.jpg")
    save(tmp_path / "images" / "dog" / "b.jpg")
    mask = save_mask(tmp_path / "masks" / "dog" / "b.png")
    source = opened(tmp_path)
    assert source.ids == ("dog__a", "dog__b")
    assert source.labels == (1, 1)
    assert source.masks == (None, mask)
    assert source.has_masks
    assert decode(source, 0, SMALL).mask_state == "none"
    assert decode(source, 1, SMALL).mask_state == "object"


@pytest.mark.parametrize("image_folder", ["", "images/"])
def test_labels_csv(image_folder, tmp_path):
    save(tmp_path / image_folder / "a.jpg")
    save(tmp_path / image_folder / "b.jpg")
    save_mask(tmp_path / "masks" / "b.png")
    (tmp_path / "labels.csv").write_text("\ufeffimage,label\nb.jpg,2\na.jpg, tabby\n", encoding="utf-8")
    source = opened(tmp_path)
    assert source.ids == ("b", "a")
    assert source.labels == (2, 0)
    assert [mask is not None for mask in source.masks] == [True, False]


def test_labels_csv_names_masks_and_paths(tmp_path):
    save(tmp_path / "images" / "a.jpg")
    save_mask(tmp_path / "images" / "a_mask.png")
    (tmp_path / "labels.csv").write_text("image,label,mask\nimages/a.jpg,,images/a_mask.png\n")
    source = opened(tmp_path)
    assert source.ids == ("images__a",)
    assert source.labels == (NO_LABEL,)
    assert source.masks == (tmp_path / "images" / "a_mask.png",)


@pytest.mark.parametrize("content", [{"a.jpg": "dog"}, [{"image": "a.jpg", "label": 1}]], ids=["map", "records"])
def test_labels_json(content, tmp_path):
    save(tmp_path / "a.jpg")
    (tmp_path / "labels.json").write_text(json.dumps(content))
    assert opened(tmp_path).labels == (1,)


def test_index_json(tmp_path):
    save(tmp_path / "x" / "a.jpg")
    save(tmp_path / "x" / "b.jpg")
    mask = save_mask(tmp_path / "m.png")
    index(
        tmp_path,
        {"id": "second/one", "image": "x/b.jpg", "target_class": 2, "mask": "m.png"},
        {"image": "x/a.jpg", "target_class": None, "mask2": "ignored"},
    )
    source = opened(tmp_path)
    assert source.ids == ("second_one", "x__a")
    assert source.labels == (2, NO_LABEL)
    assert source.masks == (mask, None)


def test_missing_images_are_counted(tmp_path):
    """The error states their number and the first five."""
    save(tmp_path / "a.jpg")
    index(tmp_path, {"image": "a.jpg"}, *({"image": f"gone{i}.jpg"} for i in range(7)))
    with pytest.raises(ImageError, match=r"^7 of 8 images missing: .*gone0\.jpg.*gone4\.jpg and 2 more$"):
        opened(tmp_path)
    index(tmp_path, {"image": "a.jpg", "mask": "gone.png"})
    with pytest.raises(ImageError, match=r"gone\.png"):
        opened(tmp_path)


@pytest.mark.parametrize("value", [1000, -1, 1.5, True, "wolf", [1]], ids=repr)
def test_label_out_of_range_or_not_an_int_is_rejected(value, tmp_path):
    """The error names row, value and number of classes."""
    save(tmp_path / "a.jpg")
    save(tmp_path / "b.jpg")
    index(tmp_path, {"image": "a.jpg", "target_class": 2}, {"image": "b.jpg", "target_class": value})
    with pytest.raises(LabelError, match=r"index\.json: row 1 \(b\.jpg\): .*3 classes") as raised:
        opened(tmp_path)
    assert str(value) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_class_folder_beyond_the_models_classes_is_rejected(tmp_path):
    """A folder whose number is no class of the model is an error, too."""
    save(tmp_path / "crane" / "a.jpg")
    with pytest.raises(LabelError, match="label 2 is out of range; the model has 2 classes"):
        opened(tmp_path, num_classes=2)


def test_list_that_differs_from_the_images_is_rejected(tmp_path):
    """The error names the first difference."""
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        save(tmp_path / name)
    csv = tmp_path / "labels.csv"
    csv.write_text("image,label\na.jpg,0\nc.jpg,0\n")
    with pytest.raises(
        LabelError, match=r"labels\.csv: 2 labels for 3 images; the first image without one is 'b\.jpg'"
    ):
        opened(tmp_path)
    csv.write_text("image,label\na.jpg,0\nb.jpg,1\na.jpg,1\nc.jpg,0\n")
    with pytest.raises(LabelError, match=r"labels\.csv: row 2: 'a\.jpg' is already listed in row 0"):
        opened(tmp_path)
    csv.write_text("image,label\na.jpg,0\nb.jpg,1\nc.jpg,0\nd.jpg,0\n")
    with pytest.raises(ImageError, match=r"1 of 4 images missing: .*d\.jpg"):
        opened(tmp_path)
    csv.unlink()
    (tmp_path / "labels.json").write_text('{"a.jpg": 0, "b.jpg": 1, "a.jpg": 2}')
    with pytest.raises(ConfigError, match=r"labels\.json: 'a\.jpg' is listed twice"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "cause"),
    [
        ("index.json", "{", "index.json: is not valid JSON"),
        ("index.json", "[]", 'contains no list "items"'),
        ("index.json", '{"items": []}', "empty"),
        ("index.json", '{"items": [{"id": "x"}]}', "row 0 has no field 'image'"),
        ("index.json", '{"items": [{"image": "../a.jpg"}]}', "points outside the folder"),
        ("labels.csv", "file,label\na.jpg,0\n", "no column 'image'"),
        ("labels.json", "3", "is neither an object"),
    ],
)
def test_malformed_list_is_rejected(file, content, cause, tmp_path):
    save(tmp_path / "a.jpg")
    (tmp_path / file).write_text(content)
    with pytest.raises(ConfigError, match=cause) as raised:
        opened(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_two_lists_are_rejected(tmp_path):
    save(tmp_path / "a.jpg")
    (tmp_path / "labels.csv").write_text("image,label\na.jpg,0\n")
    (tmp_path / "labels.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"both labels\.csv and labels\.json"):
        opened(tmp_path)


def test_folder_without_images_is_rejected(tmp_path):
    with pytest.raises(ImageError, match="contains no images"):
        opened(tmp_path)
    with pytest.raises(ImageError, match="nowhere: no such folder"):
        opened(tmp_path / "nowhere")


def test_equal_ids_are_rejected(tmp_path):
    save(tmp_path / "a.jpg")
    save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"'a\.jpg' and 'a\.png' would both get the id 'a'"):
        opened(tmp_path)


def test_digest_depends_on_names_labels_and_sizes(tmp_path):
    for folder in ("one", "two"):
        save(tmp_path / folder / "dog" / "a.png")
        save(tmp_path / folder / "crane" / "b.png")
    first, second = (opened(tmp_path / folder) for folder in ("one", "two"))
    assert first.digest() == second.digest()  # does not depend on the location of the folder
    save(tmp_path / "two" / "dog" / "a.png", width=64)
    assert first.digest() != second.digest()
    before = first.digest()
    (tmp_path / "one" / "dog").rename(tmp_path / "one" / "tabby")
    assert opened(tmp_path / "one").digest() != before


@needs_shared
def test_shared_photographs():
    source = open_data(f"folder:{SHARED / 'data/dev'}", imagenet_labels(), num_classes=1000)
    assert len(source.ids) == 54
    assert source.ids[0] == "d000_ecssd_conf085"
    assert source.labels[0] == 339
    images = [decode(source, index, SMALL) for index in range(0, 54, 9)]
    assert {image.status for image in images} == {"ok"}
    assert {image.mask_state for image in images} == {"object"}
    voc = open_data(f"folder:{SHARED / 'data/voc14'}", None, num_classes=1000)
    assert len(voc.ids) == 14
    assert all(voc.masks)
    assert set(np.unique(decode(voc, 3, SMALL).mask)) == {0, 255}
