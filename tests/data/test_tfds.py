import io
import json
import pickle
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.data.pictures import SMALL, encoded
from tests.data.tfds_writer import write
from vitjax.data.decode import decode
from vitjax.data.open import open_data
from vitjax.errors import ConfigError, ImageError, LabelError
from vitjax.models.class_names import Labels

PETS = Labels(("dog", "wolf", "cat"))


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "tfds"


def opened(name, labels=PETS, **options):
    return open_data(f"tfds:{name}:validation", labels, **{"num_classes": 3, **options})


def test_labels_come_from_class_names_and_ids_from_file_names(data_dir):
    write(data_dir, "tiny_pets")
    source = opened("tiny_pets")
    # tfds shuffles the records when it writes them; names and labels must still match.
    assert sorted(zip(source.ids, source.labels, strict=True)) == [(f"val_{i}", [2, 0][i % 2]) for i in range(5)]
    assert (source.name, source.has_masks, source.resize) == ("tfds:tiny_pets:validation", False, "timm")
    result = decode(source, 0, SMALL)
    assert (result.status, result.size, result.mask_state) == ("ok", "40 x 60", "none")
    copy = pickle.loads(pickle.dumps(source))
    assert decode(copy, 4, SMALL).status == "ok"
    assert copy.digest() == source.digest() == opened("tiny_pets").digest()
    assert "tensorflow" not in sys.modules
    assert opened("tiny_pets", None, num_classes=2).labels == tuple(int(label == 0) for label in source.labels)


def test_labels_are_read_once_and_a_damaged_cache_is_read_again(data_dir, tmp_path):
    write(data_dir, "tiny_pets")
    first = opened("tiny_pets")
    (cache,) = (tmp_path / "cache" / "vitjax" / "tfds").iterdir()
    before = cache.stat().st_mtime_ns
    assert opened("tiny_pets").ids == first.ids
    assert cache.stat().st_mtime_ns == before
    content = json.loads(cache.read_text())
    cache.write_text(json.dumps({**content, "names": ["a", "b", "c", "d", "e"]}))
    assert opened("tiny_pets").ids == ("a", "b", "c", "d", "e")  # the cache file is used
    cache.write_text("{")
    assert opened("tiny_pets").ids == first.ids
    assert opened("tiny_pets").labels == first.labels


def test_data_set_without_names_and_labels(data_dir):
    write(data_dir, "bare", class_names=None, named=False, count=3)
    source = opened("bare")
    assert source.ids == ("bare-validation-000000", "bare-validation-000001", "bare-validation-000002")
    assert source.labels == (-1, -1, -1)


def test_cifar_is_squashed_and_unknown_class_names_fall_back_to_numbers(data_dir):
    write(data_dir, "cifar3", class_names=("ship", "truck", "frog"), named=False)
    source = opened("cifar3")
    assert source.resize == "squash"
    assert set(source.labels) == {0, 1, 2}
    assert decode(source, 0, SMALL).status == "ok"
    with pytest.raises(LabelError, match=r"cifar3:validation: its 3 classes are not among the model's 3: .*'ship'"):
        opened("cifar3", num_classes=1000)


def test_label_beyond_the_models_classes_is_rejected(data_dir):
    """The error names record, label and number of classes."""
    write(data_dir, "tiny_pets")
    with pytest.raises(LabelError, match=r"record \d: label 1 is out of range; the model has 1 classes"):
        opened("tiny_pets", None, num_classes=1)


def test_error_of_a_missing_data_set_names_the_folder_and_the_command(data_dir):
    for name in ("imagenet2012", "tiny_pets", "voc/2012"):
        with pytest.raises(ImageError) as raised:
            opened(name)
        text = str(raised.value)
        assert text.startswith(f"tfds:{name}: no prepared data set in {data_dir / name}; prepare it once with `python")
        assert "TFDS_DATA_DIR" in text
        assert "\n" not in text
    (data_dir / "imagenet2012").mkdir(parents=True)
    with pytest.raises(ImageError, match="no prepared data set"):
        opened("imagenet2012")
    write(data_dir, "tiny_pets")
    with pytest.raises(ImageError, match=r"tiny_pets:test: cannot be opened .*Unknown split 'test'"):
        open_data("tfds:tiny_pets:test", PETS, num_classes=3)
    with pytest.raises(ConfigError, match="needs a split"):
        open_data("tfds:tiny_pets", PETS, num_classes=3)


