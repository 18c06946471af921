import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import SMALL, save
from vitjax.data.decode import decode
from vitjax.data.open import open_data
from vitjax.data.source import NO_LABEL
from vitjax.errors import ImageError, LabelError


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    values = np.zeros((40, 60), np.uint8)
    values[10:30, 20:40] = 15  # a person, surrounded by the void line
    values[9, 19:41] = values[30, 19:41] = values[9:31, 19] = values[9:31, 40] = 255
    for name in ("2007_000033", "2007_000042", "2008_000001"):
        save(root / "JPEGImages" / f"{name}.jpg")
        mask = Image.fromarray(values).convert("P")
        mask.putdata(values.ravel().tolist())
        mask.putpalette([channel for index in range(256) for channel in (128 * (index % 2), 0, 0)])
        path = root / "SegmentationClass" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        mask.save(path)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("2007_000042\n2007_000033\n")
    (lists / "train.txt").write_text("2008_000001\n")
    return root


def test_validation_list_has_masks(tree):
    source = open_data(f"voc:{tree}", None, num_classes=1000)
    assert source.ids == ("2007_000042", "2007_000033")
    assert source.labels == (NO_LABEL, NO_LABEL)
    result = decode(source, 0, SMALL)
    assert (result.status, result.mask_state) == ("ok", "object")
    assert set(np.unique(result.mask)) == {0, 128, 255}
    assert (result.mask[12:20, 12:20] == 255).all()
    for above in (tree.parent, tree.parent.parent):
        assert open_data(f"voc:{above}", None, num_classes=None).digest() == source.digest()


def test_another_list(tree):
    assert open_data(f"voc:{tree}:train", None, num_classes=None).ids == ("2008_000001",)
    with pytest.raises(ImageError, match=r"trainval\.txt: no such list of images; available lists: train, val"):
        open_data(f"voc:{tree}:trainval", None, num_classes=None)


def test_missing_and_repeated_images_are_rejected(tree, tmp_path):
    """The error counts the missing images, or names the one that is listed twice."""
    (tree / "JPEGImages" / "2007_000033.jpg").unlink()
    with pytest.raises(ImageError, match=r"1 of 2 images missing: .*2007_000033\.jpg"):
        open_data(f"voc:{tree}", None, num_classes=None)
    (tree / "SegmentationClass" / "2008_000001.png").unlink()
    with pytest.raises(ImageError, match=r"2008_000001\.png"):
        open_data(f"voc:{tree}:train", None, num_classes=None)
    (tree / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_000042\n2007_000042\n")
    with pytest.raises(LabelError, match=r"val\.txt: row 1: '2007_000042' is already listed in row 0"):
        open_data(f"voc:{tree}", None, num_classes=None)
    with pytest.raises(ImageError, match="not VOCdevkit/VOC2012"):
        open_data(f"voc:{tmp_path / 'elsewhere'}", None, num_classes=None)
