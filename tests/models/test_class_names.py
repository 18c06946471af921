"""Class names: the labels of ImageNet, and the class index of a text."""

import re

import pytest

from tests.conftest import SHARED, needs_shared
from vitjax.errors import LabelError
from vitjax.models.class_names import Labels, imagenet_labels


def test_imagenet_has_a_thousand_classes_in_order():
    labels = imagenet_labels()
    assert len(labels) == len(set(labels.synsets)) == 1000
    assert list(labels.synsets) == sorted(labels.synsets)
    assert (labels[0], labels[281], labels[999]) == ("tench", "tabby", "toilet tissue")


@needs_shared
def test_imagenet_names_equal_the_synset_list():
    labels = imagenet_labels()
    lines = (SHARED / "data/imagenet_synset_words.txt").read_text().splitlines()
    ours = [f"{s} {', '.join(words)}" for s, words in zip(labels.synsets, labels.synonyms, strict=True)]
    assert ours == lines


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("tabby", 281),
        ("Tabby", 281),
        ("tabby cat", 281),
        ("TINCA TINCA", 0),
        ("n01440764", 0),
        ("tench, Tinca tinca", 0),
        ("Cardigan", 264),  # the dog
        ("cardigan", 474),  # the garment
        ("crayfish", 124),  # also a synonym of the spiny lobster
        ("maillot, tank suit", 639),
        (" goldfish ", 1),
    ],
)
def test_index(text, index):
    assert imagenet_labels().index(text) == index


def test_every_synset_and_every_unambiguous_name_has_its_class_index():
    labels = imagenet_labels()
    for i, name in enumerate(labels):
        assert labels.index(labels.synsets[i]) == i
        if name not in ("crane", "maillot"):
            assert labels.index(name) == i


@pytest.mark.parametrize(("text", "candidates"), [("crane", "134 517"), ("maillot", "638 639")])
def test_error_for_an_ambiguous_label_lists_the_candidates(text, candidates):
    with pytest.raises(LabelError, match="ambiguous") as raised:
        imagenet_labels().index(text)
    assert all(index in str(raised.value) for index in candidates.split())
    assert "n0" in str(raised.value)


def test_ambiguous_synonym_is_refused():
    with pytest.raises(LabelError, match=r"286 .*290 "):
        imagenet_labels().index("panther")


def test_a_text_in_the_names_of_classes_lists_them():
    with pytest.raises(LabelError) as caught:
        imagenet_labels().index("Dog")
    listed = re.findall("'([^']+)'", str(caught.value))[1:]
    assert len(listed) == 16 and all("dog" in name.lower() for name in listed)
    assert {"Eskimo dog", "African hunting dog", "dogsled"} < set(listed) and listed.index("dogsled") > 10


def test_error_for_an_unknown_label_lists_close_matches():
    with pytest.raises(LabelError, match="unknown label 'taby'; did you mean 'tabby'"):
        imagenet_labels().index("taby")
    with pytest.raises(LabelError, match="there are 1000 classes"):
        imagenet_labels().index("#####")


@pytest.mark.parametrize("index", [-1, 1000])
def test_class_out_of_range_is_refused(index):
    with pytest.raises(LabelError, match=r"outside 0\.\.999"):
        imagenet_labels()[index]


def test_labels_without_synsets_and_synonyms():
    labels = Labels(("red disc", "blue disc"))
    assert labels.index("Blue Disc") == 1
    assert list(labels) == ["red disc", "blue disc"]
    with pytest.raises(LabelError, match="did you mean 'red disc'"):
        labels.index("red disk")


def test_fields_of_different_length_are_refused():
    with pytest.raises(LabelError, match="synsets has 1 entries for 2 names"):
        Labels(("a", "b"), synsets=("n1",))