@pytest.mark.parametrize(
    ("kind", "value", "what"),
    [
        (tfds.features.Text(), lambda number: "cat", "Text"),
        (tfds.features.Scalar(np.float32), lambda number: 0.5 + number, "Scalar of float32"),
        (tfds.features.Sequence(tfds.features.ClassLabel(names=["cat"])), lambda number: [0, 0], "Sequence"),
    ],
    ids=["text", "float", "list"],
)
def test_label_that_is_no_class_number_is_not_used_and_this_is_said(kind, value, what, data_dir, capsys):
    write(data_dir, "odd", count=2, other={"label": (kind, value)})
    assert opened("odd").labels == (-1, -1)
    said = capsys.readouterr().err
    assert f"its feature 'label' is no class number, but {what}" in said and said.endswith("; not used\n")


def test_names_that_are_no_text_are_not_used(data_dir):
    write(data_dir, "odd", count=2, other={"file_name": (tfds.features.Scalar(np.int64), lambda number: number)})
    assert opened("odd").ids == ("odd-validation-000000", "odd-validation-000001")


def test_images_that_are_no_pictures_are_rejected(data_dir):
    video = tfds.features.Sequence(tfds.features.Image(encoding_format="jpeg"))
    write(data_dir, "video", count=2, other={"image": (video, lambda number: [io.BytesIO(encoded())] * 2)})
    with pytest.raises(ConfigError, match="its feature 'image' is no image, but Sequence"):
        opened("video")
    raw = tfds.features.Tensor(shape=(8, 9, 3), dtype=np.uint8)
    write(data_dir, "raw", count=2, other={"image": (raw, lambda number: np.full((8, 9, 3), number, np.uint8))})
    assert decode(opened("raw"), 0, SMALL).size == "8 x 9"


def test_damaged_picture_in_a_record_gets_a_status(data_dir):
    whole = encoded()

    def picture(number):
        return io.BytesIO(whole[: len(whole) * 2 // 3] if number else whole)

    jpeg = tfds.features.Image(encoding_format="jpeg")
    write(data_dir, "cut", count=2, other={"image": (jpeg, picture)})
    source = opened("cut")
    found = {name: decode(source, index, SMALL) for index, name in enumerate(source.ids)}
    assert found["val_0"].status == "ok" and found["val_1"].status == "unreadable"
    assert "the JPEG has no end-of-image marker" in found["val_1"].cause


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "gone"])
@pytest.mark.parametrize("pattern", ["*array_record*", "dataset_info.json", "features.json"])
def test_damaged_files_of_a_data_set_are_an_error_of_one_line(damage, pattern, data_dir):
    write(data_dir, "tiny_pets", count=2)
    (path,) = data_dir.rglob(pattern)
    content = path.read_bytes()
    flipped = bytes(byte ^ (index % 37 == 5) for index, byte in enumerate(content))
    path.write_bytes({"cut": content[: len(content) // 2], "flipped": flipped}.get(damage, b""))
    if damage == "gone":
        path.unlink()
    with pytest.raises(ImageError, match=r"cannot be opened|cannot be read|no prepared data set") as raised:
        opened("tiny_pets")
    assert "\n" not in str(raised.value)


def test_class_names_that_the_model_lacks_are_said_and_their_numbers_checked(data_dir, capsys):
    write(data_dir, "boats", class_names=("ship", "raft", "boat"), count=3)
    assert set(opened("boats").labels) == {0, 1, 2}
    assert "its class names are not the model's (unknown label 'ship'" in capsys.readouterr().err
    write(data_dir, "tiny_pets", count=2)
    (names,) = data_dir.glob("tiny_pets/*/label.labels.txt")
    names.write_text("cat\n")
    with pytest.raises(LabelError, match="label 1 is none of the data set's 1 classes"):
        opened("tiny_pets")
