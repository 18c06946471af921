"""Lists of labels: encodings, sizes and columns that are refused in one line."""

import os

import pytest

from tests.data.pictures import save
from vitjax.data.checks import Classes
from vitjax.data.labels_file import read_index, read_labels
from vitjax.data.open import open_data
from vitjax.errors import ConfigError, LabelError, VitjaxError


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-16", "is UTF-16; save it as UTF-8"),
        ("utf-16-le", "contains zero bytes, so it is UTF-16"),
        ("utf-32", "is UTF-32"),
        ("cp1252", r"line 2 is not UTF-8 \(byte 0xe9\), perhaps Windows-1252"),
    ],
)
@pytest.mark.parametrize("name", ["labels.csv", "labels.json"])
def test_encoding_other_than_utf8_is_named(name, encoding, message, tmp_path):
    text = "image,label\ncaf\xe9.png,1\n" if name.endswith("csv") else '\n{"caf\xe9.png": 1}'
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    with pytest.raises(ConfigError, match=message):
        read_labels(path)
    path.write_bytes(text.encode("utf-8-sig"))
    assert [(row.image, row.label) for row in read_labels(path)] == [("caf\xe9.png", "1" if "csv" in name else 1)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.csv", "image,label\na.png," + "x" * 5000, "row 0: a field of 5000 characters"),
        ("labels.csv", "image,label\na.png," + "x" * 200_000, "line 2: field larger than field limit"),
        ("labels.csv", 'image,label\n"a.png,1\nb.png,2\n', "unexpected end of data"),
        ("labels.csv", "image,label\na,b.png,1\n", "line 2: 3 fields in 2 columns"),
        ("labels.csv", "image,label\na.png\n", "line 2: 1 fields in 2 columns"),
        ("labels.csv", "image,label,label\na.png,1,5\n", "more than one column 'label'"),
        ("labels.csv", "image,Image ,label\na.png,b.png,5\n", "more than one column 'image'"),
        ("labels.csv", "image;label\na.png;1\n", "columns are separated by commas"),
        ("labels.json", '{"a.png": ' + "9" * 5000 + "}", "is an integer of 5000 digits"),
        ("labels.json", '{"a.png": NaN}', "contains NaN, which is not JSON"),
        ("labels.json", "[" * 100_000, "nested too deeply"),
        ("labels.json", '{"' + "k" * 300 + '": 1}', "cannot be the name of a file"),
        ("labels.json", '{"a\\u0000.png": 1}', "cannot be the name of a file"),
        ("labels.json", '{"a\\ud800.png": 1}', "is not text"),
        ("labels.json", '[{"image": "a.png", "label": 1, "id": [1]}]', "neither text nor an integer"),
    ],
)
def test_malformed_list_is_refused_in_one_line(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as raised:
        read_labels(path)
    assert str(raised.value).startswith(str(path)) and "\n" not in str(raised.value)


def test_list_that_is_no_file_is_refused_unopened(tmp_path):
    save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(ConfigError, match=r"labels\.csv: is not a regular file"):
        open_data(f"folder:{tmp_path}", None, num_classes=None)
    with pytest.raises(ConfigError, match=r"labels\.csv: is not a regular file"):
        read_labels(tmp_path / "labels.csv")
    with pytest.raises(ConfigError, match=r"index\.json: cannot be read: No such file"):
        read_index(tmp_path / "index.json")


@pytest.mark.parametrize("text", ["1_0", "+1", "\uff11\uff10", "\u0661", "1.0", "0x1", "9" * 30, "9" * 5000])
def test_only_plain_digits_are_a_number(text):
    with pytest.raises(LabelError) as raised:
        Classes(None, 1000).number(text, "row 0")
    assert str(raised.value).startswith("row 0: label ")
    assert Classes(None, 1000).number(" 010 ", "row 0") == 10


def test_voc_list_in_another_encoding_or_with_paths_is_refused(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for content, message in ((b"caf\xe9\n", "is not UTF-8"), (b"../../x\n", "is not the name of an image")):
        (lists / "val.txt").write_bytes(content)
        with pytest.raises(VitjaxError, match=message):
            open_data(f"voc:{tmp_path}", None, num_classes=None)
