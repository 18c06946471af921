import pickle

import h5py
import numpy as np
import pytest

from tests.data.pictures import SMALL, pixels
from vitjax.data.decode import decode
from vitjax.data.open import open_data
from vitjax.errors import ImageError


def write(path, count=3, ids=True):
    """Write a file with the structure of gtsegs_ijcv.mat: cells are references, and every array is transposed."""
    rng = np.random.default_rng(0)
    images, masks = [], []
    with h5py.File(path, "w") as file:
        refs = file.create_group("#refs#")
        for name in ("img", "gt", "id"):
            file.create_dataset(f"value/{name}", (count, 1), h5py.ref_dtype)
        for index in range(count):
            image = pixels(60, 40 + index, index)
            mask = (rng.random(image.shape[:2]) < 0.5).astype(np.uint8)
            images.append(image)
            masks.append(mask)
            file["value/img"][index, 0] = refs.create_dataset(f"i{index}", data=image.transpose(2, 1, 0)).ref
            inner = refs.create_dataset(f"m{index}", data=mask.T)
            cell = refs.create_dataset(f"c{index}", (1, 1), h5py.ref_dtype)
            cell[0, 0] = inner.ref
            file["value/gt"][index, 0] = cell.ref
            text = np.array([[ord(letter)] for letter in f"n0{index}_7"], np.uint16)
            file["value/id"][index, 0] = refs.create_dataset(f"t{index}", data=text).ref
        if not ids:
            del file["value/id"]
    return images, masks


def test_images_and_masks_are_read_exactly(tmp_path):
    images, masks = write(tmp_path / "seg.mat")
    source = open_data(f"imagenet-seg:{tmp_path / 'seg.mat'}", None, num_classes=1000)
    assert source.ids == ("n00_7", "n01_7", "n02_7")
    assert source.labels == (-1, -1, -1)
    assert source.has_masks
    for index in range(3):
        raw = source.read(index)
        np.testing.assert_array_equal(raw.image, images[index])
        np.testing.assert_array_equal(raw.mask, masks[index] * 255)
    copy = pickle.loads(pickle.dumps(source))  # the open file is not pickled; each process opens its own
    assert decode(copy, 1, SMALL).mask_state == "object"
    assert copy.digest() == source.digest()


def test_images_without_names_are_numbered(tmp_path):
    write(tmp_path / "seg.mat", ids=False)
    source = open_data(f"imagenet-seg:{tmp_path / 'seg.mat'}", None, num_classes=None)
    assert source.ids == ("00000", "00001", "00002")


def test_invalid_file_is_rejected(tmp_path):
    path = tmp_path / "seg.mat"
    with pytest.raises(ImageError, match=r"seg\.mat: no such file"):
        open_data(f"imagenet-seg:{path}", None, num_classes=None)
    path.write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(ImageError, match=r"seg\.mat: not an HDF5"):
        open_data(f"imagenet-seg:{path}", None, num_classes=None)
    with h5py.File(path, "w") as file:
        file["other"] = 1
    with pytest.raises(ImageError, match=r"contains no value/img"):
        open_data(f"imagenet-seg:{path}", None, num_classes=None)


def test_damaged_image_gets_a_status(tmp_path):
    write(tmp_path / "seg.mat")
    with h5py.File(tmp_path / "seg.mat", "a") as file:
        file["value/gt"][1, 0] = h5py.Reference()
    source = open_data(f"imagenet-seg:{tmp_path / 'seg.mat'}", None, num_classes=None)
    result = decode(source, 1, SMALL)
    assert result.status == "unreadable"
    assert "image 1 (n01_7) cannot be read" in result.cause
    assert decode(source, 2, SMALL).status == "ok"
