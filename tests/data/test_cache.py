from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.pictures import SMALL, ListSource, numbered, pixels, save
from tests.data.test_loader import CHUNKS, check
from vitjax.data.cache import Cache
from vitjax.data.loader import load_chunks
from vitjax.data.source import Raw
from vitjax.errors import OutputError


@pytest.fixture
def source(tmp_path):
    source = numbered(20, count_file=str(tmp_path / "reads"))
    source.raws[8] = Raw(b"damaged")
    source.raws[3] = Raw(pixels(32, 32), np.array([[0, 128], [255, 0]], np.uint8).repeat(16, 0).repeat(16, 1))
    return source


def reads(source):
    """Number of images read since the last call."""
    path = Path(source.count_file)
    count = len(path.read_text().split()) if path.exists() else 0
    path.unlink(missing_ok=True)
    return count


def load(source, cache, chunks=CHUNKS, preprocessing=SMALL, workers=0):
    return list(load_chunks(source, preprocessing, chunks, workers=workers, cache=cache))


def files(cache):
    return sorted(cache.rglob("*.array_record"))


def test_second_run_decodes_nothing_and_gives_equal_samples(source, tmp_path):
    cache = tmp_path / "cache"
    load(source, cache)
    assert reads(source) == 20
    assert len(files(cache)) == len(CHUNKS)
    second = load(source, cache)
    assert reads(source) == 0
    for samples, chunk in zip(second, CHUNKS, strict=True):
        check(samples, source, chunk)
    assert second[0].masks[3, 0, 20] == 128
    assert second[3].status[3] == "unreadable"
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".array_record"]


def test_chunks_of_an_interrupted_run_are_used(source, tmp_path):
    iterator = load_chunks(source, SMALL, CHUNKS, workers=0, cache=tmp_path / "cache")
    next(iterator), next(iterator)
    iterator.close()
    reads(source)
    for samples, chunk in zip(load(source, tmp_path / "cache"), CHUNKS, strict=True):
        check(samples, source, chunk)
    assert 0 < reads(source) - 20 <= 15  # `check` itself reads 20 images


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty", "of another chunk"])
def test_damaged_file_is_detected_and_decoded_again(damage, source, tmp_path):
    cache = tmp_path / "cache"
    load(source, cache)
    reads(source)
    store = Cache.at(cache, source, SMALL)
    victim = store.path(CHUNKS[3])
    intact = victim.read_bytes()
    middle = intact.index(bytes([12]) * 100) + 50  # within the pixels of image 12
    content = {
        "truncated": intact[:middle],
        "altered": intact[:middle] + bytes([intact[middle] ^ 16]) + intact[middle + 1 :],
        "empty": b"",
        "of another chunk": store.path(CHUNKS[4]).read_bytes(),
    }[damage]
    victim.write_bytes(content)
    again = load(source, cache)
    assert reads(source) == 10  # only the images of that chunk
    for samples, chunk in zip(again, CHUNKS, strict=True):
        check(samples, source, chunk)
    reads(source)
    load(source, cache)
    assert reads(source) == 0


def test_cache_depends_on_source_preprocessing_and_chunks(source, tmp_path):
    cache = tmp_path / "cache"
    load(source, cache)
    reads(source)
    load(source, cache, [[0, 1]])
    assert reads(source) == 2
    load(source, cache, CHUNKS, replace(SMALL, crop_pct=1.0))
    assert reads(source) == 20
    load(replace(source, resize="squash"), cache)
    assert reads(source) == 20
    load(ListSource(source.raws[:19], count_file=source.count_file), cache, [[0, 1]])
    assert reads(source) == 2
    load(source, cache, CHUNKS, replace(SMALL, mean=(0.5, 0.5, 0.5)))  # normalisation runs on the device
    assert reads(source) == 0


def test_missing_file_is_read_again_by_the_next_run(tmp_path):
    gone = tmp_path / "gone.png"
    source = ListSource([Raw(gone), Raw(pixels())])
    assert load(source, tmp_path / "cache", [[0, 1]])[0].status == ("missing", "ok")
    assert not files(tmp_path / "cache")
    save(gone)
    assert load(source, tmp_path / "cache", [[0, 1]])[0].status == ("ok", "ok")
    assert len(files(tmp_path / "cache")) == 1


@pytest.mark.slow
def test_with_worker_processes(source, tmp_path):
    load(source, tmp_path / "cache", CHUNKS[:2])
    reads(source)
    for samples, chunk in zip(load(source, tmp_path / "cache", workers=1), CHUNKS, strict=True):
        check(samples, source, chunk)
    reads(source)
    load(source, tmp_path / "cache", workers=1)
    assert reads(source) == 0


def test_unwritable_cache_raises(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="the cache folder cannot be created"):
        load(source, tmp_path / "file" / "cache")
    cache = tmp_path / "cache"
    iterator = load_chunks(source, SMALL, CHUNKS, workers=0, cache=cache)
    next(cache.iterdir()).rmdir()
    with pytest.raises(OutputError, match=r"array_record: the cache file cannot be written"):
        list(iterator)
