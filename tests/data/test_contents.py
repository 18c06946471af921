"""Replaced pictures of equal names and sizes are noticed; copies and touched files are the same."""

import os
import shutil

import pytest

from tests.data.pictures import SMALL, save
from vitjax.data import contents, retries
from vitjax.data.contents import Contents, file_digest, sample
from vitjax.data.decode import decode
from vitjax.data.loader import load_chunks
from vitjax.data.open import open_data
from vitjax.data.source import UNAVAILABLE


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        save(tmp_path / "p" / f"{number}.bmp", 300, 200, seed=number)  # 180 kB, of which 12 kB are sampled
    return tmp_path / "p"


def opened(folder):
    return open_data(f"folder:{folder}", None, num_classes=None)


def rewrite(path, offset, *, keep_times=True):
    """Change one byte in place, and keep mtime where asked."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[offset] ^= 255
    path.write_bytes(data)
    if keep_times:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_sampled_bytes_that_differ_are_noticed_though_size_and_mtime_are_equal(folder):
    then = Contents.of(opened(folder), 3)
    assert then.changed({}) == []
    rewrite(folder / "1.bmp", 100)
    assert then.changed({}) == [f"{folder}/1.bmp: other content of the same 180054 bytes"]


def test_one_byte_between_the_samples_is_noticed_in_a_file_that_was_evaluated(folder):
    then = Contents.of(opened(folder), 3)
    path = folder / "2.bmp"
    digests = {str(path): file_digest(str(path))}
    before = sample(str(path))
    rewrite(path, 40_000, keep_times=False)
    assert sample(str(path)) == before
    assert then.changed({}) == [] and then.changed(digests) == [f"{path}: other content of the same 180054 bytes"]


def test_copies_and_touched_files_are_the_same(folder):
    source = opened(folder)
    then = Contents.of(source, 3)
    digests = {path: file_digest(path) for path in contents.files_of(source, range(3))}
    os.utime(folder / "0.bmp")
    shutil.copy(folder / "1.bmp", folder / "copy")
    (folder / "copy").rename(folder / "1.bmp")
    assert then.changed(digests) == []
    (folder / "2.bmp").unlink()  # it gets the status "missing"
    assert then.changed(digests) == []


def test_only_evaluated_images_are_listed_and_arrays_have_no_files(folder):
    assert list(Contents.of(opened(folder), 2).states) == [f"{folder}/0.bmp", f"{folder}/1.bmp"]
    assert Contents.of(open_data("scenes:3", None, num_classes=None), 3) is None


def load(source, cache, chunk=(0, 1, 2)):
    (samples,) = load_chunks(source, SMALL, [chunk], workers=0, cache=cache)
    return samples.pixels


def test_cache_serves_copies_and_never_the_pixels_of_files_that_were_replaced(folder, tmp_path, monkeypatch):
    first = load(opened(folder), tmp_path / "cache")
    decoded = []
    monkeypatch.setattr(retries, "decode", lambda *arguments: decoded.append(1) or decode(*arguments))
    os.utime(folder / "0.bmp")
    assert (load(opened(folder), tmp_path / "cache") == first).all() and not decoded
    save(folder / "1.bmp", 300, 200, seed=9)
    second = load(opened(folder), tmp_path / "cache")
    assert len(decoded) == 3 and (second[1] != first[1]).any() and (second[[0, 2]] == first[[0, 2]]).all()
    assert (load(opened(folder), tmp_path / "cache") == second).all() and len(decoded) == 3


def test_a_file_that_is_written_while_a_chunk_is_decoded_is_not_cached(folder, tmp_path):
    source = opened(folder)
    chunks = load_chunks(source, SMALL, [[0], [1], [2]], workers=0, cache=tmp_path / "cache", ahead=1)
    save(folder / "1.bmp", 300, 200, seed=9)
    list(chunks)
    assert len(list((tmp_path / "cache").rglob("*.array_record"))) == 2


@pytest.mark.parametrize("away", ["renamed", "emptied"])
def test_images_of_a_folder_that_is_away_are_unavailable_and_not_missing(away, folder, monkeypatch):
    source = opened(folder)
    monkeypatch.setattr(retries, "WAITS_S", (0.0,))
    folder.rename(folder.with_name("away"))
    if away == "emptied":
        folder.mkdir()
    samples = next(load_chunks(source, SMALL, [[0, 1, 2]], workers=0))
    assert samples.status == (UNAVAILABLE,) * 3
    assert samples.cause[0] == f"{folder}/0.bmp: its folder is missing or empty"


def test_storage_that_comes_back_between_two_tries_gives_the_image(folder, monkeypatch):
    source = opened(folder)
    monkeypatch.setattr(retries, "WAITS_S", (0.0, 0.0))
    folder.rename(folder.with_name("away"))
    monkeypatch.setattr(retries.time, "sleep", lambda _: folder.exists() or folder.with_name("away").rename(folder))
    retries._away.clear()
    assert retries.decode_with_retries(source, 0, SMALL).status == "ok"


def test_while_the_storage_is_away_only_the_first_image_waits(folder, monkeypatch):
    source = opened(folder)
    folder.rename(folder.with_name("away"))
    waits = []
    monkeypatch.setattr(retries.time, "sleep", waits.append)
    retries._away.clear()
    for index in (0, 1, 2):
        assert retries.decode_with_retries(source, index, SMALL).status == UNAVAILABLE
    assert waits == list(retries.WAITS_S)
    folder.with_name("away").rename(folder)
    assert retries.decode_with_retries(source, 0, SMALL).status == "ok" and not retries._away.is_set()
