"""The search for images: what is listed once, what is passed over and counted, what is an error."""

import os
import socket

import pytest

from tests.data.pictures import save, save_mask
from vitjax.data.listing import describe, list_images
from vitjax.data.open import open_data
from vitjax.errors import ImageError


def found(folder, **options):
    return [path.relative_to(folder).as_posix() for path in list_images(folder, **options).files]


def test_suffixes_that_pillow_reads_are_listed_and_others_counted(tmp_path):
    for name in ("a.png", "b.JPG"):
        save(tmp_path / name)
    save(tmp_path / "c.jpg").rename(tmp_path / "c.jfif")
    save(tmp_path / "d.webp")
    for name in ("e.heic", "f.HEIC", "README", ".g.png"):
        (tmp_path / name).touch()
    assert found(tmp_path) == ["a.png", "b.JPG", "c.jfif", "d.webp"]
    skipped = list_images(tmp_path).skipped
    assert skipped == {".heic": 2, "hidden image": 1, "no suffix": 1}
    assert describe(skipped) == "2 .heic, 1 hidden image, 1 no suffix"


def test_links_that_lead_back_count_nothing_twice(tmp_path):
    for name in ("0/a.png", "0/b.png", "1/c.png"):
        save(tmp_path / name)
    for number in range(3):  # 3^40 paths
        (tmp_path / "0" / f"loop{number}").symlink_to(".")
    (tmp_path / "1" / "up").symlink_to("..")
    (tmp_path / "00").symlink_to("0")  # before its target in the order of names
    (tmp_path / "1" / "a.png").symlink_to("../0/a.png")
    assert found(tmp_path) == ["0/a.png", "0/b.png", "1/c.png"]
    assert list_images(tmp_path).skipped == {"repeated folder": 5, "repeated image": 1}


def test_links_to_elsewhere_are_followed(tmp_path):
    save(tmp_path / "store" / "deep" / "a.png")
    (tmp_path / "data" / "cat").mkdir(parents=True)
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "store")
    (tmp_path / "data" / "cat" / "b.png").symlink_to(save(tmp_path / "b.png"))
    assert found(tmp_path / "data") == ["cat/b.png", "dog/deep/a.png"]


def test_only_regular_files_are_listed(tmp_path):
    save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("/dev/null")
    save(tmp_path / "d.png" / "inside.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "e.png"))
    assert found(tmp_path) == ["a.png"]
    assert list_images(tmp_path).skipped == {
        "FIFO": 1,
        "device": 1,
        "folder with the suffix of an image": 1,
        "socket": 1,
    }


def test_links_to_images_that_lead_nowhere_are_named(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("gone.png")
    (tmp_path / "c.png").symlink_to("c.png")
    with pytest.raises(ImageError, match=r"links to 2 images lead nowhere: .*b\.png, .*c\.png"):
        list_images(tmp_path)


def test_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    save(tmp_path / "a.png")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(ImageError, match=r"locked: folder cannot be read: Permission denied"):
        list_images(tmp_path)


def test_opened_data_says_what_was_passed_over(tmp_path, capsys):
    save(tmp_path / "images" / "a.png")
    save(tmp_path / "outside.png")
    (tmp_path / "images" / "b.heic").touch()
    (tmp_path / "labels.csv").write_text("image,label\nimages/a.png,0\n", encoding="utf-8")
    source = open_data(f"folder:{tmp_path}", None, num_classes=1)
    assert source.skipped == {".heic": 1, "image beside images/": 1}
    assert "1 images; passed over: 1 .heic, 1 image beside images/" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".PNG", ".bmp", ".tif"])
def test_mask_has_any_suffix(suffix, tmp_path):
    save(tmp_path / "images" / "a.png")
    mask = save_mask(tmp_path / "masks" / f"a{suffix}")
    save_mask(tmp_path / "masks" / "other.png")
    source = open_data(f"folder:{tmp_path}", None, num_classes=None)
    assert source.masks == (mask,)
    assert source.skipped == {"mask of no image": 1}


def test_masks_that_fit_no_image_or_are_two_of_one_are_rejected(tmp_path):
    save(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.npy").touch()
    message = r"none of its 0 masks .* would be a\.png, and the folder contains 1 \.npy"
    with pytest.raises(ImageError, match=message):
        open_data(f"folder:{tmp_path}", None, num_classes=None)
    save_mask(tmp_path / "masks" / "a.png")
    save_mask(tmp_path / "masks" / "a.BMP")
    with pytest.raises(ImageError, match=r"a\.BMP and a\.png would be masks of one image"):
        open_data(f"folder:{tmp_path}", None, num_classes=None)


def test_listed_fifo_is_refused_unopened(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "index.json").write_text('{"items": [{"image": "a.png"}]}', encoding="utf-8")
    with pytest.raises(ImageError, match=r"a\.png: is a FIFO, socket or device, not an image"):
        open_data(f"folder:{tmp_path}", None, num_classes=None)


def test_class_folders_without_images_are_counted(tmp_path):
    save(tmp_path / "0" / "a.png")
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "b.heic").touch()
    source = open_data(f"folder:{tmp_path}", None, num_classes=3)
    assert source.skipped == {".heic": 1, "class folder without images": 2}


@pytest.mark.parametrize("name", ["images", "masks"])
def test_folder_of_the_layout_that_is_none_is_refused(name, tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / name).symlink_to("unmounted")
    with pytest.raises(ImageError, match=rf"{name}: is not a folder, or a link that leads nowhere"):
        open_data(f"folder:{tmp_path}", None, num_classes=None)


def test_any_other_error_of_the_file_system_is_one_line(tmp_path, monkeypatch):
    def refusing(*_):
        raise PermissionError(13, "Permission denied", str(tmp_path / "x"))

    monkeypatch.setattr("vitjax.data.folder.open_folder", refusing)
    with pytest.raises(ImageError, match=r"/x: cannot be read: Permission denied$"):
        open_data(f"folder:{tmp_path}", None, num_classes=None)
